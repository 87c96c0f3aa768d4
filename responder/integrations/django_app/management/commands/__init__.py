"""The commands of `manage.py`, each in the file of its name."""
