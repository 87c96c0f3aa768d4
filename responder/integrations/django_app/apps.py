"""How does Django know the app? By its name, and by a label that no app of a project is likely to have."""

from __future__ import annotations

import responder.integrations.django  # noqa: F401 - names what to install where there is no Django, and registers the checks

from django.apps import AppConfig  # isort: skip


class ResponderAppConfig(AppConfig):
    """The app `responder.integrations.django_app`."""

    name = "responder.integrations.django_app"
    label = "responder_django"
    verbose_name = "Responder"
    default_auto_field = "django.db.models.BigAutoField"
