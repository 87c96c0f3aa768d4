"""The project: its settings, its addresses, and how servers start it."""
