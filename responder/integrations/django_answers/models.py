"""The tables of finished answers in a Django project's own database. Django imports this file, once its apps are ready."""

from __future__ import annotations

from responder.integrations import missing

try:
    from django.db import models
except ModuleNotFoundError as error:
    raise missing("Django", "django") from error


class Run(models.Model):
    """A run, numbered: each answer is taken once by it."""

    begun = models.DateTimeField(auto_now_add=True)

    class Meta:  # noqa: D106 - Django's own form
        app_label = "responder_answers"

    def __str__(self) -> str:
        return f"run {self.pk}"


class Answer(models.Model):
    """A finished answer, under the digest of what was asked."""

    question = models.CharField(max_length=64)
    run = models.BigIntegerField()
    reply = models.TextField()
    request_id = models.CharField(max_length=255, null=True)
    stored = models.DateTimeField(auto_now_add=True)

    class Meta:  # noqa: D106 - Django's own form
        app_label = "responder_answers"
        indexes = (models.Index(fields=["question", "run"], name="responder_answer_question"),)

    def __str__(self) -> str:
        return f"answer {self.pk}"
