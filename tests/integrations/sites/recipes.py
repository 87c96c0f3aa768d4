"""The views of a page of the documentation in a Django project; the calls of its tests are read as JSON from the command line.

Each call is a list of method, path, data, whether to log in first, and whether to send the CSRF token.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="recipe_urls",
    SECRET_KEY="for tests",
    LOGIN_URL="/login",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "responder.integrations.django_app",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    RESPONDER={"default": {"model": "openai:m", "api_key": "test-key"}},
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - these want the settings
from django.core.management import call_command  # noqa: E402 - as above
from django.middleware.csrf import _get_new_csrf_string  # noqa: E402 - as above
from django.test import Client  # noqa: E402 - as above
from django.urls import path  # noqa: E402 - as above

views: dict[str, Any] = {"__name__": "recipe_urls"}
exec(sys.stdin.read(), views)
urls = type(sys)("recipe_urls")
urls.urlpatterns = [path("ask", views["ask"]), path("angles", views["angles"]), path("post", views["ask_by_post"])]  # type: ignore[attr-defined]  # a module made here
sys.modules["recipe_urls"] = urls
call_command("migrate", verbosity=0)
user = User.objects.create_user("ann")

answers = []
for method, where, data, is_logged_in, has_token in json.loads(sys.argv[1]):
    client = Client(enforce_csrf_checks=True)
    if is_logged_in:
        client.force_login(user)
    if has_token:
        token = _get_new_csrf_string()
        client.cookies["csrftoken"] = token
        data = {**data, "csrfmiddlewaretoken": token}
    response = getattr(client, method)(where, data)
    content = b"".join(response.streaming_content) if response.streaming else response.content
    answers.append([response.status_code, content.decode()])
print(json.dumps(answers))
