"""The one recipe: payload, attempts, parse. What every provider shares; what differs is in `providers/`."""

from __future__ import annotations

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit, urlunsplit

from responder._version import __version__
from responder.call.attempts import BYTES_PER_TOKEN, SINGLE, Call, Terms
from responder.call.retry import Retrier, RetryPolicy
from responder.call.stream import ChunkReader, Stream
from responder.many import mapping
from responder.many.merging import MergedStreams
from responder.many.parallel import OnError
from responder.many.progress import ProgressOption
from responder.many.runs import AnswerRun, Asker, Settings, open_file, start
from responder.pace.breaker import Breaker, breaker_for
from responder.pace.limits import Governor, Limits, Permit, governor_for
from responder.pace.prices import Price, Pricing, listed_price
from responder.values.answer import Answer
from responder.values.cancellation import CancelToken
from responder.values.deadline import DEFAULT_TIMEOUT, Deadline, Timeout, as_timeout
from responder.values.errors import (
    APIError,
    AuthenticationError,
    BlockedError,
    ConfigurationError,
    DeadlineExceededError,
    EmptyAnswerError,
    InvalidResponseError,
    ResponderError,
)
from responder.values.messages import Message, Prompt, as_messages
from responder.values.options import Options, overlaid
from responder.values.results import Batch, Result
from responder.values.trace import Trace
from responder.wire.credentials import Credential, KeyCredential
from responder.wire.failures import error_from_reply, read_error_body, request_id, status_inside

if TYPE_CHECKING:
    from responder.many.checkpoint import Checkpoint, StoredAnswer
    from responder.wire.transport import Incoming, Reply

Self = TypeVar("Self", bound="Responder")

# Header names that hold secrets; their values are neither shown nor pickled.
_SECRET_WORDS = ("auth", "key", "token", "secret", "cookie", "password")


_STREAM_HEADERS = {"Accept": "text/event-stream, application/json"}
_NONE: Mapping[str, str] = {}


class Responder(ABC):
    """A model of a provider: answers one prompt, or many at once. Thread-safe, picklable (without its secrets), fork-safe.

    Args:
        model: The model's name, as the provider spells it.
        api_key: The key, or a callable that returns one (asked for each request); None: the environment.
        base_url: Where the API is, as the provider's own SDK takes it; None: the provider's own, or the environment's.
        system: How the model should behave; goes before every prompt.
        timeout: Seconds for one attempt in total, or a Timeout with its several bounds; None: ten minutes. `math.inf` is
            the way to say "no limit".
        deadline: Seconds for one call in total, retries and waits included; None: no such bound.
        max_retries: Repeats after a failed attempt, where a repeat can help; 0: one attempt.
        limits: What the provider allows, shared by every responder of the process with the same provider, base URL, key and
            model; None: what it asks for by its refusals and headers.
        session: A `requests.Session` of your own to send with (adapters, proxies, client certificates, mocks).
        extra_headers: Sent with every request, on top of ours.
        price: What the model costs; None: what genai-prices says, where it is installed and knows the model.
        cache: A file that keeps every answer, and gives it again to whoever asks the same (its `attempts` are 0). It may be the
            checkpoint of a map.
        fallbacks: Responders that are asked in turn, in their own words, when this one cannot answer: it is down, refuses the
            key, or failed after all repeats. Not when the prompt is at fault, or is blocked.
        **options: Defaults for every call, see `Options`: temperature, max_tokens, stop, seed, tools, schema, extra, ...

    Raises:
        ConfigurationError: No key, or an option that does not exist; the message says what to type.
    """

    provider: ClassVar[str] = ""
    """The provider's name, as in `for_model("provider:model")`."""
    base_url: str = ""
    """Where the API is."""
    base_url_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that hold another base URL."""
    key_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that hold the key; the first that is set wins."""
    key_required: ClassVar[bool] = True
    """False for servers that answer without a key."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        system: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        max_retries: int = 4,
        limits: Limits | None = None,
        session: Any = None,
        extra_headers: Mapping[str, str] | None = None,
        price: Price | None = None,
        cache: str | os.PathLike[str] | None = None,
        fallbacks: Sequence[Responder] = (),
        **options: Any,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(f"{type(self).__name__} needs the model's name, such as {type(self).__name__}('...')")
        self.model = model.strip()
        self.system = system
        Deadline.after(deadline)  # nonsense is told now
        self.deadline = deadline
        self.options = Options().merged(options)
        self.extra_headers = dict(extra_headers or {})
        self.cache = os.fspath(cache) if cache is not None else None
        self.fallbacks = _responders(fallbacks)
        self._price = price
        self._limits = limits or Limits()
        self._session = session
        self._credential = self._make_credential(api_key)
        try:
            self.timeout = DEFAULT_TIMEOUT if timeout is None else as_timeout(timeout)
            self._policy = RetryPolicy(max_retries)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self.base_url = _checked_url(base_url or self._base_url_of_environment() or type(self).base_url, type(self).__name__)
        self._start()

    def _start(self) -> None:
        """Make what can neither be pickled nor shared with another process."""
        # Imported with the first responder: `requests` alone is half of the time that importing all of this would take.
        from responder.wire.transport import Transport

        self._transport = Transport(self._session)
        self._retrier = Retrier(self._policy)
        self._governor: Governor | None = None
        self._breaker: Breaker | None = None
        self._answers: Checkpoint | None = None
        self._fixed_headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"responder-sdk/{__version__}",
        }

    def _make_credential(self, api_key: str | Callable[[], str] | None) -> Credential:
        credential = KeyCredential(api_key, self.key_variables, self.provider, self.key_required)
        if not callable(api_key):
            credential.secret()  # a missing key is told here, before any work is done
        return credential

    def _base_url_of_environment(self) -> str | None:
        return _first_set(self.base_url_variables)

    # What a provider fills in: pure functions, without requests, threads or clocks.

    @abstractmethod
    def url(self) -> str:
        """Return the URL that answers are asked of."""

    @abstractmethod
    def headers(self, secret: str) -> Mapping[str, str]:
        """Return the headers that carry the secret, and those that the provider wants beside it."""

    @abstractmethod
    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        """Return the provider's JSON for a question.

        Raises:
            ConfigurationError: The provider does not take a part or an option.
        """

    @abstractmethod
    def parse(self, reply: Mapping[str, Any]) -> Answer:
        """Return the answer that the provider's JSON holds; unknown fields and words are no errors.

        Raises:
            InvalidResponseError: It holds none.
        """

    def stream_url(self) -> str:
        """Return the URL that streams are asked of."""
        return self.url()

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the payload of an answer as the payload of a stream."""
        return {**payload, "stream": True}

    @abstractmethod
    def reader(self) -> ChunkReader:
        """Return what reads the chunks of one stream."""

    def explain(self, reply: Mapping[str, Any]) -> str:  # noqa: ARG002 - for those that can say more
        """Return why the provider blocked or emptied an answer, in its own words; "" when it does not say."""
        return ""

    # One call

    def answer(
        self,
        prompt: Prompt,
        *,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        fallbacks: Sequence[Responder] | None = None,
        **options: Any,
    ) -> Answer:
        """Ask the model and wait for its whole answer.

        Args:
            prompt: A str, a Message, a {"role", "content"} dict, or a list of the last two.
            timeout: Seconds for one attempt; None: the responder's.
            deadline: Seconds for this call, retries and waits included; None: the responder's.
            cancel: A token that ends the call within milliseconds when another thread cancels it.
            fallbacks: Who is asked when this one cannot answer; None: the responder's own.
            **options: On top of the responder's defaults, see `Options`.

        Returns:
            The answer; never an empty one without tool calls. Look at `truncated` when you set `max_tokens`.

        Raises:
            ConfigurationError: The prompt or an option makes no sense; nothing was sent.
            APIError: No answer; its subclass says why, and `retryable` whether asking again can help.
            CancelledError: The token was cancelled.
        """
        trace = Trace()
        ends = Deadline.after(self.deadline if deadline is None else deadline)
        others = self._others(fallbacks)
        if others or self.cache is not None:
            return Asker([self, *others], options, timeout, cancel, SINGLE).answer(prompt, ends, trace)
        merged = self.options.merged(options)
        return self.ask(self.question(prompt, merged), merged, timeout, ends, cancel, trace)

    def stream(
        self,
        prompt: Prompt,
        *,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        **options: Any,
    ) -> Stream:
        """Ask the model and return its answer as a stream of pieces; the request is sent when the first piece is asked for.

        Args:
            prompt: As `answer` takes it.
            timeout: Seconds for one attempt to its last piece, or a Timeout that also bounds the first piece (`first`) and
                the time between two (`gap`); None: the responder's.
            deadline: Seconds for the whole stream, repeats before its first piece included; None: the responder's.
            cancel: A token that ends the stream when another thread cancels it; `Stream.cancel` does the same.
            **options: On top of the responder's defaults, see `Options`.

        Raises:
            ConfigurationError: The prompt or an option makes no sense.
        """
        body = self._body(prompt, self.options.merged(options), self.stream_payload)
        bounds = self._timeout(timeout)
        ends = Deadline.after(self.deadline if deadline is None else deadline)

        return Stream(_StreamCall(self, body, bounds, ends), self._retrier, bounds, ends, cancel)

    def _open(self, body: bytes, timeout: Timeout, deadline: Deadline, cancel: CancelToken) -> Incoming:
        url = self.stream_url()
        secret = self._credential.secret(deadline, cancel)
        incoming = self._transport.open(url, self._headers(secret, _STREAM_HEADERS), body, timeout, deadline, cancel)
        if incoming.status == 401 and self._renewed(secret, deadline, cancel):
            incoming.close()
            secret = self._credential.secret(deadline, cancel)
            incoming = self._transport.open(url, self._headers(secret, _STREAM_HEADERS), body, timeout, deadline, cancel)
        if not 200 <= incoming.status < 300:
            try:
                reply = _without_secret(incoming.read(), secret)
            finally:
                incoming.close()
            raise self._refused(reply.status, reply.headers, read_error_body(reply.body), reply.reason)
        return incoming

    def _timeout(self, timeout: float | Timeout | None) -> Timeout:
        try:
            return self.timeout if timeout is None else as_timeout(timeout)
        except ValueError as error:
            raise ConfigurationError(str(error), fatal=True) from None

    def question(self, prompt: Prompt, options: Options) -> bytes:
        """Return what is sent for a prompt.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        return self._body(prompt, options)

    def ask(
        self,
        question: bytes,
        options: Options,
        timeout: float | Timeout | None,
        deadline: Deadline,
        cancel: CancelToken | None,
        trace: Trace,
        terms: Terms = SINGLE,
    ) -> Answer:
        """Return the answer to a question, over as many attempts as it takes; `answer` and the maps are made of this."""
        bounds = self._timeout(timeout)
        try:
            url = self.url()
            call = Call(
                lambda token, permit: self._exchange(url, question, bounds, deadline, token, permit),
                *self._shared(),
                self._price if terms is SINGLE else self.price,
                len(question),
                options.max_tokens,
                deadline,
                cancel,
                trace,
                terms,
            )
            answer = self._retrier.call(call.attempt, trace, deadline, cancel, terms.retries)
        except ResponderError as error:
            self._sign(error, trace)
            _forget_frames(error)
            raise error.with_traceback(None)  # noqa: B904 - it is the same error
        # The parsed answer is nobody else's yet: filling in what only this call knows saves a copy of it.
        object.__setattr__(answer, "attempts", trace.attempts)
        object.__setattr__(answer, "elapsed", time.monotonic() - trace.started)
        return answer

    def _exchange(
        self, url: str, body: bytes, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None, permit: Permit
    ) -> Answer:
        reply = self._send(url, body, timeout, deadline, cancel)
        permit.observe(reply.headers)
        return self._read(reply)

    def key(self, question: bytes) -> bytes:
        """Return the name under which a checkpoint or cache keeps the answer to a question."""
        return hashlib.sha256(b"\0".join((self.provider.encode(), self.url().encode(), question))).digest()

    def restored(self, kept: StoredAnswer) -> Answer:
        """Return an answer that a checkpoint or cache kept, as if it had just come."""
        answer = self.parse(kept.reply)
        object.__setattr__(answer, "request_id", kept.request_id)
        object.__setattr__(answer, "attempts", 0)
        return answer

    @property
    def answers(self) -> Checkpoint | None:
        """The opened `cache`; None without one."""
        if self._answers is None and self.cache is not None:
            self._answers = open_file(self.cache)
        return self._answers

    @property
    def price(self) -> Pricing | None:
        """What the model costs: as given, else as genai-prices says; None where neither knows."""
        if self._price is not None:
            return self._price
        return listed_price(self.provider, self.model)

    def _shared(self) -> tuple[Governor, Breaker]:
        """Return what every responder of the process with the same provider, base URL, key and model shares."""
        if self._governor is None or self._breaker is None:
            identity = (self.provider, self.base_url, self.model, self._credential.identity())
            self._governor, self._breaker = governor_for(identity, self._limits), breaker_for(identity)
        return self._governor, self._breaker

    def _body(self, prompt: Prompt, options: Options, adapt: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> bytes:
        try:
            messages = as_messages(prompt)
            if self.system is not None:
                messages = (Message("system", self.system), *messages)
            payload = self.payload(messages, options)
            if adapt is not None:
                payload = adapt(payload)
            return _json_bytes(overlaid(payload, options.extra) if options.extra else payload)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"this prompt cannot be sent: {error}") from error

    def _send(self, url: str, body: bytes, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None) -> Reply:
        secret = self._credential.secret(deadline, cancel)
        reply = self._transport.post(url, self._headers(secret), body, timeout, deadline, cancel)
        if reply.status == 401 and self._renewed(secret, deadline, cancel):
            secret = self._credential.secret(deadline, cancel)
            reply = self._transport.post(url, self._headers(secret), body, timeout, deadline, cancel)
        if reply.status >= 400 or b'"error"' in reply.body[:1000]:
            return _without_secret(reply, secret)
        return reply

    def _headers(self, secret: str, more: Mapping[str, str] = _NONE) -> dict[str, str]:
        return {**self._fixed_headers, **more, **self.headers(secret), **self.extra_headers}

    def _renewed(self, refused: str, deadline: Deadline, cancel: CancelToken | None) -> bool:
        try:
            return self._credential.renew(refused, deadline, cancel)
        except AuthenticationError:
            return False  # the provider's own 401 says more than the failure to get another token

    def _read(self, reply: Reply) -> Answer:
        """Return the answer that a reply holds, or raise the error that it means."""
        if not 200 <= reply.status < 300:
            raise self._refused(reply.status, reply.headers, read_error_body(reply.body), reply.reason)
        try:
            parsed = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise self._invalid(reply, "not JSON, or cut off", read_error_body(reply.body)) from None
        if isinstance(parsed, list) and len(parsed) == 1:
            parsed = parsed[0]  # Google wraps errors so
        if not isinstance(parsed, dict):
            raise self._invalid(reply, "not a JSON object", parsed)
        if parsed.get("error"):
            raise self._refused(status_inside(parsed["error"]), reply.headers, parsed)
        try:
            answer = self.parse(parsed)
        except InvalidResponseError as error:
            raise self._invalid(reply, str(error), parsed) from None
        object.__setattr__(answer, "request_id", request_id(reply.headers, parsed))
        return self._checked(answer)

    def _checked(self, answer: Answer) -> Answer:
        """Return the answer, unless it was blocked or has nothing in it."""
        if answer.finish_reason == "content_filter":
            why = self.explain(answer.raw)
            raise BlockedError(
                f"{self.provider} blocked the {'answer' if answer.text else 'prompt or the answer'} of {answer.model}"
                f"{': ' + why if why else ''}. Change the prompt, or the filter's settings",
                **self._partial(answer),
            )
        if not answer.text and not answer.tool_calls:
            why = self.explain(answer.raw)
            if answer.truncated:
                advice = "max_tokens was used up before any text came (reasoning counts): raise max_tokens"
            else:
                advice = "there is neither text nor a tool call in it"
            raise EmptyAnswerError(
                f"{self.provider} gave an empty answer of {answer.model}: {advice}{' (' + why + ')' if why else ''}",
                **self._partial(answer),
            )
        return answer

    def _partial(self, answer: Answer) -> dict[str, Any]:
        return {
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "usage": answer.usage,
            "body": answer.raw,
            "status": 200,
            "request_id": answer.request_id,
            "model": answer.model,
        }

    def _refused(self, status: int, headers: Mapping[str, str], body: Any, reason: str = "") -> APIError:
        where = self._where()
        return error_from_reply(status, headers, body, provider=self.provider, model=self.model, where=where, reason=reason)

    def _invalid(self, reply: Reply, why: str, body: Any) -> InvalidResponseError:
        return InvalidResponseError(
            f"{self.provider} answered {reply.status} at {self._where()}, but {why}. Is base_url the API's, and not a page's?",
            status=reply.status,
            request_id=request_id(reply.headers, body),
            retryable=True,
            body=body,
        )

    def _where(self) -> str:
        return _shown_url(self.url())

    def _sign(self, error: ResponderError, trace: Trace) -> None:
        """Write into an error what only the call knows."""
        error.attempts = trace.attempts
        error.waited = trace.waited
        if isinstance(error, DeadlineExceededError):
            error.args = (f"{error} ({trace.account()})",)
        if isinstance(error, APIError):
            error.provider = self.provider
            error.model = error.model or self.model
            error.elapsed = time.monotonic() - trace.started

    # Many calls

    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        max_workers: int = 16,
        on_error: OnError = "collect",
        max_errors: int | None = None,
        deadline: float | None = None,
        run_deadline: float | None = None,
        progress: ProgressOption = None,
        on_result: Callable[[Result], object] | None = None,
        cancel: CancelToken | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        dedupe: bool = False,
        budget: float | None = None,
        hedge: float | None = None,
        fallbacks: Sequence[Responder] | None = None,
        retry_share: float = 0.2,
        timeout: float | Timeout | None = None,
        **options: Any,
    ) -> Batch:
        """Ask many prompts at once, wait for all, and return their results in input order.

        Errors that no other prompt can survive (a wrong key, no credit, a quota of the day) end the run at once; what was not
        sent then has a CancelledError that says so.

        Args:
            prompts: Any iterable that ends; pulled in the caller's thread.
            max_workers: How many calls run at once.
            on_error: "collect" (a failure becomes its result's `error`), "raise" (the first one is raised and ends the run),
                or "stop" (nothing new is sent after the first one, and what there is is returned).
            max_errors: Send nothing new once this many have failed; None: never.
            deadline: Seconds for each prompt, retries and waits included; None: the responder's.
            run_deadline: Seconds for the whole run; calls in flight end then.
            progress: None (a bar only on a terminal or notebook, on stderr), True, False, or a callable that gets a Progress.
            on_result: Called with each result as it comes in, in the caller's thread.
            cancel: A token that ends the run, with its calls in flight, when another thread cancels it.
            checkpoint: A file that keeps each answer as soon as it is there. A second run with the same file takes from it what
                was asked in the same words with the same options (its `attempts` are 0), and asks only the rest.
            dedupe: Ask equal prompts once, and give each of them that answer (the repeats' `attempts` are 0). The answers of
                the run stay in memory for it.
            budget: US dollars that the run may spend. Each request sets its estimated cost aside and books the real one; when the
                rest is not enough for another one, the run ends with a BudgetExceededError in what was not sent.
            hedge: The part of the prompts, such as 0.05, that may be asked a second time when they take longer than all others:
                the first answer counts, the other call is cancelled. Only with room in the limits and the budget.
            fallbacks: Who is asked when this one cannot answer; None: the responder's own.
            retry_share: The part of the run's requests that may be repeats of failed ones, so that a provider that fails broadly
                is not asked five times as much. Refusals for the rate do not count. Two for each worker are always allowed.
            timeout: Seconds for one attempt; None: the responder's.
            **options: As `answer` takes them.

        Raises:
            ConfigurationError: A keyword or option makes no sense; nothing was sent.
            APIError: With `on_error="raise"`, the first failure. It, and whatever else ends the run early (Ctrl-C), has an
                attribute `batch` that holds what is finished.
        """
        settings = Settings(
            max_workers,
            on_error,
            max_errors,
            deadline,
            run_deadline,
            progress,
            on_result,
            cancel,
            checkpoint,
            dedupe,
            budget,
            hedge,
            self._others(fallbacks),
            retry_share,
            timeout,
        )
        run = start([self, *settings.fallbacks], prompts, False, settings, options)
        return mapping.collect(run, lambda results: Batch(results, run.history))

    def imap(
        self,
        prompts: Iterable[Prompt],
        *,
        max_workers: int = 16,
        on_error: OnError = "collect",
        max_errors: int | None = None,
        deadline: float | None = None,
        run_deadline: float | None = None,
        progress: ProgressOption = None,
        on_result: Callable[[Result], object] | None = None,
        cancel: CancelToken | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        dedupe: bool = False,
        budget: float | None = None,
        hedge: float | None = None,
        fallbacks: Sequence[Responder] | None = None,
        retry_share: float = 0.2,
        timeout: float | Timeout | None = None,
        **options: Any,
    ) -> AnswerRun:
        """Ask many prompts at once; iterate over the results in input order, as soon as each is there.

        Lazy: at most 8 times `max_workers` prompts are pulled ahead of what was taken, so a generator of ten million, or an
        endless one, is fine. Leaving the loop ends the calls in flight. The keywords are those of `map`.
        """
        settings = Settings(
            max_workers,
            on_error,
            max_errors,
            deadline,
            run_deadline,
            progress,
            on_result,
            cancel,
            checkpoint,
            dedupe,
            budget,
            hedge,
            self._others(fallbacks),
            retry_share,
            timeout,
        )
        return start([self, *settings.fallbacks], prompts, True, settings, options)

    def imap_unordered(
        self,
        prompts: Iterable[Prompt],
        *,
        max_workers: int = 16,
        on_error: OnError = "collect",
        max_errors: int | None = None,
        deadline: float | None = None,
        run_deadline: float | None = None,
        progress: ProgressOption = None,
        on_result: Callable[[Result], object] | None = None,
        cancel: CancelToken | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        dedupe: bool = False,
        budget: float | None = None,
        hedge: float | None = None,
        fallbacks: Sequence[Responder] | None = None,
        retry_share: float = 0.2,
        timeout: float | Timeout | None = None,
        **options: Any,
    ) -> AnswerRun:
        """Ask many prompts at once; iterate over the results as they finish (`result.index` says which is which).

        Lazy: at most twice `max_workers` prompts are pulled ahead of what was taken. The keywords are those of `map`.
        """
        settings = Settings(
            max_workers,
            on_error,
            max_errors,
            deadline,
            run_deadline,
            progress,
            on_result,
            cancel,
            checkpoint,
            dedupe,
            budget,
            hedge,
            self._others(fallbacks),
            retry_share,
            timeout,
        )
        return start([self, *settings.fallbacks], prompts, False, settings, options)

    def _others(self, fallbacks: Sequence[Responder] | None) -> tuple[Responder, ...]:
        return self.fallbacks if fallbacks is None else _responders(fallbacks)

    def stream_map(
        self,
        prompts: Iterable[Prompt],
        *,
        max_workers: int = 16,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        **options: Any,
    ) -> MergedStreams:
        """Stream the answers of several prompts at once, merged: events as they arrive, or `snapshots()` of all texts.

        Args:
            prompts: Any iterable; `event.index` is the place in it.
            max_workers: How many stream at once.
            timeout: As `stream` takes it.
            deadline: Seconds for each stream; None: the responder's.
            cancel: A token that ends them all.
            **options: As `answer` takes them.
        """
        if isinstance(prompts, (str, bytes)):
            raise ConfigurationError("stream_map takes several prompts, not one str: put it in a list, or use stream()")
        self.options.merged(options)  # a wrong option is told here, once, and not by every stream

        def starter(prompt: Prompt) -> Callable[[CancelToken], Stream]:
            return lambda token: self.stream(prompt, timeout=timeout, deadline=deadline, cancel=token, **options)

        makers = (starter(prompt) for prompt in prompts)
        return MergedStreams(list(makers) if isinstance(prompts, Sized) else makers, max_workers, cancel)

    # Housekeeping

    def close(self) -> None:
        """Close the idle connections; the responder opens new ones when it is used again."""
        self._transport.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={_shown_url(self.base_url)!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("_transport", "_retrier", "_session", "_governor", "_breaker", "_answers")
        }
        state["extra_headers"] = {
            name: value for name, value in self.extra_headers.items() if not any(word in name.lower() for word in _SECRET_WORDS)
        }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = None
        self._start()


class _StreamCall:
    """A question that is asked as a stream: what `Stream` needs to know of its provider."""

    def __init__(self, responder: Responder, body: bytes, timeout: Timeout, deadline: Deadline) -> None:
        self._responder = responder
        self._body = body
        self._timeout = timeout
        self._deadline = deadline

    def open(self, token: CancelToken, trace: Trace) -> tuple[Incoming, Permit]:
        responder = self._responder
        governor, breaker = responder._shared()
        breaker.enter(0.0, self._deadline, token)
        permit = governor.acquire(len(self._body) / BYTES_PER_TOKEN, self._deadline, token)
        trace.waited += permit.waited
        trace.limited += permit.waited
        trace.attempts += 1
        try:
            incoming = responder._open(self._body, self._timeout, self._deadline, token)
            permit.observe(incoming.headers)
            permit.accept()
        except BaseException as error:
            permit.settle(error)
            breaker.note(error)
            raise
        breaker.note(None)
        return incoming, permit

    def reader(self) -> ChunkReader:
        return self._responder.reader()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        return self._responder.parse(reply)

    def finish(self, answer: Answer, headers: Mapping[str, str]) -> Answer:
        object.__setattr__(answer, "request_id", request_id(headers, answer.raw))
        return self._responder._checked(answer)

    def refuse(self, chunk: Mapping[str, Any], headers: Mapping[str, str]) -> APIError:
        return self._responder._refused(status_inside(chunk.get("error") or chunk), headers, chunk)

    def sign(self, error: ResponderError, trace: Trace) -> None:
        self._responder._sign(error, trace)
        _forget_frames(error)


def _without_secret(reply: Reply, secret: str) -> Reply:
    """Return an error reply without the key: some gateways quote the one that they refuse."""
    if len(secret) > 3 and secret.encode() in reply.body:
        return replace(reply, body=reply.body.replace(secret.encode(), b"***"))
    return reply


def _responders(found: Any) -> tuple[Responder, ...]:
    if isinstance(found, Responder):
        found = (found,)
    if not isinstance(found, Sequence) or not all(isinstance(each, Responder) for each in found):
        raise ConfigurationError(f"fallbacks is a list of responders, not {found!r}", fatal=True)
    return tuple(found)


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def _json_bytes(payload: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot say but JSON can
        return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()


def _checked_url(url: str, who: str) -> str:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or brackets without an IPv6 address in them
        is_url = False
    if not is_url:
        raise ConfigurationError(f"{who} needs base_url=, such as 'https://host/v1', not {_shown_url(url)!r}")
    return url.rstrip("/")


def _forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of those behind it.

    Their frames hold the key and the whole request, for any crash reporter that shows local variables, and for as long as
    somebody keeps the error. What went wrong stays in the messages.
    """
    behind: list[BaseException | None] = [error]
    seen: set[int] = set()
    while behind:
        found = behind.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            behind += [found.__cause__, found.__context__]


def _shown_url(url: str) -> str:
    """Return a URL without user, password and the values of its query, for people to read."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets without an IPv6 address in them
        return url.partition("?")[0].rpartition("@")[2]
    query = "&".join(
        pair if pair.startswith("api-version=") else pair.partition("=")[0] + "=***" for pair in parts.query.split("&") if pair
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
