"""How does Huey ask many prompts? A task of your Huey for each shard, and their results in order.

    from responder.integrations.huey import ask_all, collect, register

    ask_many = register(huey)                                   # where the consumer imports it, too
    results = collect(ask_all(ask_many, "openai:gpt-4o-mini", prompts, size=500, max_workers=32), timeout=3600)

Huey's thread workers (`-k thread`, the default) suit calls that wait, and share connections and limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from responder.integrations import missing, tasks
from responder.integrations.collected import Collected, collected
from responder.integrations.tasks import SHARD, errands
from responder.values.clock import monotonic
from responder.values.messages import Prompt

try:
    from huey.api import Huey, Result, TaskWrapper
    from huey.exceptions import ResultTimeout, TaskException
except ModuleNotFoundError as error:
    raise missing("Huey", "huey") from error


def register(huey: Huey, **keywords: Any) -> TaskWrapper:
    """Return `responder.integrations.tasks.ask_many` as a task of this Huey.

    Args:
        huey: Your Huey.
        **keywords: As `huey.task` takes them, such as `retries` or `priority`.
    """
    return huey.task(**keywords)(tasks.ask_many)


def ask_all(
    task: TaskWrapper, model: str, prompts: Iterable[Prompt], *, size: int = SHARD, journal: str | None = None, **keywords: Any
) -> list[Result]:
    """Send prompts to the consumer, a task for each shard, and return the handles of the results in order.

    Args:
        task: What `register` returned.
        model: "provider:model".
        prompts: See `responder.integrations.tasks.ask_many`.
        size: Prompts in a shard.
        journal: A URL of Redis: a task that runs again (`register(huey, retries=2)`) asks only for what is missing.
        **keywords: As `responder.integrations.tasks.ask_many` takes them.
    """
    handles = []
    for name, shard, given in errands(prompts, size, journal, keywords):
        made = task.s(model, shard, **given)
        made.id = name
        handles.append(task.huey.enqueue(made))
    return handles


def collect(handles: Sequence[Result], timeout: float | None = None) -> Collected:
    """Wait for tasks, and return one result for each prompt, in the order of the prompts.

    The prompts of a task that failed as a whole have an error that says so, and `unfinished` names the task.

    Args:
        handles: What `ask_all` returned.
        timeout: Seconds to wait for all; None: until they are done.

    Raises:
        huey.exceptions.ResultTimeout: They were not done in time; its attribute `batch` has what is.
    """
    ends = None if timeout is None else monotonic() + timeout
    parts: list[Any] = []
    late: Exception | None = None
    for handle in handles:
        try:
            left = None if ends is None else max(0.0, ends - monotonic())
            parts.append((handle.id, handle.get(blocking=late is None, timeout=left), "it was not done in time"))
        except TaskException as error:
            parts.append((handle.id, None, error))
        except ResultTimeout as error:
            late = error
            parts.append((handle.id, None, "it was not done in time"))
    if late is not None:
        late.batch = collected(parts)  # type: ignore[attr-defined]  # for whoever catches it
        raise late
    return collected(parts)
