"""A model of a provider, as users hold it: one answer, a stream, or many at once. What differs by provider is in `providers/`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from responder.call.addresses import checked_url, is_public
from responder.call.asker import Asker, Source
from responder.call.keeping import AnswerStore
from responder.call.replies import shown_url
from responder.call.retry import RetryPolicy
from responder.call.stream import Stream
from responder.call.turns import DEFAULT_TURNS, checked_turns
from responder.many.mapping import Watch, collect
from responder.many.parallel import OnError, Rules
from responder.many.progress import ProgressOption
from responder.many.runs import AnswerRun, Job, Spread, StreamRun, start, start_streams, terms_of
from responder.pace.limits import Limits, as_limits
from responder.pace.prices import Price
from responder.recipe.checks import RESPONDERS_OWN, SchemaOption, check_kinds, checked_timeout, with_schema
from responder.recipe.embedding import CanEmbed
from responder.recipe.jobs import CanSubmit
from responder.recipe.recipe import first_set, hidden
from responder.values.answer import Answer, T
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import DEFAULT_TIMEOUT, Deadline, Timeout, as_timeout
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack, parameters_of_method
from responder.values.media import Audio, File, Image, Media, Video
from responder.values.messages import Prompt
from responder.values.options import AnswerOptions, Options
from responder.values.results import Answered, Batch, Failed
from responder.values.trace import Trace

if TYPE_CHECKING:
    from responder.many.journal import JournalOption


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


class Responder(CanEmbed, CanSubmit):
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
        check_kinds(
            base_url=base_url, system=system, extra_headers=extra_headers, price=price, cache=cache, allow_http=allow_http
        )
        if session is not None and not callable(getattr(session, "send", None)):
            raise ConfigurationError(f"session must be a requests.Session, not {session!r}", fatal=True)
        self.model = model.strip()
        self.system = system
        Deadline.after(deadline)  # reject a bad deadline here, not at the first call
        self.deadline = deadline
        self.options = Options().merged({**options, **({} if schema is None else {"schema": schema})}, Responder.__init__)
        self.extra_headers = {name: hidden(name, value) for name, value in (extra_headers or {}).items()}
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
        has_key = self.key_required or api_key is not None or first_set(self.key_variables) is not None
        if self.base_url.startswith("http:") and has_key and not allow_http and is_public(self.base_url):
            raise ConfigurationError(
                f"base_url={shown_url(self.base_url)!r} would send the key in plain text over the internet: write https://, or "
                "allow_http=True if you really mean it"
            )
        self._start()

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
        sources = self._sources(fallbacks, timeout, with_schema(options, schema), Responder.answer, ends, cancel)
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
        sources = self._sources(fallbacks, timeout, with_schema(options, schema), Responder.stream, ends, cancel)
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
        bounds = Bounds(self.timeout if timeout is None else checked_timeout(timeout), self._ends(deadline), cancel)
        part: Any = upload(self._endpoint, Media(path=path, media_type=media_type), bounds)
        made: Image | Audio | Video | File = part
        return made

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
        return [asked._source(timeout, options, beside, deadline, cancel) for asked in (self, *others)]

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
        sources = self._sources(fallbacks, timeout, with_schema(options, schema), Responder._job, rules.deadline, cancel)
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
        sources = self._sources(fallbacks, timeout, with_schema(options, schema), Responder.stream_map, rules.deadline, cancel)
        seconds = self.deadline if deadline is None else deadline
        Deadline.after(seconds)
        terms = terms_of(sources, max_workers, retry_share, budget)
        return start_streams(Job(sources, prompts, rules, Watch(), terms, seconds))


def _started(job: Job[T], *, ordered: bool) -> AnswerRun[T]:
    if job.spread is None:
        return start(job, ordered=ordered)
    # Most programs are one process.
    from responder.many import cluster

    return cluster.start(job, ordered=ordered)


def _responders(found: Any) -> tuple[Responder, ...]:
    if isinstance(found, Responder):
        found = (found,)
    if not isinstance(found, Sequence) or not all(isinstance(each, Responder) for each in found):
        raise ConfigurationError(f"fallbacks must be a list of responders, not {found!r}", fatal=True)
    return tuple(found)
