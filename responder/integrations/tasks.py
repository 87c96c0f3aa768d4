"""What does one task of a queue do? It asks a shard of prompts in threads, and returns JSON.

One task per prompt would pay the queue's overhead, and with forking workers a new connection, for every call. The queues' files
(`celery.py`, `rq.py`, `huey.py`) register `ask_many` and collect what it returns.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from responder.call.keeping import AnswerStore
from responder.call.retry import RetryPolicy
from responder.integrations.collected import task_names
from responder.integrations.registry import Registry
from responder.many.journal import Journal, opened_journal
from responder.many.shards import name_of_process
from responder.pace.limits import Limits
from responder.pace.prices import Price, listed_price
from responder.pace.redis_url import masked_url
from responder.providers import for_model
from responder.values.clock import monotonic, wall
from responder.values.deadline import Timeout
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Result
from responder.values.trace import Trace

SHARD = 500
"""Prompts in a shard: a few minutes of work, and little to repeat when a worker dies."""

MOST_BEGINS = 5
"""A shard in a journal that was begun this often and never ended is given up: it may be what kills its workers."""

# Keywords whose values are objects of ours: in JSON, dicts of what these take.
_OBJECTS: Mapping[str, Any] = {"limits": Limits, "timeout": Timeout, "max_retries": RetryPolicy, "price": Price}

_responders = Registry()


def ask_many(
    model: str,
    prompts: Sequence[Prompt],
    *,
    responder: Mapping[str, Any] | None = None,
    journal: str | None = None,
    shard: str = "",
    **keywords: Any,
) -> list[dict[str, Any]]:
    """Ask a shard of prompts at once. Arguments and results are JSON, so that any queue can carry them.

    The key comes from the worker's environment: a task's arguments are readable in the broker. The responder is
    kept for the next task of the process.

    Args:
        model: "provider:model", as `for_model` takes it.
        prompts: Each a str, a {"role", "content"} dict, or a list of those.
        responder: Keywords for the provider's class, such as {"base_url": "...", "timeout": 60}; "limits", "timeout",
            "max_retries" and "price" may be dicts of what `Limits`, `Timeout`, `RetryPolicy` and `Price` take.
        journal: Where the shard's answers are kept while it is at work: a URL such as "redis://host/0"; its password is that of
            REDIS_PASSWORD where it says `***`. A task that runs again asks only for the rest.
        shard: The shard's name there, the same when the task runs again.
        **keywords: As `Responder.map` takes them. With `checkpoint` (a path), too, a task that runs again asks only for the rest.

    Returns:
        For each prompt, in order: {"index", "ok", "text", "finish_reason", "model", "usage": {"input_tokens",
        "output_tokens"}, "attempts", "elapsed", "waited", "cost", "parsed", "error", "trace"}; "error" is None or {"type",
        "message", "retryable"}, and a failed prompt has None for "text", "finish_reason", "usage" and "parsed". "cost" is in US
        dollars, None where a price is unknown. "trace" is {"worker", "started", "ended", "limited", "made": [[queued, sent,
        ended, cause], ...]}, in seconds since the epoch by the worker's clock.

    Raises:
        ConfigurationError: An invalid model, keyword or option, or no key. A failed prompt is its own result.
    """
    made_with = dict(responder or {})
    name = json.dumps([model, made_with], sort_keys=True, default=repr)
    asked = _responders.get(name, lambda: for_model(model, **_with_objects(made_with)))
    given = {"progress": False, **_with_objects(keywords)}
    kept = _journal(journal) if journal is not None else None
    if kept is not None:
        if not shard or given.get("checkpoint") is not None:
            raise ConfigurationError(
                "a journal needs shard=, the task's own name, and takes the place of a checkpoint", fatal=True
            )
        given["checkpoint"] = _begun(kept, shard)
    traces: dict[int, dict[str, Any]] = {}
    run = asked.imap(prompts, **given)
    process, epoch = name_of_process(), wall() - monotonic()

    def note(worker: Hashable, index: int, trace: Trace, ended: float) -> None:
        traces[index] = _trace_json(f"{process}:{worker}", trace, ended, epoch)

    run.history.listener = note
    with run:
        results = [*run, *run.rest()]
    if kept is not None:
        kept.end(shard)
    return [as_json(result, traces.get(result.index)) for result in results]


def prepare() -> None:
    """Import and read what the first task needs: for a worker's own process, before it forks those that do the work."""
    import responder.call.endpoint
    import responder.report.history
    import responder.wire.transport  # noqa: F401 - loaded, and kept

    listed_price("openai", "gpt-4o-mini")


def _with_objects(keywords: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            name: _OBJECTS[name](**value) if name in _OBJECTS and isinstance(value, Mapping) else value
            for name, value in keywords.items()
        }
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error), fatal=True) from None


@functools.lru_cache(maxsize=4)
def _journal(url: str) -> Journal:
    found = opened_journal(url)
    if found is None:
        raise ConfigurationError("journal must be a URL such as redis://host/0", fatal=True)
    return found


def _begun(journal: Journal, shard: str) -> AnswerStore:
    store = journal.begin(shard)
    begun = getattr(store, "begun", 0)
    if begun > MOST_BEGINS:
        raise ConfigurationError(f"this shard was begun {begun - 1} times and never ended: it may be what kills its workers")
    return store


def _trace_json(worker: str, trace: Trace, ended: float, epoch: float) -> dict[str, Any]:
    def moment(value: float) -> float:
        return round(value + epoch, 4)

    return {
        "worker": worker,
        "started": moment(trace.started),
        "ended": moment(ended),
        "limited": round(trace.limited, 4),
        "made": [[moment(one.queued), moment(one.sent), moment(one.ended), one.cause] for one in trace.made],
    }


def as_json(result: Result, trace: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a result as a dict of plain values, in the form that `ask_many` describes.

    Args:
        result: Of a map.
        trace: What the worker did for it, where that is known.
    """
    answer, error = result.answer, result.error
    return {
        "index": result.index,
        "ok": result.ok,
        "text": answer.text if answer is not None else None,
        "finish_reason": answer.finish_reason if answer is not None else None,
        "model": answer.model if answer is not None else None,
        "usage": {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens} if answer else None,
        "attempts": result.attempts,
        "elapsed": round(result.elapsed, 4),
        "waited": round(result.waited, 4),
        "cost": result.cost,
        "parsed": answer.parsed if answer is not None else None,
        "error": None
        if error is None
        else {"type": type(error).__name__, "message": str(error), "retryable": bool(getattr(error, "retryable", False))},
        "trace": trace,
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


def errands(
    prompts: Iterable[Prompt], size: int, journal: str | None, keywords: Mapping[str, Any]
) -> list[tuple[str, list[Prompt], dict[str, Any]]]:
    """Return the tasks for some prompts: the id of each, its prompts, and its keywords for `ask_many`.

    A `budget` is for all of them: each gets the part of its prompts.

    Args:
        prompts: All of them.
        size: Prompts in a shard.
        journal: As `ask_many` takes it; a password in it is left out, since a task's arguments are readable in the broker.
        keywords: As `ask_many` takes them.
    """
    found = list(shards(prompts, size))
    total = sum(map(len, found))
    made = []
    for shard, name in zip(found, task_names(map(len, found)), strict=True):
        given = dict(keywords)
        if given.get("budget") is not None:
            given["budget"] = given["budget"] * len(shard) / total
        if journal is not None:
            given.update(journal=masked_url(journal), shard=name)
        made.append((name, shard, given))
    return made


def joined(parts: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the results of all shards as one list; each "index" is then the position in the whole input."""
    return [{**result, "index": index} for index, result in enumerate(result for part in parts for result in part)]
