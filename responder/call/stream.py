"""One answer, piece by piece: an iterator of str that any thread may cancel. Knows no provider's JSON."""

from __future__ import annotations

import json
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from responder.call.retry import Retrier
from responder.pace.limits import Permit
from responder.values.answer import Answer, FinishReason, Usage
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    CancelledError,
    InvalidResponseError,
    ResponderError,
    StreamInterruptedError,
)
from responder.values.messages import ToolCall
from responder.values.trace import Trace
from responder.wire.events import BodyDecoder, Event

if TYPE_CHECKING:
    from responder.wire.transport import Incoming

# Half the cost of `json.loads`, which looks for the encoding and for spaces at either end first.
_read_json = json.JSONDecoder().raw_decode

# After the provider's end marker the body should end, too; a connection is only worth this many seconds of waiting for that.
_LAST_BYTES = 0.1


class ChunkReader(ABC):
    """Reads a provider's chunks, and puts together the reply that the same answer would have been without streaming.

    Attributes:
        complete: True once the answer is known to be whole.
        done: True once the provider has said that nothing more comes.
    """

    complete = False
    done = False

    @abstractmethod
    def read(self, chunk: Mapping[str, Any]) -> str:
        """Take in a chunk and return the text in it, "" where it has none."""

    @abstractmethod
    def reply(self) -> dict[str, Any]:
        """Return the whole reply so far, in the form that the provider's `parse` reads."""


class StreamSource(Protocol):
    """What a stream needs to know of its provider and its question."""

    def open(self, token: CancelToken, trace: Trace) -> tuple[Incoming, Permit]:
        """Make an attempt, in its turn, and return the body of a 2xx and the permit to settle; raises for anything else."""

    def reader(self) -> ChunkReader:
        """Return what reads the chunks of one attempt."""

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        """Return the answer that a whole reply holds."""

    def finish(self, answer: Answer, headers: Mapping[str, str]) -> Answer:
        """Return the whole answer with what the headers say; raises for a blocked or an empty one."""

    def refuse(self, chunk: Mapping[str, Any], headers: Mapping[str, str]) -> APIError:
        """Return the error that a chunk means."""

    def sign(self, error: ResponderError, trace: Trace) -> None:
        """Write into an error what only the call knows."""


class Stream(Iterator[str]):
    """The pieces of an answer, as they arrive. Made by `Responder.stream`; nothing is sent until the first piece is asked for.

        with gpt.stream("What is baseball?") as stream:
            for piece in stream:
                print(piece, end="")
        print(stream.usage)

    A failure before the first piece is repeated as in `answer`; afterwards never, since the pieces are out. Iterating belongs
    to one thread at a time; `cancel` to any. Leaving the `with` block, or dropping the stream, ends an unfinished one.

    Raises (from iterating):
        StreamInterruptedError: The stream ended without the provider's end marker; `text` holds what came.
        BlockedError, EmptyAnswerError: The provider blocked the answer (perhaps after some pieces), or sent none.
        APIError: As from `answer`; an error that the provider sends in mid-stream comes as its own class.
        CancelledError: It was cancelled.
    """

    def __init__(
        self, source: StreamSource, retrier: Retrier, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None
    ) -> None:
        self._source = source
        self._retrier = retrier
        self._timeout = timeout
        self._deadline = deadline
        self._token = CancelToken()
        self._trace = Trace()
        self._reader = source.reader()
        self._incoming: Incoming | None = None
        self._permit: Permit | None = None
        self._decoder = BodyDecoder()
        self._pieces: deque[str] = deque()  # arrived, not taken
        self._said: list[str] = []  # taken
        self._failure: ResponderError | None = None  # raised once the pieces before it are taken
        self._answer: Answer | None = None
        self._ended = False
        # Held while a thread reads, so that a cancel from another one knows whether somebody else will close the connection.
        self._reading = threading.Lock()
        self._user_token = cancel
        self._registered = -1
        if cancel is not None:
            # Through a weak reference: a token that lives on must not keep alive a stream that was dropped.
            end = weakref.WeakMethod(self.cancel)
            self._registered = cancel.register(lambda: found(cancel.reason) if (found := end()) is not None else None)

    # What there is so far

    @property
    def text(self) -> str:
        """The pieces that were handed out so far, joined."""
        return "".join(self._said)

    @property
    def reasoning(self) -> str:
        """The model's thoughts so far, where the provider shows them."""
        return self._so_far().reasoning

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far; their arguments are whole once the stream has ended."""
        return self._so_far().tool_calls

    @property
    def usage(self) -> Usage:
        """The tokens so far; most providers send them at the end (`known` is False until then)."""
        return self._so_far().usage

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped; None while it has not."""
        return self._so_far().finish_reason if self._reader.complete or self._answer is not None else None

    @property
    def answer(self) -> Answer | None:
        """The whole answer, once the stream has ended; None before, and after a failure."""
        return self._answer

    @property
    def attempts(self) -> int:
        """Requests that were sent."""
        return self._trace.attempts

    def _so_far(self) -> Answer:
        if self._answer is not None:
            return self._answer
        try:
            return self._source.parse(self._reader.reply())
        except InvalidResponseError:
            return Answer("", "other")

    # Iterating

    def __next__(self) -> str:
        # Looked at again after the lock is free: a cancel that came while it was held has left the connection to this thread.
        while not self._pieces or (self._token.cancelled and not self._ended):
            with self._reading:
                self._advance()
        piece = self._pieces.popleft()
        self._said.append(piece)
        return piece

    def _advance(self) -> None:
        """Read until there is a piece.

        Raises:
            StopIteration: The answer is whole and was handed out.
        """
        try:
            if self._token.cancelled and not self._ended:
                self._pieces.clear()  # nobody wants them any more
            while not self._pieces:
                if self._failure is not None:
                    raise self._failure
                if self._ended:
                    raise StopIteration
                if self._token.cancelled:
                    raise CancelledError(f"the stream was stopped: {self._token.reason}")
                if self._incoming is None:
                    self._retrier.call(self._begin, self._trace, self._deadline, self._token)
                else:
                    self._continue()
        except ResponderError as error:
            self._failure = error  # asking again gives the same error, never silence
            self._source.sign(error, self._trace)
            self._release()
            raise error.with_traceback(None)  # noqa: B904 - it is the same error, without the frames that hold the key

    def _begin(self) -> None:
        """Make one attempt: open the stream and read up to its first piece, or to its end."""
        self._reader = self._source.reader()
        self._decoder = BodyDecoder()
        incoming, self._permit = self._source.open(self._token, self._trace)
        try:
            while not self._pieces and not self._ended:
                self._read_on(incoming)
                if self._failure is not None and not self._pieces:
                    failure, self._failure = self._failure, None
                    raise failure
        except BaseException as error:
            incoming.close()
            self._permit.settle(error)
            raise
        self._incoming = None if self._ended else incoming

    def _continue(self) -> None:
        incoming = self._incoming
        assert incoming is not None  # noqa: S101 - `_advance` looked
        bound = f"timeout gap: no piece within {self._timeout.gap:g} s of the one before"
        incoming.must_continue_within(self._timeout.gap, bound)
        try:
            while not self._pieces and not self._ended and self._failure is None:
                self._read_on(incoming)
        except (APITimeoutError, CancelledError):
            raise
        except APIConnectionError as error:
            raise self._interrupted("the connection broke off") from error

    def _read_on(self, incoming: Incoming) -> None:
        data = incoming.read1()
        self._take(self._decoder.feed(data) if data else self._decoder.close(), incoming.headers)
        if self._failure is not None:
            return
        if self._reader.done or not data:
            if data:
                self._drain(incoming)
            self._end(incoming)

    def _take(self, events: list[Event], headers: Mapping[str, str]) -> None:
        reader, pieces = self._reader, self._pieces
        for name, data in events:
            if reader.done:
                return
            if data[:6] == b"[DONE]":
                reader.complete = reader.done = True
                return
            try:
                chunk, _ = _read_json(str(data, "utf-8").lstrip())
            except (ValueError, RecursionError):
                if not data.strip():
                    continue
                self._failure = InvalidResponseError("an event of the stream is not JSON", retryable=True, body=_shown(data))
                return
            if not isinstance(chunk, dict):
                if isinstance(chunk, list) and len(chunk) == 1 and isinstance(chunk[0], dict) and chunk[0].get("error"):
                    chunk = chunk[0]
                else:
                    continue
            if chunk.get("error") or name == "error":
                if isinstance(chunk.get("usage"), dict):
                    reader.read(chunk)  # OpenRouter bills what came before the error, and says so beside it
                self._failure = self._source.refuse(chunk, headers)
                return
            piece = reader.read(chunk)
            if piece:
                pieces.append(piece)

    @staticmethod
    def _drain(incoming: Incoming) -> None:
        """Give the body the moment that it takes to end, so that its connection can be used again."""
        try:
            incoming.must_continue_within(_LAST_BYTES, "end of the body")
            while incoming.read1():
                pass
        except APIError:
            pass  # it stays open after its own end marker: the connection is dropped below

    def _end(self, incoming: Incoming) -> None:
        """Finish: make the answer, or notice that it is not whole."""
        incoming.close()
        if not self._reader.complete:
            stray = self._decoder.stray
            ended = "it ended without the provider's end marker"
            self._failure = self._not_a_stream(stray) if stray else self._interrupted(ended)
            return
        try:
            answer = self._source.parse(self._reader.reply())
            object.__setattr__(answer, "attempts", self._trace.attempts)
            object.__setattr__(answer, "elapsed", time.monotonic() - self._trace.started)
            self._answer = self._source.finish(answer, incoming.headers)
        except ResponderError as error:
            self._failure = error
            return
        self._ended = True
        self._release()

    @staticmethod
    def _not_a_stream(body: bytes) -> InvalidResponseError:
        return InvalidResponseError(
            "the reply holds neither events nor JSON. Is base_url the API's, and not a page's?", retryable=True, body=_shown(body)
        )

    def _interrupted(self, why: str) -> StreamInterruptedError:
        so_far = self._so_far()
        return StreamInterruptedError(
            f"the stream was interrupted after {len(so_far.text)} characters: {why}. What came is billed; "
            "the error's `text` holds it",
            text=so_far.text,
            usage=so_far.usage,
            retryable=True,
        )

    # Ending it early

    @property
    def cancelled(self) -> bool:
        """True once the stream was cancelled or closed before its end."""
        return self._token.cancelled

    def cancel(self, reason: str = "cancelled") -> None:
        """End the stream from any thread, at any time, without waiting: the provider's connection is freed at once.

        A thread that waits for the next piece gets a CancelledError. Harmless after the end, and when repeated.
        """
        if self._ended:
            return
        self._token.cancel(reason)
        if self._reading.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._reading.release()

    def close(self) -> None:
        """End the stream; what was handed out stays. The same as `cancel` for a stream that has not ended."""
        self.cancel("the stream was closed")

    def _release(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.close()
        if self._permit is not None:
            self._permit.settle(self._failure, self._answer.usage if self._answer is not None else None)
        if self._user_token is not None:
            self._user_token.unregister(self._registered)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_reading"):
            self.close()


def _shown(data: bytes) -> str:
    return data[:2000].decode("utf-8", "replace")
