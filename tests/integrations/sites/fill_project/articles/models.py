"""What the project keeps."""

from django.db import models


class Article(models.Model):
    """A text, and what a model made of it."""

    language = models.CharField(max_length=2, default="ja")
    text = models.TextField(blank=True)
    summary = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.text
