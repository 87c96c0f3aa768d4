"""How does Celery ask many prompts? A shared task for a shard, a group of shards, and their results in order.

    from responder.integrations.celery import ask_all, collect

    group = ask_all("openai:gpt-4o-mini", prompts, size=500, max_workers=32)
    results = collect(group, timeout=3600)

Workers find the task by `include=["responder.integrations.celery"]` of their app. Celery's `rate_limit` counts tasks of one
worker, not requests: give `limits` instead, divided by the number of worker processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from responder.integrations import missing, tasks
from responder.integrations.tasks import SHARD, shards
from responder.values.messages import Prompt

try:
    from celery import group, shared_task
    from celery.result import GroupResult
except ModuleNotFoundError as error:
    raise missing("Celery", "celery") from error


@shared_task(name="responder.ask_many")
def ask_many(
    model: str, prompts: Sequence[Prompt], responder: Mapping[str, Any] | None = None, **keywords: Any
) -> list[dict[str, Any]]:
    """Ask a shard of prompts; see `responder.integrations.tasks.ask_many`."""
    return tasks.ask_many(model, prompts, responder=responder, **keywords)


def ask_all(model: str, prompts: Iterable[Prompt], *, size: int = SHARD, **keywords: Any) -> GroupResult:
    """Send prompts to the workers, a task for each shard, and return the group's handle.

    Args:
        model: "provider:model".
        prompts: JSON prompts; see `responder.integrations.tasks.ask_many`.
        size: Prompts in a shard.
        **keywords: As `ask_many` takes them.
    """
    return group(ask_many.s(model, shard, **keywords) for shard in shards(prompts, size)).apply_async()


def collect(result: GroupResult, timeout: float | None = None) -> list[dict[str, Any]]:
    """Wait for a group, and return one result for each prompt, in the order of the prompts.

    Args:
        result: What `ask_all` returned.
        timeout: Seconds to wait; None: until all are done.

    Raises:
        celery.exceptions.TimeoutError: They were not done in time; calling again continues to wait.
        Exception: What a whole task failed with (a failed prompt is its own result).
    """
    return tasks.joined(result.get(timeout=timeout))
