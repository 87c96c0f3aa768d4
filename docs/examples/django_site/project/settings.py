"""Settings. The models come from RESPONDER_MODEL: one, or several with commas between them."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).parents[1]
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key()
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["responder.integrations.django_app", "answers"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
USE_TZ = True

MODELS = os.environ.get("RESPONDER_MODEL", "gemini:gemini-2.5-flash").split(",")
# A person waits: long answers are fine, silence is not.
_PATIENCE = {"total": 300, "first": 30, "gap": 30}
RESPONDER = {name: {"model": name, "timeout": _PATIENCE} for name in MODELS}
RESPONDER["default"] = RESPONDER[MODELS[0]]

# Seconds that a visitor waits at most for several providers, however slow one of them is.
ANSWER_DEADLINE = float(os.environ.get("ANSWER_DEADLINE", "20"))
