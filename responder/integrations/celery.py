"""How does Celery ask many prompts? A shared task for a shard, a group of shards, and their results in order.

    from responder.integrations.celery import ask_all, collect

    group = ask_all("openai:gpt-4o-mini", prompts, size=500, max_workers=32, journal="redis://cache/0")
    results = collect(group, timeout=3600)

Workers find the tasks by `include=["responder.integrations.celery"]` of their app. Celery's `rate_limit` counts tasks of one
worker, not requests: give `limits` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from responder.integrations import missing, tasks
from responder.integrations.collected import Collected, collected
from responder.integrations.tasks import SHARD, errands
from responder.values.clock import monotonic
from responder.values.messages import Prompt

try:
    from celery import group, shared_task
    from celery.exceptions import TimeoutError as CeleryTimeoutError
    from celery.result import GroupResult
    from celery.signals import worker_init
except ModuleNotFoundError as error:
    raise missing("Celery", "celery") from error


@worker_init.connect(weak=False, dispatch_uid="responder.integrations.celery")
def _prepare(**_: Any) -> None:
    tasks.prepare()


@shared_task(name="responder.ask_many")
def ask_many(
    model: str, prompts: Sequence[Prompt], responder: Mapping[str, Any] | None = None, **keywords: Any
) -> list[dict[str, Any]]:
    """Ask a shard of prompts; see `responder.integrations.tasks.ask_many`."""
    return tasks.ask_many(model, prompts, responder=responder, **keywords)


# Acknowledged at its end, so that another worker gets it when this one dies; without a journal, that would pay it all again.
@shared_task(name="responder.ask_many_with_journal", acks_late=True, reject_on_worker_lost=True)
def ask_many_with_journal(
    model: str, prompts: Sequence[Prompt], journal: str, shard: str, responder: Mapping[str, Any] | None = None, **keywords: Any
) -> list[dict[str, Any]]:
    """Ask a shard of prompts, again if its worker dies: only for what the journal does not have."""
    return tasks.ask_many(model, prompts, responder=responder, journal=journal, shard=shard, **keywords)


def ask_all(
    model: str, prompts: Iterable[Prompt], *, size: int = SHARD, journal: str | None = None, **keywords: Any
) -> GroupResult:
    """Send prompts to the workers, a task for each shard, and return the group's handle.

    Args:
        model: "provider:model".
        prompts: JSON prompts; see `responder.integrations.tasks.ask_many`.
        size: Prompts in a shard.
        journal: A URL of Redis, such as "redis://cache/0": when a worker dies, another one gets its shard, and asks only for what
            is missing. None: what was in flight then is named by `collect`.
        **keywords: As `responder.integrations.tasks.ask_many` takes them.
    """
    task = ask_many if journal is None else ask_many_with_journal
    tasks_of_all = errands(prompts, size, journal, keywords)
    return group(task.s(model, shard, **given).set(task_id=name) for name, shard, given in tasks_of_all).apply_async()


def collect(result: GroupResult, timeout: float | None = None) -> Collected:
    """Wait for a group, and return one result for each prompt, in the order of the prompts.

    The prompts of a task that failed as a whole (its worker died) have an error that says so, and `unfinished` names the task;
    what the others have got is kept.

    Args:
        result: What `ask_all` returned.
        timeout: Seconds to wait; None: until all are done.

    Raises:
        celery.exceptions.TimeoutError: They were not done in time; its attribute `batch` has what is. Calling again continues to
            wait.
    """
    ends = None if timeout is None else monotonic() + timeout
    parts: list[Any] = []
    late: Exception | None = None
    for child in result.results:
        try:
            left = None if ends is None else max(0.0, ends - monotonic())
            found = child.get(timeout=left, propagate=False) if late is None or child.ready() else None
        except CeleryTimeoutError as error:
            found, late = None, error
        if isinstance(found, BaseException):
            parts.append((child.id, None, found))
        else:
            parts.append((child.id, found, "it was not done in time"))
    if late is not None:
        late.batch = collected(parts)  # type: ignore[attr-defined]  # for whoever catches it
        raise late
    return collected(parts)
