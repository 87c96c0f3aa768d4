"""Settings as `startproject` writes them, and the app."""

import os

SECRET_KEY = "for tests"
INSTALLED_APPS = ["responder.integrations.django_app", "articles"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
RESPONDER = {"default": {"model": "openai:gpt-4o-mini", "api_key": "test-key", "max_retries": 0}}
