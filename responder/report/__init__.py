"""What a run did: its history, and the page that shows it."""
