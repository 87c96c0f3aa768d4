"""A shard of prompts as one task of Celery, RQ and Huey: JSON in, JSON out, in order."""

from __future__ import annotations

import importlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis
from huey import MemoryHuey, SqliteHuey
from redis_server import RedisServer
from rq import Queue, SimpleWorker
from shell import environment

from responder import ConfigurationError, Result
from responder.integrations import celery as on_celery
from responder.integrations import huey as on_huey
from responder.integrations import rq as on_rq
from responder.integrations import tasks
from responder.integrations.collected import collected
from responder.many.journal import RedisJournal
from responder.simulator import Fault, Simulator

MODEL = "openai:m"


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Make the simulator the provider of `openai:`, and forget the responders of the test before."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    tasks._responders.clear()
    yield simulator
    tasks._responders.clear()


def texts(results: list[dict[str, Any]]) -> list[str]:
    """Return the texts, without what the simulator adds."""
    return [result["text"].removeprefix("Simulated answer to: ") for result in results]


def test_results_are_json_in_the_order_of_the_prompts(provider: Simulator) -> None:
    """A shard comes back as plain values, failures among them."""
    provider.script_for("b", Fault.status(400, "no"))
    results = tasks.ask_many(MODEL, ["a", "b", {"role": "user", "content": "c"}], responder={"max_retries": 0})
    assert json.loads(json.dumps(results)) == results
    assert [result["ok"] for result in results] == [True, False, True]
    assert results[0]["usage"] == {"input_tokens": 7, "output_tokens": 6}
    assert (results[0]["finish_reason"], results[0]["error"]) == ("stop", None)
    assert (results[1]["error"]["type"], results[1]["error"]["retryable"]) == ("BadRequestError", False)
    assert results[1]["text"] is None


def test_results_bring_their_cost_and_traces_home() -> None:
    """What the tasks did is one summary and one page; limits and prices are dicts in JSON."""
    made_with = {"limits": {"max_concurrency": 3}, "timeout": {"total": 20, "connect": 5}, "price": {"input": 1.0, "output": 2.0}}
    parts = [tasks.ask_many(MODEL, shard, responder=made_with, max_workers=2) for shard in (["a", "b"], ["c"])]
    assert parts[0][0]["cost"] == pytest.approx((7 * 1.0 + 6 * 2.0) / 1e6)
    assert parts[0][0]["trace"]["made"][0][3] == ""
    results = collected([("one", parts[0], None), ("two", None, "died"), ("three", parts[1], None)])
    assert [lost.task for lost in results.unfinished] == ["two"]
    assert not results.ok
    summary = results.summary()
    assert (summary.items, summary.ok, summary.attempts) == (3, 3, 3)
    assert summary.cost == pytest.approx(3 * parts[0][0]["cost"])
    assert results.report() is not None


def test_a_dict_that_is_no_limit_is_refused() -> None:
    """With the name of what is wrong in it."""
    with pytest.raises(ConfigurationError, match="per_hour"):
        tasks.ask_many(MODEL, ["a"], responder={"limits": {"per_hour": 3}})


def test_tasks_share_a_budget_and_no_password() -> None:
    """Each has the part of its prompts; a password in the journal's URL is not put into the broker."""
    made = tasks.errands(list("abcde"), 2, "redis://:secret-word@cache/0", {"budget": 10.0, "max_workers": 4})
    assert [given["budget"] for _, _, given in made] == [4.0, 4.0, 2.0]
    assert [(shard, given["shard"] == name) for name, shard, given in made] == [
        (["a", "b"], True),
        (["c", "d"], True),
        (["e"], True),
    ]
    assert "secret-word" not in repr(made)


def test_a_shard_that_never_ends_is_given_up(redis_server: RedisServer) -> None:
    """It may be what kills its workers."""
    journal = RedisJournal(redis_server.url)
    for _ in range(tasks.MOST_BEGINS):
        journal.begin("bad")
    with pytest.raises(ConfigurationError, match="5 times"):
        tasks.ask_many(MODEL, ["a"], journal=redis_server.url, shard="bad")


def test_a_shard_is_asked_in_parallel(provider: Simulator) -> None:
    """One task holds many calls at once."""
    barrier = provider.hold(5)
    assert len(tasks.ask_many(MODEL, list("abcde"), max_workers=5)) == 5
    assert barrier.wait(0)


def test_tasks_of_a_process_share_connections(provider: Simulator) -> None:
    """The responder of the task before is used again."""
    tasks.ask_many(MODEL, ["a"])
    tasks.ask_many(MODEL, ["b"])
    assert provider.connections_opened == 1


def test_a_task_that_runs_again_asks_only_the_rest(provider: Simulator, tmp_path: Path) -> None:
    """With a checkpoint, what a killed worker had finished is not paid for twice."""
    checkpoint = str(tmp_path / "done.db")
    tasks.ask_many(MODEL, ["a", "b"], checkpoint=checkpoint)
    results = tasks.ask_many(MODEL, ["a", "b", "c"], checkpoint=checkpoint)
    assert [result["attempts"] for result in results] == [0, 0, 1]
    assert len(provider.received) == 3


def test_shards_are_lazy_and_complete() -> None:
    """An endless input is fine; the last shard is shorter."""
    assert list(tasks.shards(list("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert next(tasks.shards((str(number) for number in itertools.count()), 2)) == ["0", "1"]
    assert list(tasks.shards([])) == []


@pytest.mark.parametrize(("prompts", "size"), [(["a"], 0), (["a"], True), ("one text", 5)])
def test_shards_that_make_no_sense_are_refused(prompts: Any, size: Any) -> None:
    """The message says what is wanted."""
    with pytest.raises(ConfigurationError, match="shard"):
        tasks.shards(prompts, size)


def test_joined_results_are_numbered_through() -> None:
    """Each index is the place in the whole input."""
    answered = tasks.as_json(Result(0, "a", error=ValueError("no")))
    assert [result["index"] for result in tasks.joined([[answered, answered], [answered]])] == [0, 1, 2]


def test_celery_runs_shards_eagerly() -> None:
    """With `task_always_eager`, as in a project's own tests, the results come in order."""
    from celery import Celery

    app = Celery("eager", set_as_current=True)
    app.conf.update(task_always_eager=True, task_store_eager_result=False)
    group = on_celery.ask_all(MODEL, list("abcde"), size=2, max_workers=2)
    results = on_celery.collect(group, timeout=30)
    assert texts(results) == list("abcde")
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]


def test_rq_answers_shards() -> None:
    """A burst worker takes the jobs; their results come in order."""
    queue = Queue(connection=FakeRedis())
    jobs = on_rq.ask_all(queue, MODEL, list("abcde"), size=2, max_workers=2)
    SimpleWorker([queue], connection=queue.connection).work(burst=True)
    assert texts(on_rq.collect(jobs, timeout=10)) == list("abcde")


def test_a_failed_rq_job_is_named() -> None:
    """A whole job that fails has an error for each prompt, with what RQ knows of it."""
    queue = Queue(connection=FakeRedis())
    jobs = on_rq.ask_all(queue, "nobody:m", ["a"])
    SimpleWorker([queue], connection=queue.connection).work(burst=True)
    results = on_rq.collect(jobs, timeout=10)
    assert not results.ok
    assert [(lost.start, lost.count) for lost in results.unfinished] == [(0, 1)]
    assert "unknown provider" in results[0]["error"]["message"]


def test_jobs_that_are_late_are_named_beside_what_is_there() -> None:
    """Nothing that is finished is thrown away."""
    queue = Queue(connection=FakeRedis())
    jobs = on_rq.ask_all(queue, MODEL, list("abc"), size=2)
    SimpleWorker([queue], connection=queue.connection).work(burst=True, max_jobs=1)
    with pytest.raises(TimeoutError, match=jobs[1].id) as caught:
        on_rq.collect(jobs, timeout=0.1)
    batch = caught.value.batch  # type: ignore[attr-defined]  # the run that it ended put it there
    assert [result["ok"] for result in batch] == [True, True, False]


def test_a_failed_huey_task_is_named() -> None:
    """A whole task that fails has an error for each prompt."""
    ask_many = on_huey.register(MemoryHuey(immediate=True))
    results = on_huey.collect(on_huey.ask_all(ask_many, "nobody:m", list("abc"), size=2))
    assert [(lost.start, lost.count) for lost in results.unfinished] == [(0, 2), (2, 1)]
    assert "unknown provider" in results[2]["error"]["message"]


def test_huey_answers_shards_at_once() -> None:
    """In immediate mode, as in a project's own tests, the results come in order."""
    ask_many = on_huey.register(MemoryHuey(immediate=True))
    handles = on_huey.ask_all(ask_many, MODEL, list("abcde"), size=2, max_workers=2)
    assert texts(on_huey.collect(handles)) == list("abcde")


def test_a_huey_consumer_answers_shards(tmp_path: Path) -> None:
    """Worker threads of a consumer take the tasks from a queue in a file."""
    huey = SqliteHuey(filename=str(tmp_path / "huey.db"))
    ask_many = on_huey.register(huey)
    handles = on_huey.ask_all(ask_many, MODEL, list("abcde"), size=2)
    consumer = huey.create_consumer(workers=2, periodic=False, initial_delay=0.01, max_delay=0.05)
    consumer.start()
    try:
        assert texts(on_huey.collect(handles, timeout=30)) == list("abcde")
    finally:
        consumer.stop(graceful=True)


@pytest.mark.parametrize(
    ("module", "framework", "extra"),
    [
        ("django", "django", "django"),
        ("flask", "flask", "flask"),
        ("starlette", "starlette", "starlette"),
        ("streamlit", "streamlit", "streamlit"),
        ("pandas", "pandas", "pandas"),
        ("celery", "celery", "celery"),
        ("rq", "rq", "rq"),
        ("huey", "huey", "huey"),
    ],
)
def test_a_missing_framework_says_what_to_install(
    module: str, framework: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing an integration without its framework names the extra to install."""
    for name in [name for name in sys.modules if name == framework or name.startswith(f"{framework}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"responder.integrations.{module}", raising=False)
    with pytest.raises(ImportError, match=rf"responder-sdk\[{extra}\]"):
        importlib.import_module(f"responder.integrations.{module}")


def test_the_core_imports_no_framework() -> None:
    """Whoever imports the package pays for none of them."""
    names = "django flask starlette fastapi streamlit gradio pandas celery rq huey asyncio responder.integrations"
    code = f"import sys, responder; print([name for name in {names.split()!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "[]", found.stderr
