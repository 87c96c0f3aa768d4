"""What have the tasks of a queue brought home? A result for each prompt, in order, and the names of tasks that did not finish."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from responder.report.history import History
from responder.values.answer import Usage
from responder.values.notebook import ReportPage
from responder.values.summary import Summary
from responder.values.trace import Attempt, Trace

_NAME = re.compile(r"responder-[0-9a-f]{32}-(\d+)-(\d+)")


def task_names(sizes: Iterable[int]) -> Iterable[str]:
    """Yield a name for each shard's task, which says where in the input the shard is.

    Args:
        sizes: How many prompts each of them has.
    """
    run, start = uuid.uuid4().hex, 0
    for size in sizes:
        yield f"responder-{run}-{start}-{size}"
        start += size


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A task that brought nothing home.

    Attributes:
        task: Its id in the queue.
        start: The position of its first prompt in the input.
        count: How many prompts it has; 0 where that is not known, since `ask_all` has not made it.
        reason: Why, in the queue's words.
    """

    task: str
    start: int
    count: int
    reason: str


class Collected(list[dict[str, Any]]):
    """The results of all tasks, a dict for each prompt, in the order of the prompts; see `tasks.ask_many`.

    The prompts of a task that did not finish have an error that says so.

    Attributes:
        unfinished: Those tasks.
    """

    def __init__(self, results: Iterable[dict[str, Any]] = (), unfinished: Sequence[Unfinished] = ()) -> None:
        super().__init__(results)
        self.unfinished = list(unfinished)

    @property
    def ok(self) -> bool:
        """True when every prompt has its answer."""
        return not self.unfinished and all(result["ok"] for result in self)

    def summary(self) -> Summary:
        """Return all tasks as one run in numbers."""
        return self._history().summary()

    def report(self, path: str | os.PathLike[str] | None = None) -> ReportPage:
        """Return all tasks as one HTML page, with a line for each worker; with a path, write it there.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        return self._history().report(path)

    def _history(self) -> History:
        traces = [result["trace"] for result in self if result.get("trace")]
        begin = min((trace["started"] for trace in traces), default=0.0)
        workers = {trace["worker"] for trace in traces}
        title = next((result["model"] for result in self if result.get("model")), "")
        history = History(max(1, len(workers)), title, clock=lambda: begin, began_at=begin)
        for result in self:
            trace = result.get("trace") or {"worker": "", "started": begin, "ended": begin, "limited": 0.0, "made": []}
            error = result["error"]
            raised = type(error["type"], (Exception,), {})() if error is not None else None
            is_cut = result["finish_reason"] == "length"
            history.take(trace["worker"], result["index"], _trace_of(result, trace), raised, is_cut, trace["ended"])
        return history


def _trace_of(result: Mapping[str, Any], trace: Mapping[str, Any]) -> Trace:
    usage = result["usage"]
    return Trace(
        result["attempts"],
        result.get("waited", 0.0),
        trace["limited"],
        trace["started"],
        [Attempt(*made) for made in trace["made"]],
        Usage(usage["input_tokens"], usage["output_tokens"], known=True) if usage else Usage(),
        result.get("cost") or 0.0,
        result.get("cost") is not None,
    )


def collected(parts: Iterable[tuple[str, Sequence[Mapping[str, Any]] | None, object]]) -> Collected:
    """Return the results of all tasks.

    Args:
        parts: In the order of the shards: the task's id, what it returned (None: it did not finish), and why it did not.
    """
    found = Collected()
    for task, results, reason in parts:
        start = len(found)
        if results is not None:
            found.extend({**result, "index": start + place} for place, result in enumerate(results))
            continue
        named = _NAME.fullmatch(task)
        count = int(named[2]) if named is not None else 0
        lost = Unfinished(task, start, count, str(reason))
        found.unfinished.append(lost)
        found.extend(_lost(start + place, lost, reason) for place in range(count))
    return found


def _lost(index: int, task: Unfinished, reason: object) -> dict[str, Any]:
    name = type(reason).__name__ if isinstance(reason, BaseException) else "WorkerLostError"
    message = f"task {task.task} did not finish: {task.reason}"
    return {
        "index": index,
        "ok": False,
        "text": None,
        "finish_reason": None,
        "model": None,
        "usage": None,
        "attempts": 0,
        "error": {"type": name, "message": message, "retryable": name != "ConfigurationError"},
    }
