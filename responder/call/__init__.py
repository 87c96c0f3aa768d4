"""One answer: its attempts, its repeats, its second try, its stream."""
