"""How do several processes share one limit? What a store has to do: everything in one step, in seconds from now.

`file_store.py` is one for the processes of a machine, `redis_store.py` one for those of many. What is worked out here they share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

HORIZON = 3600.0
"""Seconds. A moment further ahead is damage, or left from before a reboot, and is ignored."""

SEEN = 15.0
"""Seconds for which a process counts as one of those that share the limits, after it last asked."""

WANTS = 0.5
"""Seconds for which a process that was given too few places is thought to want more; it asks ten times in that time."""

PATIENCE = 0.25
"""Seconds that a process without any place waits for one, when there are fewer places than processes, before it goes first."""


@dataclass(frozen=True, slots=True)
class LimitStep:
    """What a process tells a store, and asks of it. All times are in seconds, and counted from now.

    Attributes:
        process: A name that no other process ever has.
        turns: For each call that wants to start, the seconds that its tokens take of the limit of tokens (0.0: there is none).
        interval: Seconds that the limit of requests keeps from one call to the next; 0: there is none.
        late: Seconds by which the first turn may lie in the past, so that a process that asks a little late loses nothing.
        requests: Seconds of the limit of requests to book besides; negative: of turns that were not used.
        tokens: The same of the limit of tokens; negative: of tokens that were reserved and not used.
        pause: Nothing may start for that long, in any process; 0: no news.
        most: Calls in flight, of all processes; None: any number.
        using: Calls that this process has in flight. They count until it says otherwise, or is dead.
        wanted: Calls that it wants to have in flight besides those.
        lease: After that long without a word, the places of a process are free, if nothing else tells that it is dead.
    """

    process: str
    turns: tuple[float, ...] = ()
    interval: float = 0.0
    late: float = 0.0
    requests: float = 0.0
    tokens: float = 0.0
    pause: float = 0.0
    most: int | None = None
    using: int = 0
    wanted: int = 0
    lease: float = 5.0


@dataclass(frozen=True, slots=True)
class LimitAnswer:
    """What a store answers. All times are in seconds, and counted from now by the store's own clock.

    Attributes:
        turns: How many turns were taken: those that were asked for, but no more than there are free places.
        opens: When the first of them is; negative: it was due. Each other one follows the one before it by the interval, or
            by the time that the tokens of that one take, whichever is longer.
        places: Calls that the process may have in flight, those that it said it has included. They may be fewer than those: then
            it starts none until so many have ended, because others lack them.
        pause: How long nothing may start; 0: no pause.
        processes: How many share the limits at present, this one included. Each keeps its part while the store is away.
    """

    turns: int = 0
    opens: float = 0.0
    places: int = 0
    pause: float = 0.0
    processes: int = 1


@runtime_checkable
class LimitStore(Protocol):
    """Where several processes share their limits."""

    def exchange(self, key: bytes, step: LimitStep) -> LimitAnswer:
        """Do all that a step says, as one atomic step. Thread-safe; it may wait, since no call waits for it beyond its deadline.

        Args:
            key: Names provider, base URL, key and model; it holds a digest of the key, never the key.
            step: What to do. What is booked and the pause come first, the turns last.

        Raises:
            BlockingIOError: Another process holds the store; the message says which. It is asked again until the call's deadline.
            OSError: Any other one, such as a ConnectionError: the store is away. It is asked again once a second, and in the
                meantime the process keeps its part of the limits.
            Exception: Any other error is raised by the call that asked.
        """


class Moments(NamedTuple):
    """Of one key, on the store's clock: before them nothing starts."""

    request: float = 0.0
    token: float = 0.0
    paused: float = 0.0


def booked(step: LimitStep, moments: Moments, now: float) -> Moments:
    """Return the moments after what a step books, and its pause."""
    paused = max(moments.paused, now + step.pause) if step.pause > 0 else moments.paused
    return Moments(moments.request + step.requests, moments.token + step.tokens, paused)


def taken(step: LimitStep, turns: int, moments: Moments, now: float) -> tuple[Moments, float]:
    """Take turns; return the moments after the last of them, and the moment of the first."""
    if not turns:
        return moments, now
    first = max(now - step.late, moments.paused)
    if step.interval:
        first = max(first, moments.request)
    if step.turns[0]:
        first = max(first, moments.token)
    last = first + sum(max(step.interval, tokens) for tokens in step.turns[: turns - 1])
    return Moments(
        max(last, moments.request) + step.interval, max(last, moments.token) + step.turns[turns - 1], moments.paused
    ), first


class Other(NamedTuple):
    """Another process, as far as places go: those that it has, how many more it wants, and for how many seconds already."""

    places: int
    wanted: int
    waited: float


def granted(step: LimitStep, waited: float, others: Iterable[Other]) -> int:
    """Return how many more places a process gets: up to its even part while there are any, above that what nobody else lacks.

    Negative: so many of those above its part are to become free, since others lack them.

    Args:
        step: What it asks.
        waited: Seconds for which it has been waiting for a place.
        others: The other processes that have places, or want some.
    """
    others = list(others)
    most = step.most or 0
    free = most - step.using - sum(other.places for other in others)
    part = most // (1 + len(others))
    if part:
        lacked = sum(min(other.wanted, max(0, part - other.places)) for other in others)
    else:  # they take turns: who has waited for long goes first
        lacked = sum(other.wanted > 0 and other.waited > max(waited, PATIENCE) for other in others)
    first = max(0, min(step.wanted, part - step.using, free))
    more = first + max(0, min(step.wanted - first, free - first - lacked))
    return more or -max(0, min(step.using - part, lacked - max(0, free)))
