"""The two tables as they are made first."""

from __future__ import annotations

from responder.integrations import missing

try:
    from django.db import migrations, models
except ModuleNotFoundError as error:
    raise missing("Django", "django") from error


class Migration(migrations.Migration):
    """Runs, and answers by their question."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Run",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("begun", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="Answer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("question", models.CharField(max_length=64)),
                ("run", models.BigIntegerField()),
                ("reply", models.TextField()),
                ("request_id", models.CharField(max_length=255, null=True)),
                ("stored", models.DateTimeField(auto_now_add=True)),
            ],
            options={"indexes": [models.Index(fields=["question", "run"], name="responder_answer_question")]},
        ),
    )
