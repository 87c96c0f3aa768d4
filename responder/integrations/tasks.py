"""What does one task of a queue do? It asks a shard of prompts in threads, and returns JSON.

One task per prompt would pay the queue's overhead, and with forking workers a new connection, for every call. The queues' files
(`celery.py`, `rq.py`, `huey.py`) register `ask_many` and collect what it returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from responder.integrations.registry import Registry
from responder.providers import for_model
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Result

SHARD = 500
"""Prompts in a shard: a few minutes of work, and little to repeat when a worker dies."""

_responders = Registry()


def ask_many(
    model: str, prompts: Sequence[Prompt], *, responder: Mapping[str, Any] | None = None, **keywords: Any
) -> list[dict[str, Any]]:
    """Ask a shard of prompts at once. Arguments and results are JSON, so that any queue can carry them.

    The key comes from the worker's environment: a task's arguments are readable in the broker. The responder is
    kept for the next task of the process.

    Args:
        model: "provider:model", as `for_model` takes it.
        prompts: Each a str, a {"role", "content"} dict, or a list of those.
        responder: Keywords for the provider's class, such as {"base_url": "...", "timeout": 60}.
        **keywords: As `Responder.map` takes them. With `checkpoint` (a path), a task that runs again asks only for the rest.

    Returns:
        For each prompt, in order: {"index", "ok", "text", "finish_reason", "model", "usage": {"input_tokens",
        "output_tokens"}, "attempts", "error"}; "error" is None or {"type", "message", "retryable"}, and a failed prompt has
        None for "text", "finish_reason" and "usage".

    Raises:
        ConfigurationError: An invalid model, keyword or option, or no key. A failed prompt is its own result.
    """
    made_with = dict(responder or {})
    name = json.dumps([model, made_with], sort_keys=True, default=repr)
    asked = _responders.get(name, lambda: for_model(model, **made_with))
    return [as_json(result) for result in asked.map(prompts, **{"progress": False, **keywords})]


def as_json(result: Result) -> dict[str, Any]:
    """Return a result as a dict of plain values, in the form that `ask_many` describes."""
    answer, error = result.answer, result.error
    return {
        "index": result.index,
        "ok": result.ok,
        "text": answer.text if answer is not None else None,
        "finish_reason": answer.finish_reason if answer is not None else None,
        "model": answer.model if answer is not None else None,
        "usage": {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens} if answer else None,
        "attempts": result.attempts,
        "error": None
        if error is None
        else {"type": type(error).__name__, "message": str(error), "retryable": bool(getattr(error, "retryable", False))},
    }


def shards(prompts: Iterable[Prompt], size: int = SHARD) -> Iterator[list[Prompt]]:
    """Split prompts into lists of `size`, the last one shorter. Lazy: an endless input is fine.

    Raises:
        ConfigurationError: `size` is not a whole number of 1 or more.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigurationError(f"the size of a shard must be a whole number, 1 or more, not {size!r}")
    if isinstance(prompts, (str, bytes)):
        raise ConfigurationError("shards are made of many prompts, not of one str: put it in a list")
    prompts = iter(prompts)
    return iter(lambda: list(islice(prompts, size)), [])


def joined(parts: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the results of all shards as one list; each "index" is then the position in the whole input."""
    return [{**result, "index": index} for index, result in enumerate(result for part in parts for result in part)]
