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
from responder.integrations.tasks import SHARD, shards
from responder.values.clock import monotonic
from responder.values.messages import Prompt

try:
    from rq import Queue
    from rq.job import Job
    from rq.results import Result
except ModuleNotFoundError as error:
    raise missing("RQ", "rq") from error

JOB_SECONDS = 3600
"""How long a shard may take; RQ's own 180 s is short for a few hundred answers."""


def ask_all(
    queue: Queue,
    model: str,
    prompts: Iterable[Prompt],
    *,
    size: int = SHARD,
    job_timeout: int = JOB_SECONDS,
    **keywords: Any,
) -> list[Job]:
    """Put prompts into a queue, a job for each shard, and return the jobs in order.

    Args:
        queue: RQ's queue.
        model: "provider:model".
        prompts: See `responder.integrations.tasks.ask_many`.
        size: Prompts in a shard.
        job_timeout: Seconds that a shard may take before RQ kills it.
        **keywords: As `responder.integrations.tasks.ask_many` takes them.
    """
    return [
        queue.enqueue_call(tasks.ask_many, args=(model, shard), kwargs=keywords, timeout=job_timeout)
        for shard in shards(prompts, size)
    ]


def collect(jobs: Sequence[Job], timeout: float = JOB_SECONDS) -> list[dict[str, Any]]:
    """Wait for jobs, and return one result for each prompt, in the order of the prompts.

    Args:
        jobs: What `ask_all` returned.
        timeout: Seconds to wait for all.

    Raises:
        TimeoutError: They were not done in time; calling again continues to wait.
        RuntimeError: A whole job failed, with RQ's report of it (a failed prompt is its own result).
    """
    ends = monotonic() + timeout
    parts = []
    for job in jobs:
        found = job.latest_result(timeout=max(1, int(ends - monotonic())))
        if found is None:
            raise TimeoutError(f"job {job.id} was not done in {timeout:g} s")
        if found.type != Result.Type.SUCCESSFUL:
            raise RuntimeError(f"job {job.id} failed: {found.exc_string}")
        parts.append(found.return_value)
    return tasks.joined(parts)
