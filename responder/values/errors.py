"""What can go wrong: one tree of errors, for every provider.

    ResponderError                  everything we raise on purpose
      ConfigurationError            before any request: no key, unknown option. The message says what to type
      CancelledError                the call or the run was cancelled before this answer came
      BatchError                    some items of a map failed; carries every result
      BudgetExceededError           the run's money is used up; nothing was sent for this item
      WorkerLostError               the process that had this prompt died, and its executor cannot go on
      APIError                      a call was made: provider, model, status, request_id, attempts, retryable, retry_after
        APIConnectionError          nothing usable came back: refused, reset, cut, TLS
          APITimeoutError           one attempt took longer than `timeout`
        DeadlineExceededError       the call took longer than `deadline`, retries and waits included
        CircuitOpenError            the provider is down: too many failures in a row; nothing was sent
        APIStatusError              the provider answered with an error status; has `body`
          BadRequestError           400 and similar: the request itself is wrong
          AuthenticationError       401: the key is wrong or has expired
          PermissionDeniedError     403: the key may not do this
          NotFoundError             404: no such model, deployment or URL
          RateLimitError            429: too fast; `retry_after` says how long to wait
            QuotaExceededError      no credit, or a daily quota is used up: waiting will not help
          InternalServerError       5xx: the provider has a problem
        InvalidResponseError        a 2xx that is not what the provider documents
        BlockedError                the provider's filter blocked the prompt or the answer
        EmptyAnswerError            a success with nothing in it
        InvalidAnswerError          an answer that does not fit its schema, however often it was asked for
        TurnsExceededError          the model still wants tools called after `max_turns`; carries the transcript
        StreamInterruptedError      a stream ended before its end marker; has the text so far

Whether a retry can help is decided where the error is made, and stored in it (`retryable`, `fatal`). Every error can be pickled,
and none contains a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from responder.values.answer import NO_USAGE, FinishReason, Usage
from responder.values.messages import Message
from responder.values.visible import visible_in_line


class ResponderError(Exception):
    """Everything this package raises on purpose.

    Attributes:
        attempts: How many requests were sent for this item (0: none).
        waited: Seconds spent waiting between attempts.
        fatal: True when no other item of a run with the same key and model can succeed either.
        messages: Where functions were called for the model before this went wrong: all that was said until then, to be sent on.
    """

    attempts: int = 0
    waited: float = 0.0
    fatal: bool = False
    messages: tuple[Message, ...] = ()

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # A batch attached for the caller stays in this process: it may hold anything.
        state = {name: value for name, value in self.__dict__.items() if name != "batch"}
        return type(self), self.args, state


class ConfigurationError(ResponderError):
    """Something is missing or wrong before any request was made; the message says what to type.

    `fatal` separates a missing key or an unknown option, which fails every item of a run, from one bad prompt.
    """

    def __init__(self, message: str = "", *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class CancelledError(ResponderError):
    """The call, or the run it belongs to, was cancelled before this answer came.

    Asking again is safe where `attempts` is 0; otherwise the provider may have billed an answer that was never read.
    """


class BatchError(ResponderError):
    """At least one item of a map failed and the caller asked for all answers.

    Attributes:
        results: Every result of the run, failed ones and finished ones, in input order.
    """

    results: Sequence[Any]

    def __init__(self, message: str = "", results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = results


class BudgetExceededError(ResponderError):
    """The run's `budget` does not allow this request; nothing was sent. It ends the run, with what is finished kept."""

    fatal = True


class WorkerLostError(ResponderError):
    """The worker process that had this prompt died, and its executor cannot go on. The provider may have billed the call.

    With `checkpoint=`, the same map with a new executor asks only for what is missing; `executor=` may also be a function that
    makes one, such as `lambda: ProcessPoolExecutor(4)`: what was lost is then sent again by itself.
    """


class APIError(ResponderError):
    """A call was made and did not give an answer.

    Attributes:
        provider: The provider's name, as in `for_model`.
        model: The model or deployment that was asked.
        status: HTTP status, or None when no status came back.
        request_id: The provider's id of the request, for its support; None when it sent none.
        code: The provider's own word for the error, such as "context_length_exceeded"; None when it sent none.
        retryable: True when the same request may succeed later.
        retry_after: Seconds that the server asked to wait; None when it did not say.
        elapsed: Seconds from the start of the call to the error.
        usage: The tokens that were billed anyway, if the provider reported them.
        suspect: True for a refusal that does not say what is at fault (a bare 403 or 404, a page of HTML, a redirect). One of
            them counts against its prompt only; if every prompt of a run gets it, the key or `base_url` is wrong.
    """

    suspect: bool = False
    usage: Usage = NO_USAGE

    def __init__(
        self,
        message: str = "",
        *,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        request_id: str | None = None,
        code: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        fatal: bool = False,
    ) -> None:
        # It may quote a server, and is printed to terminals and written to logs.
        super().__init__(visible_in_line(message))
        self.provider = provider
        self.model = model
        self.status = status
        self.request_id = request_id
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
        self.fatal = fatal
        self.attempts = 1
        self.elapsed = 0.0


class APIConnectionError(APIError):
    """Nothing usable came back: no connection, a reset, a cut body, a TLS problem, a wrong certificate."""


class APITimeoutError(APIConnectionError):
    """One attempt took longer than `timeout`. Whether the provider did the work and billed it is unknown."""


class DeadlineExceededError(APIError):
    """The call took longer than its `deadline`, or could only have continued after it. The message says where the time went."""


class CircuitOpenError(APIError):
    """The provider is down: many attempts in a row failed, and this one was not sent. It ends a run.

    `retry_after` says when the next call is let through as a probe.
    """


class APIStatusError(APIError):
    """The provider answered with an error status.

    Attributes:
        body: The error body: parsed JSON, or text (at most the first 2,000 characters) when it was not JSON.
    """

    def __init__(self, message: str = "", *, body: Any = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.body = body


class BadRequestError(APIStatusError):
    """400 and similar (409, 413, 422, a refused redirect): the same request cannot succeed."""


class AuthenticationError(APIStatusError):
    """401, or a provider's own way of saying that the key is wrong or has expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key is known, but may not do this."""


class NotFoundError(APIStatusError):
    """404: no such model, deployment or URL."""


class RateLimitError(APIStatusError):
    """429: too many requests or tokens; `retry_after` holds the server's wait, where it named one."""


class QuotaExceededError(RateLimitError):
    """No credit left, a spending limit, or a daily quota is used up: waiting will not help."""


class InternalServerError(APIStatusError):
    """5xx: the provider failed or is overloaded; retried by default."""


class InvalidResponseError(APIError):
    """A success that is not what the provider documents: not JSON, cut, or without the parts that an answer has.

    Attributes:
        body: The reply: parsed JSON, or text (at most the first 2,000 characters) when it was not JSON.
        usage: The tokens that were billed anyway, if the provider reported them.
    """

    def __init__(self, message: str = "", *, body: Any = None, usage: Usage | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.body = body
        self.usage = usage or Usage()


class _PartialAnswerError(APIError):
    """An answer that came only in part."""

    def __init__(
        self,
        message: str = "",
        *,
        text: str = "",
        finish_reason: FinishReason = "other",
        usage: Usage | None = None,
        body: Any = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.text = text
        self.finish_reason = finish_reason
        self.usage = usage or Usage()
        self.body = body


class BlockedError(_PartialAnswerError):
    """The provider's filter blocked the prompt or the answer; most providers bill it anyway.

    Attributes:
        text: The text before the block, if any.
        finish_reason: "content_filter".
        usage: The tokens that were billed.
        body: The provider's reply, with its ratings.
    """


class EmptyAnswerError(_PartialAnswerError):
    """The provider reported success, but there is neither text nor a tool call in the answer.

    Attributes:
        finish_reason: Why it is empty; "length" means that `max_tokens` was used up by reasoning.
        usage: The tokens that were billed.
        body: The provider's reply.
    """


class InvalidAnswerError(_PartialAnswerError):
    """The answer does not fit the schema that was asked for, also after `reasks` more questions.

    Attributes:
        text: The last answer's text.
        problems: What does not fit, in a few short sentences.
        usage: The tokens of the last answer.
        body: The provider's last reply.
    """

    def __init__(self, message: str = "", *, problems: Sequence[str] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.problems = tuple(problems)


class TurnsExceededError(APIError):
    """The model still wants functions called after `max_turns` turns.

    Attributes:
        messages: The transcript, the results of the last turn's calls ("not called") included: it can be sent on.
        usage: The tokens of all turns.
    """

    def __init__(
        self, message: str = "", *, messages: tuple[Message, ...] = (), usage: Usage | None = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.messages = messages
        self.usage = usage or Usage()


class StreamInterruptedError(_PartialAnswerError):
    """A stream ended without the provider's end marker.

    Attributes:
        text: The text that came before the end.
    """
