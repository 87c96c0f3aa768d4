"""How does a responder send a batch job? `submit`, `submit_embed` and `job`; what a job does is in `many/jobs.py`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from responder.recipe.checks import RESPONDERS_OWN, SchemaOption, check_embedding, checked_timeout, with_schema
from responder.recipe.recipe import Recipe
from responder.values.answer import T
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline, Timeout
from responder.values.keywords import Unpack
from responder.values.messages import Prompt
from responder.values.options import AnswerOptions

if TYPE_CHECKING:
    from responder.many.job_vectors import VectorJob
    from responder.many.jobs import BatchJob


class CanSubmit(Recipe):
    """The part of a `Responder` that uses the provider's batch API."""

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

        bounds = Bounds(self.timeout if timeout is None else checked_timeout(timeout), Deadline.after(deadline), cancel)
        source = self._source(timeout, with_schema(options, schema), CanSubmit.submit, bounds.deadline, cancel)
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
        check_embedding(dimensions, purpose)
        from responder.call.attempts import SINGLE
        from responder.call.embedding import Embedder
        from responder.many.job_start import Submission, submit_embed

        bounds = Bounds(self.timeout if timeout is None else checked_timeout(timeout), Deadline.after(deadline), cancel)
        source = self._source(timeout, {}, CanSubmit.submit_embed, bounds.deadline, cancel)
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

        source = self._source(None, with_schema({}, schema), CanSubmit.job, NEVER, None)
        return take_up(source, id_or_path, checkpoint, Bounds(self.timeout, NEVER, None))
