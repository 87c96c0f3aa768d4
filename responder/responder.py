"""A model of a provider, as users hold it: one answer, a stream, or many at once. What differs by provider is in `providers/`."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from responder.call.addresses import checked_url, is_public
from responder.call.asker import Asker, Source
from responder.call.dialect import Dialect
from responder.call.keeping import AnswerStore
from responder.call.replies import shown_url
from responder.call.retry import Retrier, RetryPolicy
from responder.call.stream import Stream
from responder.call.turns import DEFAULT_TURNS, checked_turns
from responder.many.mapping import Watch, collect
from responder.many.parallel import OnError, Rules
from responder.many.progress import ProgressOption
from responder.many.runs import AnswerRun, Job, Spread, StreamRun, open_file, start, start_streams, terms_of
from responder.pace.limits import Limits, as_limits
from responder.pace.prices import Price
from responder.values.answer import Answer, T
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import DEFAULT_TIMEOUT, NEVER, Deadline, Timeout, as_timeout
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack, parameters_of_method
from responder.values.media import Audio, File, Image, Media, Video
from responder.values.messages import Prompt
from responder.values.options import AnswerOptions, Options
from responder.values.results import Answered, Batch, Failed
from responder.values.trace import Trace
from responder.wire.credentials import Credential, KeyCredential
from responder.wire.masking import Secret

if TYPE_CHECKING:
    from types import UnionType
    from typing import _SpecialForm

    from responder.call.endpoint import Endpoint
    from responder.many.job_vectors import VectorJob
    from responder.many.jobs import BatchJob
    from responder.many.journal import JournalOption
    from responder.values.embeddings import Embeddings
    from responder.wire.transport import Transport

Self = TypeVar("Self", bound="Responder")

# The last three are Literal, unions, and none, whose type no checker can tell yet.
SchemaOption: TypeAlias = "type[T] | Mapping[str, Any] | UnionType | _SpecialForm | None"


class _RespondersOwn:
    """The default of `schema=`: None takes a schema back."""

    def __repr__(self) -> str:
        return "the responder's"


RESPONDERS_OWN: Any = _RespondersOwn()

# What keywords have to be that nothing else looks at before the first call; None: left out.
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "base_url": ((str,), "a URL, such as 'https://host/v1'"),
    "system": ((str,), "a str"),
    "extra_headers": ((Mapping,), "a dict of header names and values"),
    "price": ((Price,), "a Price"),
    "cache": ((str, os.PathLike, AnswerStore), "the path of a file, or a store of answers"),
    "allow_http": ((bool,), "True or False"),
}

# Header names that hold secrets; their values are neither shown nor pickled.
_SECRET_WORDS = ("auth", "key", "token", "secret", "cookie", "password")


class CommonKeywords(AnswerOptions, total=False):
    """The keywords that every provider's class takes, for type checkers and editors; `Responder` explains them."""

    system: str | None
    timeout: float | Timeout | None
    deadline: float | None
    max_retries: int | RetryPolicy
    limits: Limits | Mapping[str, Any] | None
    session: Any
    extra_headers: Mapping[str, str] | None
    price: Price | None
    cache: str | os.PathLike[str] | AnswerStore | None
    fallbacks: Sequence[Responder]
    allow_http: bool
    schema: SchemaOption[Any]


class Responder(Dialect):
    """A model of a provider: answers one prompt, or many at once. Thread-safe, picklable (without its secrets), fork-safe.

    Args:
        model: The model's name, as the provider spells it.
        api_key: The key, or a callable that returns one (called for each request); None: the environment.
        base_url: Where the API is, as the provider's own SDK takes it; None: the provider's own, or the environment's.
        system: How the model should behave; goes before every prompt.
        timeout: Seconds for one attempt in total, or a Timeout with its several bounds; None: ten minutes. For
            no limit, write `math.inf`.
        deadline: Seconds for one call in total, retries and waits included; None: no deadline.
        max_retries: Retries after a failed attempt, where a retry can help; 0: one attempt. A RetryPolicy also sets the waits.
        limits: What the provider allows, shared by every responder of the process with the same provider, base URL, key and
            model; a dict has the names of `Limits` as keys; None: learned from its refusals and headers.
        session: A `requests.Session` of your own to send with (adapters, proxies, client certificates, mocks).
        extra_headers: Sent with every request, on top of ours.
        price: What the model costs; None: what genai-prices says, if it is installed and knows the model.
        cache: A file, or an AnswerStore, that keeps every answer, and returns it when the same is asked again (its `attempts` are
            0). It may be the checkpoint of a map.
        fallbacks: Responders that are asked in turn, in their own dialects, when this one cannot answer: it is down, refuses the
            key, or failed after all retries. Not when the prompt is at fault, or is blocked.
        schema: What every answer must fit, as `answer` takes it.
        allow_http: Send the key over plain http to a host outside this network, where anyone on the way can read it.
        **options: Defaults for every call, see `Options`: temperature, max_tokens, stop, seed, tools, schema, extra, ...

    Raises:
        ConfigurationError: No key, or an unknown option; the message says what to type.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        system: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        max_retries: int | RetryPolicy = 4,
        limits: Limits | Mapping[str, Any] | None = None,
        session: Any = None,
        extra_headers: Mapping[str, str] | None = None,
        price: Price | None = None,
        cache: str | os.PathLike[str] | AnswerStore | None = None,
        fallbacks: Sequence[Responder] = (),
        allow_http: bool = False,
        schema: SchemaOption[Any] = None,
        **options: Unpack[AnswerOptions],
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(f"{type(self).__name__} needs the model's name, such as {type(self).__name__}('...')")
        found = (base_url, system, extra_headers, price, cache, allow_http)
        for (name, (kinds, words)), value in zip(_KINDS.items(), found, strict=True):
            if value is not None and not isinstance(value, kinds):
                raise ConfigurationError(f"{name} must be {words}, not {value!r}", fatal=True)
        if session is not None and not callable(getattr(session, "send", None)):
            raise ConfigurationError(f"session must be a requests.Session, not {session!r}", fatal=True)
        self.model = model.strip()
        self.system = system
        Deadline.after(deadline)  # reject a bad deadline here, not at the first call
        self.deadline = deadline
        self.options = Options().merged({**options, **({} if schema is None else {"schema": schema})}, Responder.__init__)
        self.extra_headers = {name: _hidden(name, value) for name, value in (extra_headers or {}).items()}
        self.cache = cache if cache is None or isinstance(cache, AnswerStore) else os.fspath(cache)
        self.fallbacks = _responders(fallbacks)
        self._price = price
        self._limits = as_limits(limits)
        self._session = session
        self._credential = self._make_credential(api_key)
        try:
            self.timeout = DEFAULT_TIMEOUT if timeout is None else as_timeout(timeout)
            self._policy = max_retries if isinstance(max_retries, RetryPolicy) else RetryPolicy(max_retries)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self.base_url = checked_url(base_url or self._base_url_of_environment() or type(self).base_url, type(self).__name__)
        has_key = self.key_required or api_key is not None or _first_set(self.key_variables) is not None
        if self.base_url.startswith("http:") and has_key and not allow_http and is_public(self.base_url):
            raise ConfigurationError(
                f"base_url={shown_url(self.base_url)!r} would send the key in plain text over the internet: write https://, or "
                "allow_http=True if you really mean it"
            )
        self._start()

    def _start(self, transport: Transport | None = None) -> None:
        """Make what can neither be pickled nor shared with another process; reuse the given transport, if any."""
        # Imported with the first responder: `requests` alone is half of the time that importing all of this would take.
        from responder.call.endpoint import Access
        from responder.wire.copies import let_copies_share
        from responder.wire.transport import Transport

        if transport is None:
            transport = Transport(self._session)
            if self._session is None:
                let_copies_share(self._identity(), transport)
        retrier = Retrier(self._policy)
        self._access = Access(transport, self._credential, self._limits, retrier, self.extra_headers, self._price)
        self._answers: AnswerStore | None = None

    def _identity(self) -> tuple[str, ...]:
        """Return what copies that share connections have in common."""
        try:
            key = self._credential.identity()
        except ConfigurationError:  # none here: the error is that of the first call
            key = ""
        return (type(self).__module__, type(self).__qualname__, self.base_url, key)

    def _make_credential(self, api_key: str | Callable[[], str] | None) -> Credential:
        credential = KeyCredential(api_key, self.key_variables, self.provider, self.key_required)
        if not callable(api_key):
            credential.secret()  # a missing key is an error here, before any work is done
        return credential

    def _base_url_of_environment(self) -> str | None:
        return _first_set(self.base_url_variables)

    # One call

    def answer(
        self,
        prompt: Prompt,
        *,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        fallbacks: Sequence[Responder] | None = None,
        schema: SchemaOption[T] = RESPONDERS_OWN,
        reasks: int = 1,
        max_turns: int = DEFAULT_TURNS,
        **options: Unpack[AnswerOptions],
    ) -> Answer[T]:
        """Ask the model and wait for its whole answer.

        Args:
            prompt: A str, a Message, a {"role", "content"} dict, or a list of the last two.
            timeout: Seconds for one attempt; None: the responder's.
            deadline: Seconds for this call, retries and waits included; None: the responder's.
            cancel: A token that ends the call within milliseconds when another thread cancels it.
            fallbacks: Who is asked when this one cannot answer; None: the responder's own.
            schema: What the answer must fit: JSON Schema, or a type (a pydantic model, a dataclass, a TypedDict, an Enum, a
                Literal, `list[...]`; needs pydantic), which `Answer.parsed` is then. None: nothing; left out: the responder's.
            reasks: How often the model is shown what does not fit its schema, and asked again.
            max_turns: Where there are functions among the tools: how often the model is asked, at most, until it wants none of
                them called.
            **options: On top of the responder's defaults, see `Options`.

        Returns:
            The answer; never empty unless it has tool calls. Check `truncated` when you set `max_tokens`.

        Raises:
            ConfigurationError: The prompt or an option is invalid; nothing was sent.
            APIError: No answer; its subclass says why, and `retryable` whether asking again can help.
            InvalidAnswerError: The answer does not fit its schema, also after `reasks` more questions.
            CancelledError: The token was cancelled.
        """
        trace, ends = Trace(), self._ends(deadline)
        sources = self._sources(fallbacks, timeout, _with(options, schema), Responder.answer, ends, cancel)
        return Asker(sources, cancel, reasks=reasks, max_turns=max_turns).answer(prompt, ends, trace)

    def stream(
        self,
        prompt: Prompt,
        *,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        fallbacks: Sequence[Responder] | None = None,
        schema: SchemaOption[Any] = RESPONDERS_OWN,
        **options: Unpack[AnswerOptions],
    ) -> Stream:
        """Ask the model and return its answer as a stream of pieces; the request is sent when the first piece is asked for.

        Args:
            prompt: As `answer` takes it.
            timeout: Seconds for one attempt to its last piece, or a Timeout that also bounds the first piece (`first`) and
                the time between two (`gap`); None: the responder's.
            deadline: Seconds for the whole stream, retries before its first piece included; None: the responder's.
            cancel: A token that ends the stream when another thread cancels it; `Stream.cancel` does the same.
            fallbacks: Who is asked when this one cannot begin to answer; None: the responder's own.
            schema: What the whole answer must fit, as `answer` takes it; `Stream.answer.parsed` is the value. Nothing is asked
                again: the pieces are out.
            **options: On top of the responder's defaults, see `Options`.

        Raises:
            ConfigurationError: The prompt or an option is invalid.
        """
        trace, ends = Trace(), self._ends(deadline)
        sources = self._sources(fallbacks, timeout, _with(options, schema), Responder.stream, ends, cancel)
        return Asker(sources, cancel).stream(prompt, ends, trace)

    def upload(
        self,
        path: str | os.PathLike[str],
        *,
        media_type: str = "",
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Image | Audio | Video | File:
        """Send a file to the provider, and return the part that stands for it in messages (OpenAI, Azure, Gemini, Anthropic).

        The file is read piece by piece as it is sent. It stays with the provider until that drops it; nothing else uploads.

        Args:
            path: The file.
            media_type: MIME type; "": by the file's ending.
            timeout: Seconds for one request; None: the responder's.
            deadline: Seconds for all of it, repeats and the provider's own work on a video included; None: the responder's.
            cancel: A token that ends it when another thread cancels it.

        Raises:
            ConfigurationError: The file cannot be read, or the provider takes none.
            APIError: It was refused, or not taken in time.
        """
        from responder.call.uploading import upload

        if not self.takes_uploads:
            raise ConfigurationError(f"{self.provider} takes no uploads: {self.instead_of_uploads}", fatal=True)
        bounds = Bounds(self.timeout if timeout is None else _checked_timeout(timeout), self._ends(deadline), cancel)
        part: Any = upload(self._endpoint, Media(path=path, media_type=media_type), bounds)
        made: Image | Audio | Video | File = part
        return made

    @property
    def _endpoint(self) -> Endpoint:
        from responder.call.endpoint import Endpoint

        return Endpoint(self, self._access)

    def _ends(self, deadline: float | None) -> Deadline:
        return Deadline.after(self.deadline if deadline is None else deadline)

    def _sources(
        self,
        fallbacks: Sequence[Responder] | None,
        timeout: float | Timeout | None,
        options: Mapping[str, Any],
        beside: Callable[..., object],
        deadline: Deadline,
        cancel: CancelToken | None,
    ) -> list[Source]:
        """Return the sources in the order they are asked, each with its own options, time and file."""
        others = self.fallbacks if fallbacks is None else _responders(fallbacks)
        return [
            Source(
                asked._endpoint,
                asked.options.merged(options, beside),
                asked.timeout if timeout is None else _checked_timeout(timeout),
                asked.system,
                asked._cached_answers(deadline, cancel),
            )
            for asked in (self, *others)
        ]

    def _cached_answers(self, deadline: Deadline, cancel: CancelToken | None) -> AnswerStore | None:
        """Return the opened `cache`; None without one."""
        if self._answers is None and self.cache is not None:
            self._answers = open_file(self.cache, deadline, cancel) if isinstance(self.cache, str) else self.cache
        return self._answers

    # Many calls

    def _job(
        self,
        prompts: Iterable[Prompt],
        *,
        max_workers: int = 16,
        on_error: OnError = "collect",
        max_errors: int | None = None,
        deadline: float | None = None,
        run_deadline: float | None = None,
        progress: ProgressOption = None,
        on_result: Callable[[Answered[T] | Failed[T]], object] | None = None,
        cancel: CancelToken | None = None,
        checkpoint: str | os.PathLike[str] | AnswerStore | None = None,
        executor: Any = None,
        shard_size: int | None = None,
        journal: JournalOption = None,
        dedupe: bool = False,
        budget: float | None = None,
        hedge: float | None = None,
        fallbacks: Sequence[Responder] | None = None,
        retry_share: float = 0.2,
        timeout: float | Timeout | None = None,
        schema: SchemaOption[T] = RESPONDERS_OWN,
        reasks: int = 1,
        max_turns: int = DEFAULT_TURNS,
        **options: Unpack[AnswerOptions],
    ) -> Job[T]:
        """Collect the parameters of a map.

        Args:
            prompts: Any iterable; pulled in the caller's thread.
            max_workers: How many calls run at once.
            on_error: "collect" (a failure becomes its result's `error`), "raise" (the first one is raised and ends the run),
                or "stop" (nothing new is sent after the first one, and the results so far are returned).
            max_errors: Send nothing new once this many have failed; None: never.
            deadline: Seconds for each prompt, retries and waits included; None: the responder's.
            run_deadline: Seconds for the whole run; calls in flight end then.
            progress: None (a bar only on a terminal or notebook, on stderr), True, False, or a callable that gets a Progress.
            on_result: Called with each result as it comes in, in the caller's thread.
            cancel: A token that ends the run, with its calls in flight, when another thread cancels it.
            checkpoint: A file that keeps each answer as soon as it arrives. A second run with the same file takes the answers to
                equal prompts with equal options from it (their `attempts` are 0), and asks only for the rest. Or an AnswerStore.
            executor: Ask in other processes: a `concurrent.futures.Executor`, a client of Dask, or a function that makes one;
                `max_workers` is then that of each process. None: in threads of this one.
            shard_size: Prompts that go to a process at a time, with an executor; None: eight for each of the workers,
                and fewer near the end of the input.
            journal: Where answers are kept that are on their way to this process, with an executor: a URL such as
                "redis://host/0". When a worker dies, the next one asks only for what is missing.
            dedupe: Ask equal prompts once, and give each of them that answer (the copies' `attempts` are 0). This keeps the run's
                answers in memory.
            budget: US dollars that the run may spend. Each request reserves its estimated cost and books the real one; when the
                remainder is not enough for another one, the run ends with a BudgetExceededError in what was not sent.
            hedge: The part of the prompts, such as 0.05, that may be sent a second time when they take longer than the others:
                the first answer counts, the other call is cancelled. Only with room in the limits and the budget.
            fallbacks: Who is asked when this one cannot answer; None: the responder's own.
            retry_share: The part of the run's requests that may be retries of failed ones, so that a provider with an outage
                does not get five times the load. Rate refusals (429) do not count. Two for each worker are always allowed.
            timeout: Seconds for one attempt; None: the responder's.
            schema: What the answers must fit, as `answer` takes it; `batch.parsed()` has the values. Only what fits is kept in a
                checkpoint or cache.
            reasks: How often a model is shown what does not fit its schema, and asked again.
            max_turns: Where there are functions among the tools: how often a model is asked for one prompt, at most.
            **options: As `answer` takes them.
        """
        checked_turns(max_turns)
        rules = Rules(max_workers, on_error, max_errors, Deadline.after(run_deadline, "run_deadline"), cancel, fatal_ends=True)
        sources = self._sources(fallbacks, timeout, _with(options, schema), Responder._job, rules.deadline, cancel)
        seconds = self.deadline if deadline is None else deadline
        Deadline.after(seconds)  # reject a bad deadline here, once, not in every item
        terms = terms_of(sources, max_workers, retry_share, budget, hedge)
        watch = Watch(progress, on_result, "prompts")
        spread = None
        if executor is not None:
            spread = Spread(executor, shard_size, journal, retry_share, hedge, budget)
        elif shard_size is not None or journal is not None:
            raise ConfigurationError("shard_size= and journal= belong to a run with executor=", fatal=True)
        return Job(sources, prompts, rules, watch, terms, seconds, checkpoint, dedupe, reasks, max_turns, spread)

    @parameters_of_method(_job)
    def map(self, job: Job[T]) -> Batch[T]:
        """Ask many prompts at once, wait for all, and return their results in input order.

        Errors that every other prompt would get too (a wrong key, no credit, a daily quota) end the run at once; prompts
        that were not sent then have a CancelledError that says so.

        Raises:
            ConfigurationError: A keyword or option is invalid; nothing was sent.
            APIError: With `on_error="raise"`, the first failure. It, and anything else that ends the run early (Ctrl-C), has an
                attribute `batch` with what is finished.
        """
        run = _started(job, ordered=False)
        return collect(run, run.batch)

    @parameters_of_method(_job)
    def imap(self, job: Job[T]) -> AnswerRun[T]:
        """Ask many prompts at once; iterate over the results in input order, as soon as each is there.

        Lazy: at most 8 times `max_workers` prompts are pulled ahead of what was taken, so a generator of ten million, or an
        endless one, is fine. Leaving the loop ends the calls in flight.
        """
        return _started(job, ordered=True)

    @parameters_of_method(_job)
    def imap_unordered(self, job: Job[T]) -> AnswerRun[T]:
        """Ask many prompts at once; iterate over the results as they finish (`result.index` says which is which).

        Lazy: at most twice `max_workers` prompts are pulled ahead of what was taken. Leaving the loop ends the calls in flight.
        """
        return _started(job, ordered=False)

    def stream_map(
        self,
        prompts: Iterable[Prompt],
        *,
        max_workers: int = 16,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        run_deadline: float | None = None,
        cancel: CancelToken | None = None,
        budget: float | None = None,
        fallbacks: Sequence[Responder] | None = None,
        retry_share: float = 0.2,
        schema: SchemaOption[Any] = RESPONDERS_OWN,
        **options: Unpack[AnswerOptions],
    ) -> StreamRun:
        """Stream the answers of several prompts at once, merged: events as they arrive, or `snapshots()` of all texts.

        Args:
            prompts: Any iterable; `event.index` is the position in it.
            max_workers: How many stream at once.
            timeout: As `stream` takes it.
            deadline: Seconds for each stream; None: the responder's.
            run_deadline: Seconds for all of them together.
            cancel: A token that ends them all.
            budget: US dollars that they may spend together, as `map` takes it.
            fallbacks: Who is asked when this one cannot begin to answer; None: the responder's own.
            retry_share: The part of the requests that may be retries of failed ones, as `map` takes it.
            schema: As `stream` takes it.
            **options: As `answer` takes them.
        """
        if isinstance(prompts, (str, bytes)):
            raise ConfigurationError("stream_map takes several prompts, not one str: put it in a list, or use stream()")
        if "executor" in options:
            raise ConfigurationError(
                "stream_map streams in this process: pieces of answers do not travel. Use imap(executor=...) for whole answers",
                fatal=True,
            )
        rules = Rules(max_workers, deadline=Deadline.after(run_deadline, "run_deadline"), cancel=cancel)
        sources = self._sources(fallbacks, timeout, _with(options, schema), Responder.stream_map, rules.deadline, cancel)
        seconds = self.deadline if deadline is None else deadline
        Deadline.after(seconds)
        terms = terms_of(sources, max_workers, retry_share, budget)
        return start_streams(Job(sources, prompts, rules, Watch(), terms, seconds))

    def embed(
        self,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        purpose: Literal["query", "document"] | None = None,
        max_workers: int = 16,
        batch_size: int | None = None,
        on_error: OnError = "collect",
        max_errors: int | None = None,
        deadline: float | None = None,
        run_deadline: float | None = None,
        progress: ProgressOption = None,
        cancel: CancelToken | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        dedupe: bool = True,
        budget: float | None = None,
        retry_share: float = 0.2,
        timeout: float | Timeout | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """Turn many texts into vectors: packed into requests, several requests at once, in input order.

        A request holds as many texts as the provider takes, by their number and their estimated tokens. One that is refused as
        too large is halved. One that is refused for a text in it is halved until that text stands alone: it fails, the others do
        not. An empty text fails without being sent.

        Args:
            texts: Any iterable of str; pulled in the caller's thread, as far as the requests under way need it.
            dimensions: The length of the vectors, for models that can shorten them; None: the model's own.
            purpose: "query" for what you search with, "document" for what is to be found, None for neither. Providers that make
                no difference are not told.
            max_workers: How many requests run at once.
            batch_size: Texts in a request at most; None: as many as the provider takes.
            on_error: "collect" (see `Embeddings.failures`), "raise" (the first failure is raised and ends the run), or "stop"
                (nothing new is sent after the first one, and what there is is returned).
            max_errors: Send nothing new once this many texts have failed; None: never.
            deadline: Seconds for the texts of one request, retries and waits included; None: the responder's.
            run_deadline: Seconds for the whole run; requests in flight end then.
            progress: None (a bar only on a terminal or notebook, on stderr), True, False, or a callable that gets a Progress.
            cancel: A token that ends the run, with its requests in flight, when another thread cancels it.
            checkpoint: A file that keeps each vector as soon as it is there. A second run with the same file takes from it what
                was asked with the same model and options, and asks only for the rest. It may be the checkpoint of a map.
            dedupe: Send equal texts once.
            budget: US dollars that the run may spend, as `map` takes it.
            retry_share: The part of the run's requests that may be repeats of failed ones, as `map` takes it.
            timeout: Seconds for one attempt; None: the responder's.
            extra: Merged into the payload, on top of the responder's own `extra`, for what only this provider has.

        Returns:
            The vectors, in input order; look at `failures()`.

        Raises:
            ConfigurationError: The provider has no embeddings, or a keyword is invalid; nothing was sent.
            APIError: With `on_error="raise"`, the first failure. It, and whatever else ends the run early (Ctrl-C), has an
                attribute `batch`: an Embeddings of what is finished.
        """
        _check_embedding(dimensions, purpose, batch_size)
        # Most programs do without vectors.
        from responder.call.embedding import Embedder
        from responder.many.embedding import EmbeddingJob, embed

        rules = Rules(max_workers, on_error, max_errors, Deadline.after(run_deadline, "run_deadline"), cancel, fatal_ends=True)
        (source, *_) = self._sources((), timeout, {}, Responder.embed, rules.deadline, cancel)
        seconds = self.deadline if deadline is None else deadline
        Deadline.after(seconds)
        terms = terms_of([source], max_workers, retry_share, budget)
        embedder = Embedder(
            source.endpoint, source.timeout, terms, CancelToken(), dimensions, purpose, {**self.options.extra, **(extra or {})}
        )
        # A store of another kind keeps answers alone.
        cache: Any = self._cached_answers(rules.deadline, cancel) if isinstance(self.cache, str) else None
        return embed(EmbeddingJob(embedder, texts, rules, progress, seconds, checkpoint, cache, dedupe, batch_size))

    # Jobs

    def submit(
        self,
        prompts: Iterable[Prompt],
        *,
        checkpoint: str | os.PathLike[str],
        dedupe: bool = False,
        budget: float | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        schema: SchemaOption[T] = RESPONDERS_OWN,
        **options: Unpack[AnswerOptions],
    ) -> BatchJob[T]:
        """Send prompts through the provider's batch API: answered within a day, for half the price.

        The job is in the checkpoint before anything is sent. The same call with the same file goes on with it, whatever became
        of the process: no batch is made twice. What the file has an answer to is not sent.

        Args:
            prompts: Any iterable; pulled in the caller's thread.
            checkpoint: The file that keeps the job and its answers; `map` finds the answers there.
            dedupe: Send equal prompts once, as `map` takes it.
            budget: US dollars that the job may cost, by an estimate of each prompt; what comes after them is not sent.
            timeout: Seconds for one request; None: the responder's.
            deadline: Seconds for the sending; None: no bound.
            cancel: A token that ends the sending when another thread cancels it.
            schema: What the answers must fit, as `answer` takes it. None is asked again.
            **options: As `answer` takes them.

        Returns:
            The job, to wait for and to read the results of.

        Raises:
            ConfigurationError: The provider has no batches, or a keyword is invalid; nothing was sent.
            APIError: The provider refuses.
        """
        from responder.many.job_start import Submission, submit

        bounds = Bounds(self.timeout if timeout is None else _checked_timeout(timeout), Deadline.after(deadline), cancel)
        (source, *_) = self._sources((), timeout, _with(options, schema), Responder.submit, bounds.deadline, cancel)
        return submit(Submission(source, prompts, checkpoint, dedupe, budget, bounds))

    def submit_embed(
        self,
        texts: Iterable[str],
        *,
        checkpoint: str | os.PathLike[str],
        dimensions: int | None = None,
        purpose: Literal["query", "document"] | None = None,
        dedupe: bool = True,
        budget: float | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> VectorJob:
        """Do the same for the vectors of texts (OpenAI, Azure OpenAI, Mistral).

        `embed` with the same checkpoint and options finds the vectors, and asks live for what the job did not give.

        Args:
            texts: Any iterable of str; pulled in the caller's thread.
            checkpoint: As `submit` takes it.
            dimensions: As `embed` takes it.
            purpose: As `embed` takes it.
            dedupe: Send equal texts once.
            budget: As `submit` takes it.
            timeout: Seconds for one request; None: the responder's.
            deadline: Seconds for the sending; None: no bound.
            cancel: A token that ends the sending when another thread cancels it.
            extra: As `embed` takes it.

        Returns:
            The job, to wait for and to read the vectors of.

        Raises:
            ConfigurationError: The provider has no batches of texts, or a keyword is invalid; nothing was sent.
            APIError: The provider refuses.
        """
        _check_embedding(dimensions, purpose, None)
        from responder.call.attempts import SINGLE
        from responder.call.embedding import Embedder
        from responder.many.job_start import Submission, submit_embed

        bounds = Bounds(self.timeout if timeout is None else _checked_timeout(timeout), Deadline.after(deadline), cancel)
        (source, *_) = self._sources((), timeout, {}, Responder.submit_embed, bounds.deadline, cancel)
        more = {**self.options.extra, **(extra or {})}
        embedder = Embedder(source.endpoint, source.timeout, SINGLE, cancel, dimensions, purpose, more)
        return submit_embed(Submission(source, texts, checkpoint, dedupe, budget, bounds, embedder))

    def job(
        self,
        id_or_path: str | os.PathLike[str],
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        schema: SchemaOption[T] = RESPONDERS_OWN,
    ) -> BatchJob[T]:
        """Take up a job that `submit` began, in any process.

        Args:
            id_or_path: Its checkpoint (of several jobs in it, the newest); or its `id`, or the provider's id of a batch.
            checkpoint: Where a job that is named by its id is kept. What is not there is looked for at the provider, where its
                prompts are not known.
            schema: What the answers must fit; left out: the responder's, or else what was submitted, as plain JSON.

        Raises:
            ConfigurationError: There is no such job, or another model was asked.
            APIError: The provider refuses.
        """
        from responder.many.job_start import take_up

        (source, *_) = self._sources((), None, _with({}, schema), Responder.job, NEVER, None)
        return take_up(source, id_or_path, checkpoint, Bounds(self.timeout, NEVER, None))

    # Housekeeping

    def close(self) -> None:
        """Close the idle connections; the responder opens new ones when it is used again."""
        self._access.transport.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={shown_url(self.base_url)!r})"

    def __copy__(self: Self) -> Self:
        # A copy stays in this process, so it keeps what a pickle leaves behind: key, session, headers, and the connections.
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.extra_headers = dict(self.extra_headers)
        made._start(self._access.transport)
        return made

    def __deepcopy__(self: Self, _memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_access", "_session", "_answers")}
        state["extra_headers"] = {name: value for name, value in self.extra_headers.items() if not _is_secret(name)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from responder.wire.copies import transport_of_copy

        self.__dict__.update(state)
        self._session = None
        self._start(transport_of_copy(self._identity()))


def _started(job: Job[T], *, ordered: bool) -> AnswerRun[T]:
    if job.spread is None:
        return start(job, ordered=ordered)
    # Most programs are one process.
    from responder.many import cluster

    return cluster.start(job, ordered=ordered)


def _with(options: AnswerOptions, schema: Any) -> Mapping[str, Any]:
    return dict(options) if schema is RESPONDERS_OWN else {**options, "schema": schema}


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _hidden(name: str, value: Any) -> Any:
    """Return a header's value; one that may be a key as a secret, which no debugger or crash report shows.

    Raises:
        ConfigurationError: The name cannot be a header's, or would change where the request ends.
    """
    if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None or name.lower() == "transfer-encoding":
        raise ConfigurationError(f"extra_headers cannot hold {name!r}")
    return Secret(value) if isinstance(value, str) and _is_secret(name) else value


def _check_embedding(dimensions: Any, purpose: Any, batch_size: Any) -> None:
    for name, value in (("dimensions", dimensions), ("batch_size", batch_size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigurationError(f"{name} must be a whole number, 1 or more, or None, not {value!r}", fatal=True)
    if purpose not in (None, "query", "document"):
        raise ConfigurationError(f"purpose is 'query', 'document' or None, not {purpose!r}", fatal=True)


def _checked_timeout(timeout: float | Timeout) -> Timeout:
    try:
        return as_timeout(timeout)
    except ValueError as error:
        raise ConfigurationError(str(error), fatal=True) from None


def _responders(found: Any) -> tuple[Responder, ...]:
    if isinstance(found, Responder):
        found = (found,)
    if not isinstance(found, Sequence) or not all(isinstance(each, Responder) for each in found):
        raise ConfigurationError(f"fallbacks must be a list of responders, not {found!r}", fatal=True)
    return tuple(found)


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)
