"""The app of Django that has the tables of finished answers."""

from __future__ import annotations

from responder.integrations import missing

try:
    from django.apps import AppConfig
except ModuleNotFoundError as error:
    raise missing("Django", "django") from error


class AnswersConfig(AppConfig):
    """Two tables: the runs, and the answers that they have stored or taken."""

    name = "responder.integrations.django_answers"
    label = "responder_answers"
    verbose_name = "Responder's answers"
    default_auto_field = "django.db.models.BigAutoField"
