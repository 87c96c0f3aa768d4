"""How does a responder turn texts into vectors? The method `embed`; what a run of texts does is in `many/embedding.py`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from responder.many.parallel import OnError, Rules
from responder.many.progress import ProgressOption
from responder.many.runs import terms_of
from responder.recipe.checks import check_embedding
from responder.recipe.recipe import Recipe
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout

if TYPE_CHECKING:
    from responder.values.embeddings import Embeddings


class CanEmbed(Recipe):
    """The part of a `Responder` that turns texts into vectors."""

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
        check_embedding(dimensions, purpose, batch_size)
        # Most programs do without vectors.
        from responder.call.embedding import Embedder
        from responder.many.embedding import EmbeddingJob, embed

        rules = Rules(max_workers, on_error, max_errors, Deadline.after(run_deadline, "run_deadline"), cancel, fatal_ends=True)
        source = self._source(timeout, {}, CanEmbed.embed, rules.deadline, cancel)
        seconds = self.deadline if deadline is None else deadline
        Deadline.after(seconds)
        terms = terms_of([source], max_workers, retry_share, budget)
        embedder = Embedder(
            source.endpoint, source.timeout, terms, CancelToken(), dimensions, purpose, {**self.options.extra, **(extra or {})}
        )
        # A store of another kind keeps answers alone.
        cache: Any = self._cached_answers(rules.deadline, cancel) if isinstance(self.cache, str) else None
        return embed(EmbeddingJob(embedder, texts, rules, progress, seconds, checkpoint, cache, dedupe, batch_size))
