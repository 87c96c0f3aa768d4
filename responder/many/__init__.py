"""Many answers: in parallel, in order, streamed side by side, kept in a file."""
