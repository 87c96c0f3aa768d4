"""How the tables of finished answers came to be, for `manage.py migrate`."""
