"""Runs that never took place: histories of any size in no time, with waits, refusals, failures and a long tail."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from responder.report.history import History
from responder.values.answer import Usage
from responder.values.errors import APITimeoutError, RateLimitError
from responder.values.trace import Attempt, Trace


@dataclass
class _Now:
    """The moment, and the worker that is at work in it."""

    time: float = 1000.0
    worker: int = 0


def made_up(count: int, workers: int, *, faults: bool = True, title: str = "openai:gpt-4o-mini", seed: int = 1) -> History:
    """Return what a run did.

    Args:
        count: Its prompts.
        workers: Its workers.
        faults: Whether some requests are refused, fail or take very long.
        title: What was asked.
        seed: The same one makes the same run.
    """
    chance, now = random.Random(seed), _Now()
    history = History(workers, title, lambda: now.time, lambda: now.worker)
    free = [(now.time, worker) for worker in range(workers)]
    ended: list[tuple[float, int, int, Trace, Exception | None]] = []
    for index in range(count):
        begin, worker = heapq.heappop(free)
        trace, error, end = _call(chance, begin, faults)
        ended.append((end, worker, index, trace, error))
        heapq.heappush(free, (end, worker))
    for end, worker, index, trace, error in sorted(ended, key=lambda entry: entry[:3]):
        now.time, now.worker = end, worker
        history.add(index, trace, error, index % 97 == 96)
    return history


def _call(chance: random.Random, begin: float, faults: bool) -> tuple[Trace, Exception | None, float]:
    trace = Trace(started=begin, usage=Usage(120, 300, known=True), cost=0.0002)
    moment = begin
    while True:
        wait = chance.expovariate(3) if faults and chance.random() < 0.15 else 0.0
        trace.limited += wait
        trace.waited += wait
        cause, took = _outcome(chance, faults)
        trace.attempts += 1
        trace.made.append(Attempt(moment, moment + wait, moment + wait + took, cause))
        moment += wait + took
        if not cause:
            return trace, None, moment
        if chance.random() < 0.1:
            return trace, RateLimitError("no") if cause == "429" else APITimeoutError("no"), moment
        pause = chance.uniform(0.3, 1.0)
        trace.waited += pause
        moment += pause


def _outcome(chance: random.Random, faults: bool) -> tuple[str, float]:
    fate = chance.random() if faults else 1.0
    if fate < 0.04:
        return "429", 0.1
    if fate < 0.06:
        return "503", 0.3
    if fate < 0.065:
        return "timeout", 6.0
    return "", chance.lognormvariate(0.0, 0.45)
