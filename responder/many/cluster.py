"""How does a map begin on an executor? What it needs is packed for the workers, and refused here if it cannot travel."""

from __future__ import annotations

import warnings
from collections.abc import Sized
from dataclasses import replace
from functools import partial
from typing import Any

from responder.call.asker import Asker
from responder.call.keeping import AnswerStore
from responder.many import mapping
from responder.many.engines import Engine
from responder.many.journal import Journal, opened_journal
from responder.many.lamp import Lamp
from responder.many.parallel import Work
from responder.many.runs import AnswerRun, Job, Spread, history_of, store_of, with_store
from responder.many.shard_sizes import ShardSizes
from responder.many.sharded import Plan, ShardedRun
from responder.many.shards import Order, dumps
from responder.values.answer import T
from responder.values.cancellation import CancelToken
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Answered, Failed
from responder.values.trace import Trace


def start(job: Job[T], *, ordered: bool) -> AnswerRun[T]:
    """Return a run that asks many prompts in the processes of an executor.

    Args:
        job: What it is to do; `job.spread` says where.
        ordered: Input order if true, else as they finish.

    Raises:
        ConfigurationError: The executor or a keyword is invalid, or the responder cannot travel.
    """
    spread = job.spread
    if spread is None:
        raise ConfigurationError("there is no executor")
    _check(job, spread)
    _warn_of_limits(job)
    journal = opened_journal(spread.journal)
    token, rules = CancelToken(), job.rules
    store = store_of(job)
    history = history_of(job)

    def perform(index: int, prompt: Prompt) -> Answered[T] | Failed[T]:
        raise NotImplementedError("a shard does this")

    def unfinished(index: int, prompt: Prompt, error: Exception) -> Answered[T] | Failed[T]:
        history.add(index, Trace(), error, False)
        return Failed(index, prompt, None, error, 0, cost=0.0)

    lamp = Lamp.light()
    try:
        order = _packed(job, spread, journal, store, lamp.path)
        engine = Engine(spread.executor)
        total = len(job.prompts) if isinstance(job.prompts, Sized) else None
        sizes = ShardSizes(spread.shard_size, rules.max_workers, total)
        asker = Asker(with_store(job.sources, store), token, checkpoint=store) if store is not None else None
        plan = Plan(engine, order, lamp, sizes, history, store, asker, journal, job, spread)
        work: Work[Prompt, Any] = Work(perform, unfinished)
        return mapping.start(partial(ShardedRun, plan), job.prompts, work, rules, job.watch, ordered=ordered, token=token)
    except BaseException:
        lamp.put_out()
        raise


def _check(job: Job[Any], spread: Spread) -> None:
    for source in job.sources:
        if source.endpoint.left_behind:
            raise ConfigurationError(
                f"{source.endpoint.left_behind} of {source.name} does not travel to other processes, which would send without "
                "it: set proxies and certificates in the environment of the workers, and leave secrets to it, too",
                fatal=True,
            )
    size = spread.shard_size
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ConfigurationError(f"shard_size must be a whole number, 1 or more, or None, not {size!r}", fatal=True)


def _warn_of_limits(job: Job[Any]) -> None:
    for source in job.sources:
        limits = source.endpoint.limits
        given = (limits.max_concurrency, limits.requests_per_minute, limits.tokens_per_minute)
        if limits.store is None and any(number is not None for number in given):
            warnings.warn(
                f"the limits of {source.name} hold in each worker process by itself: give them a store that all of them reach, "
                'a file\'s path on one machine, or store="redis://host/0" for many',
                RuntimeWarning,
                stacklevel=2,
            )


def _packed(job: Job[Any], spread: Spread, journal: Journal | None, store: AnswerStore | None, lamp: str) -> bytes:
    rules, sources = job.rules, with_store(job.sources, store)
    order = Order(
        [replace(source, cache=None) for source in sources],
        [getattr(source.cache, "path", source.cache) for source in sources],
        rules.max_workers,
        rules.most_errors,
        job.deadline,
        spread.retry_share,
        spread.hedge,
        job.reasks,
        job.max_turns,
        store is not None,
        journal,
        lamp,
    )
    try:
        return dumps(order)
    except Exception as error:
        raise ConfigurationError(
            f"this responder or its options cannot travel to other processes ({error}): functions and types must be defined at "
            "the top of a module",
            fatal=True,
        ) from error
