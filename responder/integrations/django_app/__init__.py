"""What does a Django project get with the app in INSTALLED_APPS? The checks of the settings, and what needs an app."""
