"""How does RQ ask many prompts? A job for each shard, and their results in order.

    from responder.integrations.rq import ask_all, collect

    jobs = ask_all(Queue(connection=Redis()), "openai:gpt-4o-mini", prompts, size=500, max_workers=32)
    results = collect(jobs, timeout=3600)

RQ forks a process for each job, which keeps no connection for the next one: prefer large shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from responder.integrations import missing, tasks
from responder.integrations.collected import Collected, collected
from responder.integrations.tasks import SHARD, errands
from responder.values.clock import monotonic
from responder.values.messages import Prompt

try:
    from rq import Queue, Retry
    from rq.job import Job
    from rq.results import Result
except ModuleNotFoundError as error:
    raise missing("RQ", "rq") from error

# How often a shard with a journal is begun again when its worker dies.
_AGAIN = 3

JOB_SECONDS = 3600
"""How long a shard may take; RQ's own 180 s is short for a few hundred answers."""


def ask_all(
    queue: Queue,
    model: str,
    prompts: Iterable[Prompt],
    *,
    size: int = SHARD,
    job_timeout: int = JOB_SECONDS,
    journal: str | None = None,
    **keywords: Any,
) -> list[Job]:
    """Put prompts into a queue, a job for each shard, and return the jobs in order.

    Args:
        queue: RQ's queue.
        model: "provider:model".
        prompts: See `responder.integrations.tasks.ask_many`.
        size: Prompts in a shard.
        job_timeout: Seconds that a shard may take before RQ kills it.
        journal: A URL of Redis: a job whose worker dies runs again, and asks only for what is missing. None: it does not run
            again.
        **keywords: As `responder.integrations.tasks.ask_many` takes them.
    """
    again = None if journal is None else Retry(max=_AGAIN)
    return [
        queue.enqueue_call(tasks.ask_many, args=(model, shard), kwargs=given, timeout=job_timeout, job_id=name, retry=again)
        for name, shard, given in errands(prompts, size, journal, keywords)
    ]


def collect(jobs: Sequence[Job], timeout: float = JOB_SECONDS) -> Collected:
    """Wait for jobs, and return one result for each prompt, in the order of the prompts.

    The prompts of a job that failed as a whole have an error that says so, and `unfinished` names the job.

    Args:
        jobs: What `ask_all` returned.
        timeout: Seconds to wait for all.

    Raises:
        TimeoutError: They were not done in time; its attribute `batch` has what is. Calling again continues to wait.
    """
    ends = monotonic() + timeout
    parts: list[Any] = []
    late: list[str] = []
    for job in jobs:
        found = job.latest_result(timeout=max(1, int(ends - monotonic())))
        if found is None:
            late.append(job.id)
            parts.append((job.id, None, "it was not done in time"))
        elif found.type != Result.Type.SUCCESSFUL:
            parts.append((job.id, None, found.exc_string))
        else:
            parts.append((job.id, found.return_value, None))
    if late:
        error = TimeoutError(f"not done in {timeout:g} s: {', '.join(late)}")
        error.batch = collected(parts)  # type: ignore[attr-defined]  # for whoever catches it
        raise error
    return collected(parts)
