"""A Django project of one file, under WSGI and ASGI."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    INSTALLED_APPS=["responder.integrations.django_app"],
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware", "django.middleware.common.CommonMiddleware"],
    RESPONDER={
        "default": {
            "model": "openai:m",
            "api_key": "test-key",
            "max_retries": 0,
            "timeout": {"total": 60.0},
            "limits": {"adaptive": False},
        }
    },
)
django.setup()

from django.http import HttpRequest  # noqa: E402 - these want the settings
from django.http.response import HttpResponseBase  # noqa: E402 - as above
from django.urls import path  # noqa: E402 - as above

from responder.integrations.django import get_responder, stream_response  # noqa: E402 - as above


def ask(request: HttpRequest) -> HttpResponseBase:
    """Stream the answer to one prompt, or to several side by side."""
    prompts = request.GET.getlist("prompt")
    source = get_responder().stream(prompts[0]) if len(prompts) == 1 else get_responder().stream_map(prompts)
    heartbeat = float(request.GET.get("heartbeat", 60))
    return stream_response(request, source, format=request.GET.get("format", "events"), heartbeat=heartbeat)


async def ask_async(request: HttpRequest) -> HttpResponseBase:
    """Do the same in an async view."""
    return ask(request)


urlpatterns = [path("ask", ask), path("ask-async", ask_async)]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
