"""May we go? Limits, the provider's own waits, whether it is up, and what the run may still spend."""
