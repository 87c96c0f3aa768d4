"""Who watches the calls? Nothing, until `responder.integrations.opentelemetry` is on. Until then, a call checks one flag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint
    from responder.call.question import Question
    from responder.values.answer import Answer
    from responder.values.trace import Trace

T = TypeVar("T")


class Watch(Protocol):
    """Follows one call."""

    def end(self, answer: Answer | None, error: BaseException | None) -> None:
        """Note what came of a stream; harmless when it is done."""


class Watched(Protocol):
    """What an observer may look at: a `Call`."""

    endpoint: Endpoint
    question: Question
    trace: Trace
    watch: Watch | None


class Observer(Protocol):
    """Follows all calls of the process. Called from every thread that calls; what it raises would end a call."""

    def watch(self, call: Watched, operation: str, work: Callable[[], T]) -> T:
        """Do the work of a call and return what it returns. A stream's goes on until its `Watch` is ended.

        Args:
            call: The call; its `watch` is set where it goes on.
            operation: "chat" or "embeddings".
            work: Makes its attempts; raises the last one's error.
        """


observer: Observer | None = None
