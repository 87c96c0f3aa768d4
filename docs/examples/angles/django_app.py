"""One question, four angles, four answers that grow side by side: with Django, in one file and a page.

python django_app.py runserver                                      # while you write it
gunicorn django_app:wsgi --worker-class gthread --threads 32        # one thread for each open page
uvicorn django_app:asgi                                             # or an event loop
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from angles import ANGLES, prompts
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.management.utils import get_random_secret_key
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path

from responder.integrations.django import get_responder, stream_response

MODEL = os.environ.get("RESPONDER_MODEL", "gemini:gemini-2.5-flash")

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    SECRET_KEY=get_random_secret_key(),
    INSTALLED_APPS=["responder.integrations.django_app"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [Path(__file__).parent]}],
    # A person waits: long answers are fine, silence is not.
    RESPONDER={"default": {"model": MODEL, "timeout": {"total": 300, "first": 30, "gap": 30}}},
)


def index(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return render(request, "angles.html", {"angles": ANGLES, "model": MODEL})


def answers(request: HttpRequest) -> HttpResponseBase:
    """Stream the four answers, merged, as server-sent events."""
    question = request.GET.get("question", "").strip()
    if not question:
        return HttpResponseBadRequest("Ask something: ?question=...")
    return stream_response(request, get_responder().stream_map(prompts(question)))


urlpatterns = [path("", index), path("answers", answers)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
else:
    wsgi = get_wsgi_application()
    asgi = get_asgi_application()
