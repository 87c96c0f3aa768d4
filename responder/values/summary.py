"""A run in numbers: what it did, where its time went, and which setting to change next. Collects nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from responder.values import notebook
from responder.values.answer import NO_USAGE, Usage

REFUSALS = frozenset({"429", "503", "529"})
"""Causes that say "not so fast": these are what the governor in `limits.py` calls a refusal."""

ENDED_BY_US = frozenset({"hedged", "cancelled"})
"""Causes that are not failures: the other one of two requests was faster, or the run was ended."""

_RUN_OVER = frozenset({"CancelledError", "BudgetExceededError", "CircuitOpenError", "DeadlineExceededError"})


def was_not_sent(error: str, attempts: int) -> bool:
    """Return whether a prompt was never asked because the run was over.

    Args:
        error: The name of its error's class; "" for an answer.
        attempts: Requests that were sent for it.
    """
    return attempts == 0 and error in _RUN_OVER


_BROKEN = frozenset({"connection", "interrupted", "invalid"})

# Advice needs enough data: shares of a handful of requests mean nothing.
_ENOUGH_REQUESTS = 20
_ENOUGH_ROUNDS = 4  # prompts for each worker; below that the workers are idle at the start and at the end

_BUSY = 0.9
_IDLE = 0.3
_HELD_BACK = 0.3
_NOTABLE = 0.01
_BROAD_FAILURE = 0.05
_LONG_TAIL = 5.0  # times the median
_MOST_WORKERS_ADVISED = 256


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers.

    Attributes:
        items: How many prompts there were.
        ok: How many got an answer.
        failed: How many got an error of their own; those that were not sent are not among them.
        truncated: How many answers were cut at `max_tokens`.
        errors: How often each error class occurred.
        attempts: Requests that were sent, retries included.
        waited: Seconds that items spent waiting, on limits and between attempts, added up over all workers.
        p50: Seconds within which half of the answers came. From a run's history this and the other two are accurate to 1%.
        p95: Seconds within which 95% came.
        p99: Seconds within which 99% came.
        usage: Tokens of the run, including failed attempts if the provider reported them.
        reused: Answers that needed no request: from a checkpoint, a cache or an equal prompt. They do not count in p50 to p99.
        causes: Requests without an answer, by cause: a status such as "429", "timeout", "connection", ...
        repeats: How many of these were followed by another request for the same prompt, by cause.
        limited: Seconds of `waited` that were spent waiting on limits: our own, the provider's, a budget.
        backoff: Seconds of `waited` that were spent between attempts.
        server: Seconds at the server, added up over all requests.
        server_p99: Seconds within which 99% of the answered requests came back, waits not counted.
        wall: Seconds from the start of the run to its last result; 0 if unknown.
        max_workers: That of the run; 0 if unknown.
        cost: US dollars; None when the price of something used is unknown.
        not_sent: How many were never asked, because the run was over: cancelled, out of time or money, or its provider down.
        shortage: Why there were fewer workers than `max_workers`, in the system's words; "" if there were enough.
        reasks: How often a model was asked again because an answer did not fit its schema.
    """

    items: int
    ok: int
    failed: int
    truncated: int
    errors: dict[str, int]
    attempts: int
    waited: float
    p50: float
    p95: float
    p99: float
    usage: Usage = NO_USAGE
    reused: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    limited: float = 0.0
    backoff: float = 0.0
    server: float = 0.0
    server_p99: float = 0.0
    wall: float = 0.0
    max_workers: int = 0
    cost: float | None = None
    not_sent: int = 0
    shortage: str = ""
    reasks: int = 0

    @property
    def rate(self) -> float:
        """Requests a second; 0 if the length of the run is unknown."""
        return self.attempts / self.wall if self.wall > 0 else 0.0

    @property
    def advice(self) -> tuple[str, ...]:
        """What to change next, the most important first; empty when nothing stands out."""
        return tuple(_advice(self))

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers as plain JSON values; the keys are those of the attributes and stay as they are."""
        return {
            "items": self.items,
            "ok": self.ok,
            "failed": self.failed,
            "not_sent": self.not_sent,
            "truncated": self.truncated,
            "reused": self.reused,
            "errors": dict(self.errors),
            "attempts": self.attempts,
            "causes": dict(self.causes),
            "repeats": dict(self.repeats),
            "waited": round(self.waited, 6),
            "limited": round(self.limited, 6),
            "backoff": round(self.backoff, 6),
            "server": round(self.server, 6),
            "wall": round(self.wall, 6),
            "rate": round(self.rate, 6),
            "p50": round(self.p50, 6),
            "p95": round(self.p95, 6),
            "p99": round(self.p99, 6),
            "server_p99": round(self.server_p99, 6),
            "max_workers": self.max_workers,
            "usage": {
                "input_tokens": self.usage.input_tokens,
                "output_tokens": self.usage.output_tokens,
                "cached_input_tokens": self.usage.cached_input_tokens,
                "reasoning_tokens": self.usage.reasoning_tokens,
                "known": self.usage.known,
            },
            "cost": self.cost,
            "shortage": self.shortage,
            "reasks": self.reasks,
            "advice": list(self.advice),
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return `as_dict()` as JSON."""
        return json.dumps(self.as_dict(), indent=indent)

    def _repr_html_(self) -> str:
        return notebook.lines_html(str(self))

    def _repr_markdown_(self) -> str:
        return notebook.lines_markdown(str(self))

    def __str__(self) -> str:
        lines = [
            f"{self.items:,} prompts: {self.ok:,} answered, {self.failed:,} failed"
            + (f", {self.not_sent:,} not sent" if self.not_sent else "")
            + _in_brackets(self.errors, ordered=True)
        ]
        if self.shortage:
            lines.append(
                f"fewer workers than max_workers={self.max_workers}, because the system had no more threads: {self.shortage}"
            )
        if self.reused:
            lines.append(f"{self.reused:,} answers needed no request: from a checkpoint, a cache or an equal prompt")
        requests = f"{self.attempts:,} requests"
        if self.wall > 0:
            requests += f" in {self.wall:,.1f} s, {self.rate:,.1f} a second"
        if self.repeats:
            requests += f"; {sum(self.repeats.values()):,} were retried" + _in_brackets(self.repeats)
        lines.append(requests)
        is_timed = self.p99 > 0 or self.ok <= self.reused  # of a batch job, nobody knows when its answers came
        if self.server > 0:
            lines.append(
                f"time, over all workers: {self.server:,.1f} s at the server, {self.limited:,.1f} s waiting on limits, "
                f"{self.backoff:,.1f} s between attempts"
            )
        elif is_timed:
            lines.append(f"{self.waited:,.1f} s waited on limits and between attempts")
        if is_timed:
            lines.append(f"answer times: median {self.p50:.2f} s, 95% within {self.p95:.2f} s, 99% within {self.p99:.2f} s")
        tokens = f"tokens: {self.usage.input_tokens:,} in, {self.usage.output_tokens:,} out"
        lines.append(tokens + (f"; cost: {dollars(self.cost)}" if self.cost else ""))
        if self.reasks:
            lines.append(f"asked again because an answer did not fit: {self.reasks:,}")
        if self.truncated:
            lines.append(f"{self.truncated:,} answers were cut at max_tokens")
        lines += [f"next: {advice}" for advice in self.advice]
        return "\n".join(lines)


def percentile(ordered: list[float], percent: int) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank); 0 of none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


def dollars(cost: float) -> str:
    """Return US dollars as text: to the cent, with more digits below ten cents."""
    return f"${cost:,.2f}" if cost >= 0.1 else f"${cost:.2g}" if cost < 0.0001 else f"${cost:.4f}"


def _in_brackets(counts: dict[str, int], ordered: bool = False) -> str:
    found = sorted(counts.items(), key=lambda pair: (0 if ordered else -pair[1], pair[0]))
    return f" ({', '.join(f'{count:,} {name}' for name, count in found)})" if found else ""


def _advice(run: Summary) -> Iterator[str]:
    """Yield what to change, the most important first."""
    unanswered = sum(count for cause, count in run.causes.items() if cause not in ENDED_BY_US)
    refused = sum(run.causes.get(cause, 0) for cause in REFUSALS)
    told_to_wait = run.causes.get("429", 0)
    timeouts = run.causes.get("timeout", 0)
    broken = sum(count for cause, count in run.causes.items() if cause in _BROKEN or (cause[:1] == "5" and cause not in REFUSALS))
    worked = run.server + run.limited + run.backoff
    held_back = run.limited / worked if worked > 0 else 0.0
    capacity = run.max_workers * run.wall
    busy = worked / capacity if capacity > 0 else 0.0
    asked = run.items - run.reused
    is_long = capacity > 0 and run.attempts >= _ENOUGH_REQUESTS and asked >= _ENOUGH_ROUNDS * run.max_workers

    if run.errors.get("BudgetExceededError"):
        yield f"{run.errors['BudgetExceededError']:,} prompts did not fit in the budget: raise budget to ask them, too"
    if told_to_wait >= max(3, _NOTABLE * run.attempts) and run.wall > 0:
        accepted = _rounded((run.attempts - refused) / run.wall * 60)
        yield (
            f"{_percent(told_to_wait / run.attempts)} of the requests were refused (429): set Limits(requests_per_minute=...) to "
            f"about {accepted:,}, which is the rate that got through"
        )
    if run.attempts >= _ENOUGH_REQUESTS and held_back >= _HELD_BACK:
        yield (
            f"{_percent(held_back)} of the workers' time was spent waiting on limits: they hold the run back, and more "
            "workers will not help. If your account allows more, raise the limits that you set"
        )
    if timeouts >= max(3, _NOTABLE * run.attempts):
        known = f", while 99% of the answered ones came within {run.server_p99:.3g} s" if run.server_p99 > 0 else ""
        yield f"{timeouts:,} requests hit their timeout{known}: raise timeout if answers are long, or lower max_tokens"
    if broken >= max(3, _BROAD_FAILURE * run.attempts):
        yield (
            f"{_percent(broken / run.attempts)} of the requests failed at the provider or in the network: fallbacks=[...] lets "
            "another one step in, a checkpoint keeps what is finished"
        )
    if run.errors.get("DeadlineExceededError"):
        where = "lower max_workers, so that fewer wait at once, or raise it" if held_back >= _HELD_BACK else "raise it"
        yield f"{run.errors['DeadlineExceededError']:,} prompts passed a deadline: {where}"
    if run.errors.get("InvalidAnswerError"):
        yield (
            f"{run.errors['InvalidAnswerError']:,} answers did not fit the schema: check error.problems; describe the fields, "
            "raise max_tokens where answers are cut, or raise reasks"
        )
    if run.truncated:
        yield f"{run.truncated:,} answers were cut: raise max_tokens"
    content = unanswered <= _NOTABLE * run.attempts and held_back < _HELD_BACK / 3
    if is_long and content and busy >= _BUSY and run.max_workers < _MOST_WORKERS_ADVISED:
        yield (
            f"max_workers={run.max_workers} was busy {_percent(min(busy, 1.0))} of the time and "
            f"{'nothing' if not refused else 'next to nothing'} was refused: try max_workers={run.max_workers * 2}"
        )
    if is_long and busy <= _IDLE and asked > run.items / 2:
        yield (
            f"the workers were busy {_percent(busy)} of the time: prompts arrived, or results were read, too slowly for "
            f"max_workers={run.max_workers}; more workers will not help"
        )
    if run.attempts >= 100 and content and "hedged" not in run.causes and run.p99 >= _LONG_TAIL * run.p50 > 0:
        yield (
            f"half of the answers came within {run.p50:.3g} s, but one in a hundred took {run.p99:.3g} s or more: hedge=0.02 "
            "asks the slowest ones a second time"
        )


def _percent(share: float) -> str:
    return f"{share * 100:.0f}%"


def _rounded(value: float) -> int:
    """Return a number rounded to two significant digits, at least 1."""
    return max(1, int(float(f"{value:.2g}")))
