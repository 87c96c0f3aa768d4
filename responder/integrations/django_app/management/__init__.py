"""Which commands does the app add to `manage.py`? Those in `commands/`, where Django looks for them."""
