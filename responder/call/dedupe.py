"""Was this asked before? Equal prompts of a run are sent once, and each of them gets the result."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from responder.values.answer import Answer
from responder.values.deadline import Deadline
from responder.values.errors import DeadlineExceededError


class AskedOnce:
    """The questions of one run, with their answers or errors. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[bytes, Future[Answer]] = {}

    def result(self, question: bytes, ask: Callable[[], Answer], deadline: Deadline) -> Answer:
        """Return the answer to a question: from `ask` the first time, else from the call that asked first.

        Raises:
            ResponderError: What `ask` raised, also for the calls that waited.
            DeadlineExceededError: The call that asked first was not done in time.
        """
        with self._lock:
            found = self._asked.get(question)
            if found is None:
                mine = self._asked[question] = Future()
        if found is None:
            try:
                answer = ask()
            except BaseException as error:
                mine.set_exception(error)
                raise
            mine.set_result(answer)
            return answer
        left = deadline.remaining()
        try:
            answer = found.result(None if left == float("inf") else max(0.0, left))
        except FutureTimeoutError:
            raise DeadlineExceededError("the deadline passed while an equal prompt was being answered") from None
        return dataclasses.replace(answer, attempts=0)
