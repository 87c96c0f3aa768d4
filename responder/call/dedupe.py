"""Has somebody asked this already? Equal questions of a run are asked once, and all who asked get what came of it."""

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
    """The questions of one run, with their answers or the errors that they ended in. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[bytes, Future[Answer]] = {}

    def result(self, question: bytes, ask: Callable[[], Answer], deadline: Deadline) -> Answer:
        """Return the answer to a question: of `ask` where it is the first time, else of the one who asked first.

        Raises:
            ResponderError: What `ask` raised, also for those who waited.
            DeadlineExceededError: The one who asked first was not done in time.
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
