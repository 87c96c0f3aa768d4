"""The app: its views and its pages."""
