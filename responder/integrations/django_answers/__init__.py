"""How do a Django project's views, commands and tasks share finished answers? In its database, as checkpoint and cache.

# settings.py
INSTALLED_APPS = [..., "responder.integrations.django_answers"]        # then: manage.py migrate

batch = get_responder().map(prompts, checkpoint=DatabaseStore())
"""

from __future__ import annotations

from responder.integrations.django_answers.store import DatabaseStore

__all__ = ["DatabaseStore"]
