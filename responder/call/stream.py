"""One answer, piece by piece: an iterator of str that any thread may cancel. Knows no provider's JSON."""

from __future__ import annotations

import json
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responder.call import replies
from responder.call.attempts import Attempt, Call
from responder.values import notebook
from responder.values.answer import Answer, FinishReason, Usage
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.dropped import close_dropped
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
from responder.values.schema import UnfitError
from responder.wire.error_bodies import as_error, error_status
from responder.wire.events import BodyDecoder, Event
from responder.wire.masking import hide

if TYPE_CHECKING:
    from responder.wire.transport import Incoming

# Half the cost of `json.loads`, which looks for the encoding and for spaces at either end first.
_read_json = json.JSONDecoder().raw_decode

# After the provider's end marker the body should end, too; we wait only this many seconds for that to reuse the connection.
_LAST_BYTES = 0.1


class Stream(Iterator[str]):
    """The pieces of an answer, as they arrive. Made by `Responder.stream`; nothing is sent until the first piece is asked for.

        with gpt.stream("What is baseball?") as stream:
            for piece in stream:
                print(piece, end="")
        print(stream.usage)

    A failure before the first piece is retried as in `answer`; later ones never are, since the pieces are out. Iterating belongs
    to one thread at a time; `cancel` to any. Leaving the `with` block, or dropping the stream, ends an unfinished one.

    Raises (from iterating):
        StreamInterruptedError: The stream ended without the provider's end marker; `text` holds what came.
        BlockedError, EmptyAnswerError: The provider blocked the answer (perhaps after some pieces), or sent none.
        APIError: As from `answer`; an error that the provider sends mid-stream has its own class.
        CancelledError: It was cancelled.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        in_turn: Callable[[Callable[[Call], None]], None],
        ended: Callable[[Stream], object] | None = None,
    ) -> None:
        self._in_turn = in_turn  # starts one of the calls, or the next one if that cannot answer
        self._on_end = ended
        self._call = calls[0]
        self._trace = self._call.trace
        self._user_token = cancel = self._call.bounds.cancel
        self._token = CancelToken()
        for call in calls:
            call.bounds = call.bounds.under(self._token)
        self._reader = self._call.endpoint.dialect.reader()
        self._attempt: Attempt | None = None
        self._incoming: Incoming | None = None
        self._decoder = BodyDecoder()
        self._pieces: deque[str] = deque()  # arrived, not taken
        self._said: list[str] = []  # taken
        self._failure: ResponderError | None = None  # raised once the pieces before it are taken
        self._signed: ResponderError | None = None
        self._answer: Answer | None = None
        self._begun = False  # part of an answer came
        self._ended = False
        # Held while a thread reads, so that a cancel from another one knows whether this thread will close the connection.
        self._reading = threading.Lock()
        self._registered = -1
        if cancel is not None:
            # Through a weak reference: a token that lives on must not keep alive a stream that was dropped.
            end = weakref.WeakMethod(self.cancel)
            self._registered = cancel.register(lambda: found(cancel.reason) if (found := end()) is not None else None)

    # What there is so far

    @property
    def text(self) -> str:
        """The pieces returned so far, joined."""
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

    @property
    def error(self) -> ResponderError | None:
        """Why it failed; None while it has not. It is raised once the pieces before it are taken."""
        return self._failure

    def _so_far(self) -> Answer:
        if self._answer is not None:
            return self._answer
        try:
            return self._call.endpoint.dialect.parse(self._reader.reply())
        except InvalidResponseError as error:
            return Answer("", "other", error.usage)

    def _repr_html_(self) -> str:
        return notebook.text_html(self.text, self._state())

    def _repr_markdown_(self) -> str:
        return notebook.text_markdown(self.text, self._state())

    def _state(self) -> str:
        """Return in a line how far it is."""
        if self._answer is not None and self._ended:
            return f"stream: complete, {self.usage.output_tokens:,} tokens"
        if self._failure is not None:
            return f"stream: {type(self._failure).__name__}: {self._failure}"
        if self._token.cancelled:
            return f"stream: ended early, {self._token.reason}"
        return "stream: under way" if self._trace.attempts else "stream: not begun; take its first piece to send the request"

    # Iterating

    def __next__(self) -> str:
        # Check again once the lock is free: a cancel that came while it was held has left the connection to this thread.
        while not self._pieces or (self._token.cancelled and not self._ended):
            with self._reading:
                self._advance()
        piece = self._pieces.popleft()
        self._said.append(piece)
        return piece

    def _advance(self) -> None:
        """Read until there is a piece.

        Raises:
            StopIteration: The whole answer was returned.
        """
        try:
            if self._token.cancelled and not self._ended:
                self._pieces.clear()  # no one will read them
            while not self._pieces:
                if self._failure is not None:
                    raise self._failure
                if self._ended:
                    raise StopIteration
                if self._token.cancelled:
                    raise CancelledError(f"the stream was stopped: {self._token.reason}")
                if self._incoming is None:
                    self._in_turn(self._begin)
                else:
                    self._continue()
        except ResponderError as error:
            self._failure = error  # asking again gives the same error, never silence
            self._release()
            self._sign(error)
            raise error.with_traceback(None)  # noqa: B904 - it is the same error, without the frames that hold the key

    def _begin(self, call: Call) -> None:
        """Open the stream, over as many attempts as it takes, and read up to its first piece, or to its end."""
        self._call = call
        try:
            call.repeat(self._open)
        except ResponderError as error:
            self._signed = error
            raise

    def _open(self) -> None:
        """Make one attempt."""
        call = self._call
        self._reader = call.endpoint.dialect.reader()
        self._decoder = BodyDecoder()
        self._begun = False
        self._attempt = call.begin()
        try:
            self._incoming = call.open(self._attempt)
            self._read_first(self._incoming)
        except BaseException as error:
            if isinstance(error, ResponderError):
                hide(error, call.secret)
            self._end_attempt(error)
            raise

    def _end_attempt(self, error: BaseException | None) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.close()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            so_far = self._so_far()
            if isinstance(error, APIError) and so_far.usage.known:
                error.usage = so_far.usage
            attempt.end(error, so_far.usage if so_far.usage.known else None, so_far.model, so_far.service_tier)

    def _sign(self, error: ResponderError) -> None:
        if error is not self._signed:
            self._signed = error
            hide(error, self._call.secret)
            self._call.sign(error)

    def _read_first(self, incoming: Incoming) -> None:
        while not self._pieces and not self._ended:
            self._read_on(incoming)
            if self._failure is not None and not self._pieces:
                failure, self._failure = self._failure, None
                raise failure

    def _continue(self) -> None:
        incoming = self._incoming
        assert incoming is not None  # noqa: S101 - `_advance` looked
        gap = self._call.bounds.timeout.gap
        incoming.must_continue_within(gap, f"timeout gap: no piece within {gap:g} s of the one before")
        try:
            while not self._pieces and not self._ended and self._failure is None:
                self._read_on(incoming)
        except (APITimeoutError, CancelledError):
            raise
        except APIConnectionError as error:
            raise self._interrupted("the connection was lost") from error

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
                text = str(data, "utf-8", "replace")
                status = error_status(text, name)
                if status is not None:
                    self._failure = self._refused(status, as_error(text), headers)
                    return
                if not data.strip():
                    continue
                self._failure = InvalidResponseError("an event of the stream is not JSON", retryable=True, body=_shown(data))
                return
            if not isinstance(chunk, (dict, list)):
                chunk = str(data, "utf-8", "replace")  # text, or something that only begins like JSON
            status = error_status(chunk, name)
            if status is not None:
                if isinstance(chunk, dict) and isinstance(chunk.get("usage", chunk.get("response")), dict):
                    reader.read(chunk)  # what came before is billed: OpenRouter says so beside the error, OpenAI around it
                self._failure = self._refused(status, as_error(chunk), headers)
                return
            if not isinstance(chunk, dict):
                continue
            self._begun = True
            piece = reader.read(chunk)
            if piece:
                pieces.append(piece)
            elif reader.failed is not None:
                failed = {"error": reader.failed}
                self._failure = self._refused(error_status(failed) or 500, failed, headers)
                return

    @staticmethod
    def _drain(incoming: Incoming) -> None:
        """Give the body a moment to end, so that its connection can be reused."""
        try:
            incoming.must_continue_within(_LAST_BYTES, "end of the body")
            while incoming.read1():
                pass
        except APIError:
            pass  # it stays open after its own end marker: the connection is dropped below

    def _end(self, incoming: Incoming) -> None:
        """Finish: make the answer, or report that it is incomplete."""
        incoming.close()
        if not self._reader.complete:
            self._failure = self._cut_off(incoming)
            return
        dialect = self._call.endpoint.dialect
        try:
            answer = dialect.parse(self._reader.reply())
            object.__setattr__(answer, "attempts", self._trace.attempts)
            object.__setattr__(answer, "elapsed", monotonic() - self._trace.started)
            replies.checked(dialect, answer, incoming.headers)
            replies.fit(answer, self._call.question.schema)
        except UnfitError as unfit:
            self._failure = replies.invalid_answer(answer, unfit, 0)
            return
        except InvalidResponseError as error:  # the end marker, with no part of an answer before it
            error.status, error.retryable = incoming.status, True
            self._failure = error
            return
        except ResponderError as error:
            self._failure = error
            return
        self._answer = answer
        self._ended = True
        self._release()

    def _refused(self, status: int, found: Any, headers: Mapping[str, str]) -> APIError:
        return replies.refused(self._call.endpoint.dialect, status, headers, found, secret=self._call.secret)

    def _cut_off(self, incoming: Incoming) -> APIError:
        """Return the error for a body that ended without the provider's end marker."""
        stray = self._decoder.stray
        text = str(stray, "utf-8", "replace")
        status = error_status(text)
        if status is not None:
            return self._refused(status, as_error(text), incoming.headers)
        failure: APIError
        failure = self._not_a_stream(stray) if stray else self._interrupted("it ended without the provider's end marker")
        if not self._begun:
            failure.status = incoming.status
        return failure

    @staticmethod
    def _not_a_stream(body: bytes) -> InvalidResponseError:
        return InvalidResponseError(
            "the reply has neither events nor JSON. Does base_url point to the API, not to a web page?",
            retryable=True,
            body=_shown(body),
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
        """End the stream; the pieces already returned stay. The same as `cancel` for a stream that has not ended."""
        self.cancel("the stream was closed")

    def _release(self) -> None:
        """Give back what the stream holds: its connection, its slot in the limits, its money. Does nothing the second time."""
        error = None
        if self._answer is None:
            error = self._failure or CancelledError(f"the stream was stopped: {self._token.reason}")
        self._end_attempt(error)
        if self._call.watch is not None:
            self._call.watch.end(self._answer, error)
        if self._user_token is not None:
            self._user_token.unregister(self._registered)
        ended, self._on_end = self._on_end, None
        if ended is not None:
            ended(self)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        close(self, "_reading")


def _shown(data: bytes) -> str:
    return data[:2000].decode("utf-8", "replace")
