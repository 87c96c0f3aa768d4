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
from responder.integrations.tasks import SHARD, shards
from responder.values.clock import monotonic
from responder.values.messages import Prompt

try:
    from huey.api import Huey, Result, TaskWrapper
except ModuleNotFoundError as error:
    raise missing("Huey", "huey") from error


def register(huey: Huey, **keywords: Any) -> TaskWrapper:
    """Return `responder.integrations.tasks.ask_many` as a task of this Huey.

    Args:
        huey: Your Huey.
        **keywords: As `huey.task` takes them, such as `retries` or `priority`.
    """
    return huey.task(**keywords)(tasks.ask_many)


def ask_all(task: TaskWrapper, model: str, prompts: Iterable[Prompt], *, size: int = SHARD, **keywords: Any) -> list[Result]:
    """Send prompts to the consumer, a task for each shard, and return the handles of the results in order.

    Args:
        task: What `register` returned.
        model: "provider:model".
        prompts: See `responder.integrations.tasks.ask_many`.
        size: Prompts in a shard.
        **keywords: As `responder.integrations.tasks.ask_many` takes them.
    """
    return [task(model, shard, **keywords) for shard in shards(prompts, size)]


def collect(handles: Sequence[Result], timeout: float | None = None) -> list[dict[str, Any]]:
    """Wait for tasks, and return one result for each prompt, in the order of the prompts.

    Args:
        handles: What `ask_all` returned.
        timeout: Seconds to wait for all; None: until they are done.

    Raises:
        huey.exceptions.ResultTimeout: They were not done in time.
        huey.exceptions.TaskException: A whole task failed (a failed prompt is its own result).
    """
    ends = None if timeout is None else monotonic() + timeout
    left = (None if ends is None else max(0.0, ends - monotonic()) for _ in handles)
    return tasks.joined(handle.get(blocking=True, timeout=seconds) for handle, seconds in zip(handles, left, strict=True))
