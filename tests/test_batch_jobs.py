"""Batch jobs: prompts answered within a day. Paid for once, whatever becomes of the process, the batch or a line."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import reply
from shell import environment

from responder import (
    AnthropicResponder,
    AzureOpenAIResponder,
    BadRequestError,
    BatchJob,
    BudgetExceededError,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
    GeminiResponder,
    GroqResponder,
    Image,
    InternalServerError,
    InvalidAnswerError,
    InvalidResponseError,
    Message,
    MistralResponder,
    NotFoundError,
    OpenAIResponder,
    Price,
    QuotaExceededError,
    RetryPolicy,
    TogetherResponder,
    VectorJob,
    VertexAIResponder,
    XAIResponder,
)
from responder.call.batch_form import BatchForm, BatchLimits, Order
from responder.many.job_results import line_name, read_name
from responder.providers.openai_batches import OpenAIBatches
from responder.responder import Responder
from responder.simulator import Fault, Simulator

KEY = "sk-secret-key-of-the-test-0123456789"
PRICE = Price(input=1.0, output=2.0)
QUICK = RetryPolicy(3, first_backoff=0.01)
PROMPTS = [f"prompt {number};" for number in range(7)]

KINDS: dict[str, Callable[..., Responder]] = {
    "openai": OpenAIResponder,
    "anthropic": AnthropicResponder,
    "gemini": GeminiResponder,
    "azure": AzureOpenAIResponder,
    "groq": GroqResponder,
    "together": TogetherResponder,
    "mistral": MistralResponder,
    "xai": XAIResponder,
}


_ASKED: Any = {
    name: kind("m", api_key=KEY, **({"endpoint": "https://r.openai.azure.com"} if name == "azure" else {}))
    for name, kind in KINDS.items()
}
FORMS: list[Any] = [asked.batches(asked) for asked in _ASKED.values()]


class SmallBatches(OpenAIBatches):
    """Three lines a batch."""

    limits: ClassVar[BatchLimits] = BatchLimits(3, 10_000)


class SmallResponder(OpenAIResponder):
    """OpenAI, if its batches were small."""

    batches: ClassVar[type[BatchForm] | None] = SmallBatches


class FiledResponder(GeminiResponder):
    """Gemini, with every batch as a file."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(batch_hours=2) as running:
        yield running


@pytest.fixture(autouse=True)
def cleared(simulator: Simulator) -> None:
    simulator.clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def responder(simulator: Simulator, provider: str = "openai", kind: Callable[..., Responder] | None = None, **more: Any) -> Any:
    where = "endpoint" if provider == "azure" else "base_url"
    keywords = {"api_key": KEY, "price": PRICE, "max_retries": QUICK, where: simulator.base_url(provider), **more}
    return (kind or KINDS[provider])("m", **keywords)


def paid(simulator: Simulator) -> Counter[str]:
    """Return how often each prompt was answered, live or in a batch."""
    live = [request.prompt for request in simulator.received if request.outcome == "answered" and request.prompt]
    return Counter([*live, *(prompt for batch in simulator.batches for prompt in batch.prompts)])


def finished(simulator: Simulator, job: BatchJob[Any]) -> BatchJob[Any]:
    simulator.advance(3)
    return job.wait(deadline=60, poll=0.005)


# What a job does, with every provider


@pytest.mark.parametrize("provider", KINDS)
def test_a_job_gives_the_results_of_a_map(provider: str, simulator: Simulator, file: Path) -> None:
    """In order, with typed errors, at the price of batches; a map with its checkpoint asks what failed, and nothing else."""
    gpt = responder(simulator, provider)
    simulator.script_for("prompt 3;", Fault.status(400, message="not this one"))
    job = gpt.submit(PROMPTS, checkpoint=file)
    assert job.status == "running"
    with pytest.raises(ConfigurationError, match="wait"):
        job.results()
    results = finished(simulator, job).results()
    assert job.status == "completed"
    assert [result.index for result in results] == list(range(7))
    assert [result.prompt for result in results] == PROMPTS
    assert [result.text for result in results if result.ok] == [
        f"Simulated answer to: {prompt}" for prompt in PROMPTS if "3" not in prompt
    ]
    assert isinstance(results[3].error, BadRequestError)
    assert "not this one" in str(results[3].error)
    first = results[0]
    assert first.attempts == 1
    assert first.cost == pytest.approx(PRICE.cost(first.usage) / 2)
    assert results.summary().cost == pytest.approx(6 * first.cost)
    assert (results.summary().ok, results.summary().failed) == (6, 1)
    finished_by = gpt.map(PROMPTS, checkpoint=file, progress=False)
    assert [result.attempts for result in finished_by] == [0, 0, 0, 1, 0, 0, 0]
    assert paid(simulator) == Counter(PROMPTS)


@pytest.mark.parametrize("provider", KINDS)
def test_a_batch_that_expires_at_half_is_finished_by_a_map(provider: str, file: Path) -> None:
    """What was answered before is kept and was paid for; the provider counts each prompt once."""
    with Simulator(batch_hours=48) as simulator:
        gpt = responder(simulator, provider)
        prompts = [f"prompt {number};" for number in range(100)]
        job = gpt.submit(prompts, checkpoint=file)
        simulator.advance(hours=25)
        results = job.wait(deadline=60, poll=0.005).results()
        assert job.status == ("completed" if provider == "xai" else "expired")  # xAI has no word for it
        assert [result.ok for result in results] == [True] * 50 + [False] * 50
        if provider not in ("gemini", "xai"):
            assert {type(result.error) for result in results.failures()} == {DeadlineExceededError}
        finished_by = gpt.map(prompts, checkpoint=file, progress=False)
        assert finished_by.texts() == [f"Simulated answer to: {prompt}" for prompt in prompts]
        assert paid(simulator) == Counter(prompts)


@pytest.mark.parametrize("provider", KINDS)
def test_a_cancelled_job_keeps_what_is_done(provider: str, simulator: Simulator, file: Path) -> None:
    """What is not has an error that says so."""
    gpt = responder(simulator, provider)
    job = gpt.submit(PROMPTS, checkpoint=file)
    simulator.advance(1)
    job.cancel()
    results = job.wait(deadline=60, poll=0.005).results()
    assert job.status == "cancelled"
    assert [result.ok for result in results] == [True] * 3 + [False] * 4
    assert {type(result.error) for result in results.failures()} <= {CancelledError, InvalidResponseError}
    assert gpt.map(PROMPTS, checkpoint=file, progress=False).ok
    assert paid(simulator) == Counter(PROMPTS)


def test_gemini_takes_large_batches_as_files(simulator: Simulator, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into a request is uploaded, and the results are a file, too."""
    monkeypatch.setattr("responder.providers.gemini_batches._MOST_INLINE", 100)
    gpt = responder(simulator, "gemini")
    results = finished(simulator, gpt.submit(PROMPTS, checkpoint=file)).results()
    assert results.texts() == [f"Simulated answer to: {prompt}" for prompt in PROMPTS]
    assert "/upload/v1beta/files" in [request.path for request in simulator.received]


# Lines


def test_prompts_are_split_into_batches_and_joined_by_name(simulator: Simulator, file: Path) -> None:
    """By lines and bytes; the results come in another order than the prompts went."""
    gpt = responder(simulator, kind=SmallResponder)
    prompts = [*PROMPTS, "long " * 1900 + "prompt 8;"]
    job = gpt.submit(prompts, checkpoint=file)
    assert [batch.lines for batch in simulator.batches] == [3, 3, 1, 1]
    assert len(job.batches) == 4
    assert [result.prompt for result in finished(simulator, job).results()] == prompts
    assert job.results()[6].text == "Simulated answer to: prompt 6;"


@pytest.mark.parametrize("dedupe", [False, True])
def test_equal_prompts_get_a_result_each(dedupe: bool, simulator: Simulator, file: Path) -> None:
    """As many answers as prompts, or with `dedupe` one for all of them, which is paid for once."""
    gpt = responder(simulator)
    job = gpt.submit(["same", "other", "same", "same"], checkpoint=file, dedupe=dedupe)
    results = finished(simulator, job).results()
    assert results.texts() == [f"Simulated answer to: {word}" for word in ("same", "other", "same", "same")]
    assert [result.attempts for result in results] == ([1, 1, 0, 0] if dedupe else [1, 1, 1, 1])
    assert paid(simulator)["same"] == (1 if dedupe else 3)
    assert results[3].usage.known is not dedupe
    if not dedupe:
        assert [result.attempts for result in gpt.map(["same"] * 3, checkpoint=file, progress=False)] == [0, 0, 0]


def test_names_of_lines_are_safe_everywhere() -> None:
    """1 to 64 letters, digits, - and _, from which the question and its place can be read again."""
    for question, place in ((bytes(32), 0), (b"\xff" * 32, 10**9), (b"\xfb\xef\xbe" * 10 + b"\xfb\xef", 7)):
        name = line_name(question, place, "0123abcd")
        assert len(name) <= 64
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
        assert read_name(name) == (question, place, "0123abcd")
    for foreign in ("", "request-1", "0", "x" * 64, f"{'A' * 43}-+1-0123abcd", f"{'A' * 43}--1-ab"):
        assert read_name(foreign) is None


def test_what_the_checkpoint_has_is_not_sent(simulator: Simulator, file: Path) -> None:
    """Answers of a map are results of a job, too, and cost nothing."""
    gpt = responder(simulator)
    gpt.map(PROMPTS[:4], checkpoint=file, progress=False)
    job = gpt.submit(PROMPTS, checkpoint=file)
    assert [batch.lines for batch in simulator.batches] == [3]
    results = finished(simulator, job).results()
    assert [result.attempts for result in results] == [0, 0, 0, 0, 1, 1, 1]
    assert results[0].cost == 0.0
    assert gpt.submit(PROMPTS, checkpoint=file).results().ok  # nothing is left to send
    assert paid(simulator) == Counter(PROMPTS)


def test_options_schemas_and_messages_travel(simulator: Simulator, file: Path) -> None:
    """Messages, pictures and schemas are sent as in a live call; what does not fit has the error of a live call."""
    gpt = responder(simulator, system="Be brief.")
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    simulator.script_for("unfit", Fault.invalid_answer("no JSON"))
    prompts: list[Any] = [
        "fit",
        "unfit",
        [Message("user", "first"), Message("assistant", "yes"), Message("user", "last")],
        Message("user", ["what is this?", Image(data=b"\x89PNG", media_type="image/png")]),
        {"role": "user", "content": "as a dict"},
    ]
    job = gpt.submit(prompts, checkpoint=file, schema=schema, temperature=0.5)
    results = finished(simulator, job).results()
    assert [result.ok for result in results] == [True, False, True, True, True]
    assert results[0].parsed.keys() == {"city"}
    assert isinstance(results[1].error, InvalidAnswerError)
    assert results[1].error.text == "no JSON"
    assert results[1].cost > 0  # it was paid for
    assert [result.prompt for result in results] == prompts
    again = responder(simulator, system="Be brief.").job(file).results()
    assert again[0].parsed == results[0].parsed  # the file knows the schema
    assert again[2].prompt[0]["content"] == "first"
    assert "Image" in again[3].prompt["content"][1]["text"]  # the bytes of a picture are not kept
    sent = json.loads(next(body for _, _, body in _kept_lines(gpt, file, simulator)))
    assert sent["temperature"] == 0.5
    assert sent["messages"][0]["content"] == "Be brief."


def _kept_lines(gpt: Any, file: Path, simulator: Simulator) -> list[tuple[Any, ...]]:
    other = file.with_name("other.db")
    gpt.submit(["look"], checkpoint=other, temperature=0.5)
    with sqlite3.connect(other) as connection:
        return connection.execute("SELECT job, place, body FROM job_lines").fetchall()


def test_a_prompt_that_cannot_be_sent_fails_alone(simulator: Simulator, file: Path) -> None:
    """As in a map; the others are sent."""
    job = responder(simulator).submit(["good", {"role": "user"}, "fine"], checkpoint=file)
    results = finished(simulator, job).results()
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, ConfigurationError)


def test_a_budget_holds_at_the_price_of_batches(simulator: Simulator, file: Path) -> None:
    """What comes after the money is not sent, and says so."""
    gpt = responder(simulator, price=Price(input=0, output=1_000_000), max_retries=0)
    job = gpt.submit(PROMPTS, checkpoint=file, budget=20.0, max_tokens=10)  # ten dollars live, five in a batch
    results = finished(simulator, job).results()
    assert [result.ok for result in results] == [True] * 4 + [False] * 3
    assert {type(result.error) for result in results.failures()} == {BudgetExceededError}
    with pytest.raises(ConfigurationError, match="price"):
        responder(simulator, price=None).submit(PROMPTS, checkpoint=file.with_name("b.db"), budget=1.0)


# Texts


@pytest.mark.parametrize("provider", ["openai", "azure", "mistral"])
def test_texts_get_their_vectors(provider: str, simulator: Simulator, file: Path) -> None:
    """The vectors of `embed`, which finds them in the checkpoint and asks for nothing that is there."""
    gpt = responder(simulator, provider)
    texts = ["a cat", "a dog", "", "a cat", "a ship"]
    job = gpt.submit_embed(texts, checkpoint=file, dimensions=8)
    assert isinstance(job, VectorJob)
    assert job.status == "running"
    assert [batch.lines for batch in simulator.batches] == [3]
    with pytest.raises(ConfigurationError, match="paid for twice"):
        gpt.embed(texts, checkpoint=file, dimensions=8, progress=False)
    assert gpt.submit_embed(texts, checkpoint=file, dimensions=8).id == job.id
    simulator.advance(3)
    vectors = job.wait(deadline=60, poll=0.005).results()
    live = gpt.embed(texts[:2], dimensions=8, progress=False)
    assert (len(vectors), vectors.dimensions, [result.index for result in vectors.failures()]) == (5, 8, [2])
    assert list(vectors[0]) == list(vectors[3]) == list(live[0])
    assert vectors.usage.input_tokens > 0
    assert vectors.cost == pytest.approx(PRICE.cost(vectors.usage) / 2)
    found = gpt.embed(texts, checkpoint=file, dimensions=8, progress=False)
    assert list(found[4]) == list(vectors[4])
    assert found.summary().attempts == 0
    with pytest.raises(ConfigurationError, match="submit_embed"):
        gpt.job(job.id, checkpoint=file)


def test_texts_of_a_job_that_expired_are_embedded_live(file: Path) -> None:
    """Those it has not given, and no others."""
    with Simulator(batch_hours=48) as simulator:
        gpt = responder(simulator)
        texts = [f"text {number}" for number in range(10)]
        gpt.submit_embed(texts, checkpoint=file)
        simulator.advance(25)
        vectors = gpt.embed(texts, checkpoint=file, progress=False, batch_size=1)
        assert vectors.ok
        assert vectors.summary().attempts == 5
        simulator.script_for("bad", Fault.status(400, message="not this text"))
        job = gpt.submit_embed(["bad", "text 1"], checkpoint=file)
        simulator.advance(50)
        (failure,) = job.wait(deadline=60, poll=0.005).results().failures()
        assert isinstance(failure.error, DeadlineExceededError)


def test_batches_without_texts_say_so(simulator: Simulator, file: Path) -> None:
    """Gemini has another form for them, the others none."""
    for provider in ("gemini", "anthropic", "groq", "xai"):
        with pytest.raises(ConfigurationError, match=r"embed"):
            responder(simulator, provider).submit_embed(["a"], checkpoint=file)


# Processes


def test_another_process_takes_it_up_by_path_and_by_id(simulator: Simulator, file: Path) -> None:
    """The same results, and nothing is sent again."""
    gpt = responder(simulator)
    job = gpt.submit(iter(PROMPTS), checkpoint=file)
    job.close()
    code = (
        "import sys, responder; gpt = responder.OpenAIResponder('m', base_url=sys.argv[1], api_key='" + KEY + "')\n"
        "job = gpt.job(sys.argv[2]); print(job.id, job.status); job.wait(deadline=60, poll=0.005)\n"
        "print(len(job.results().texts()), gpt.job(job.id, checkpoint=sys.argv[2]).results()[6].prompt)"
    )
    simulator.advance(3)
    arguments = [sys.executable, "-c", code, simulator.base_url("openai"), str(file)]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment(), timeout=120).stdout
    assert told.splitlines() == [f"{job.id} completed", "7 prompt 6;"]
    assert len(simulator.batches) == 1


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_job_without_its_file_is_found_at_the_provider(provider: str, simulator: Simulator, file: Path, tmp_path: Path) -> None:
    """By the id of its batch, or (where batches have names) by its own; the names of its lines say the order."""
    gpt = responder(simulator, provider)
    job = gpt.submit(PROMPTS, checkpoint=file)
    finished(simulator, job)
    (batch,) = job.batches
    for number, name in enumerate([batch, *([job.id] if provider == "openai" else [])]):
        other = tmp_path / f"other{number}.db"
        again = gpt.job(name, checkpoint=other)
        results = again.wait(deadline=60, poll=0.005).results()
        assert results.texts() == [f"Simulated answer to: {prompt}" for prompt in PROMPTS]
        assert [result.attempts for result in gpt.map(PROMPTS, checkpoint=other, progress=False)] == [0] * 7
    held = gpt.job(batch).wait(deadline=60, poll=0.005)
    results, place = held.results(), Path(held.path)
    del held
    assert results.ok  # the file is there as long as anybody reads it
    assert place.exists()
    del results
    gc.collect()
    assert not place.exists()
    with pytest.raises(ConfigurationError, match="neither"):
        gpt.job("batch_unknown")
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        gpt.job(tmp_path / "missing.db")


def test_the_same_call_goes_on_with_the_job_in_the_file(simulator: Simulator, file: Path) -> None:
    """A script that is started again makes no second batch; other prompts that are under way are refused."""
    gpt = responder(simulator)
    first = gpt.submit(PROMPTS, checkpoint=file)
    assert gpt.submit(PROMPTS, checkpoint=file).id == first.id
    with pytest.raises(ConfigurationError, match="under way"):
        gpt.submit([*PROMPTS, "one more"], checkpoint=file)
    with pytest.raises(ConfigurationError, match="paid for twice"):
        gpt.map(PROMPTS, checkpoint=file, progress=False)
    assert len(simulator.batches) == 1
    simulator.advance(3)
    assert [result.attempts for result in gpt.map(PROMPTS, checkpoint=file, progress=False)] == [0] * 7  # the map reads them
    second = gpt.submit([*PROMPTS, "one more"], checkpoint=file)
    assert [batch.lines for batch in simulator.batches] == [7, 1]
    assert finished(simulator, second).results().ok
    other = responder(simulator, "groq")
    assert other.map(["x"], checkpoint=file, progress=False).ok
    with pytest.raises(ConfigurationError, match="openai:m"):
        other.job(file)


def test_several_threads_may_wait_for_one_job(simulator: Simulator, file: Path) -> None:
    """Of one object or of several: each answer is kept once, and each batch is made once."""
    gpt = responder(simulator, kind=SmallResponder)
    first = gpt.submit(PROMPTS, checkpoint=file)
    others = [gpt.job(file) for _ in range(2)]
    simulator.advance(3)
    with ThreadPoolExecutor(4) as pool:
        waited = list(pool.map(lambda job: job.wait(deadline=60, poll=0.005).results().texts(), [first, first, *others]))
    assert waited == [[f"Simulated answer to: {prompt}" for prompt in PROMPTS]] * 4
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (7,)
    assert len(simulator.batches) == 3


class Interrupted(requests.Session):
    """Lets one batch be made, and has something done before the next look at one."""

    meanwhile: Callable[[], object] | None = None
    made = 0

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]  # by name, too
        if request.method == "POST" and request.path_url.endswith("/batches"):
            self.made += 1
            if self.made > 1:
                refused = requests.Response()
                refused.status_code, refused.raw, refused.request = (
                    429,
                    io.BytesIO(b'{"error": {"message": "Too many"}}'),
                    request,
                )
                return refused
        elif self.meanwhile is not None and "/batches/" in request.path_url:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().send(request, **more)


def test_what_another_process_sends_during_a_look_is_taken_with_the_next(simulator: Simulator, file: Path) -> None:
    """It stands in the file as sent and complete, and this one has not heard of it yet."""
    # Without limits that are learned: else the refusal holds the other one up while this one waits for it
    with Interrupted() as session:
        job = responder(simulator, kind=SmallResponder, session=session, max_retries=0, limits={"adaptive": False}).submit(
            PROMPTS, checkpoint=file
        )
        assert len(job.batches) == 1

        def another_goes_on() -> None:
            other = responder(simulator, kind=SmallResponder, limits={"adaptive": False}).submit(PROMPTS, checkpoint=file)
            simulator.advance(3)
            assert other.status == "completed"

        session.meanwhile = another_goes_on
        assert job.wait(deadline=60, poll=0.005).results().texts() == [f"Simulated answer to: {prompt}" for prompt in PROMPTS]
    assert len(simulator.batches) == 3


_WORKER = """
import os, signal, sys
import responder
from responder.many import jobs, job_start
from responder.simulator import Simulator

kind, url, folder, moments = sys.argv[1:]
PARTS = ("many/job", "many/checkpoint", "call/batching", "wire/transport", "call/uploading")

def work(number, kill_at):
    calls = 0
    def count(frame, event, _):
        nonlocal calls
        if event in ("call", "return") and any(part in frame.f_code.co_filename for part in PARTS):
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    gpt = getattr(responder, kind)("m", base_url=url, api_key="k")
    prompts = [f"moment {number} prompt {place};" for place in range(3)]
    if kill_at is not None:
        sys.setprofile(count)
    job = gpt.submit(prompts, checkpoint=f"{folder}/{number}.db")
    job.wait(deadline=60, poll=0.001)
    texts = job.results().texts()
    sys.setprofile(None)
    assert texts == [f"Simulated answer to: {prompt}" for prompt in prompts], texts
    job.close()
    return calls

def child(number, kill_at):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work(number, kill_at)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

total = work(0, 0)
moments = int(moments)
for number in range(1, moments + 1):
    died = child(number, number * total // (moments + 1))
    assert died == -signal.SIGKILL, (number, died)
    work(number, None)
print(total)
"""


@pytest.mark.parametrize(
    ("kind", "provider", "moments"), [("OpenAIResponder", "openai", 10), ("AnthropicResponder", "anthropic", 6)]
)
@pytest.mark.skipif(not hasattr(os, "fork") or not hasattr(signal, "SIGKILL"), reason="needs fork and SIGKILL")
def test_a_process_that_is_killed_at_any_moment_leaves_one_batch(kind: str, provider: str, moments: int, tmp_path: Path) -> None:
    """Ten processes are killed on the way; another one goes on, and each prompt was sent in one batch and paid for once."""
    with Simulator() as simulator:
        arguments = [sys.executable, "-c", _WORKER, kind, simulator.base_url(provider), str(tmp_path), str(moments)]
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=120)
        assert done.returncode == 0, done.stderr
        asked = [f"moment {number} prompt {place};" for number in range(moments + 1) for place in range(3)]
        assert paid(simulator) == Counter(asked)
        assert len(simulator.batches) == moments + 1


_FORKED = """
import os, signal, sys, threading
from responder import OpenAIResponder

url, file = sys.argv[1:]
gpt = OpenAIResponder("m", base_url=url, api_key="k")
job = gpt.submit(["a", "b"], checkpoint=file)
inside, leave = threading.Event(), threading.Event()

def step():
    with job._lock():
        inside.set()
        leave.wait()

thread = threading.Thread(target=step)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    code = 1
    try:
        code = 0 if job.status in ("running", "waiting", "completed") else 2
    finally:
        os._exit(code)
print(os.waitpid(child, 0)[1])
leave.set()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_may_ask_how_far_a_job_is(simulator: Simulator, file: Path) -> None:
    """A thread that waits for it, which the child does not have, is in the middle of a step."""
    arguments = [sys.executable, "-W", "ignore", "-c", _FORKED, simulator.base_url("openai"), str(file)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=100)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "mistral", "xai", "together"])
@pytest.mark.parametrize("fault", [Fault.reset(before_headers=True), Fault.cut_json()], ids=["reset", "cut"])
def test_a_batch_whose_reply_was_lost_is_not_made_twice(provider: str, fault: Fault, simulator: Simulator, file: Path) -> None:
    """It is not known whether it arrived: it is looked for before it is sent again."""
    path = {"anthropic": "/v1/messages/batches", "gemini": ":batchGenerateContent", "mistral": "/v1/batch/jobs"}
    gpt = responder(simulator, provider)
    simulator.script_for(path.get(provider, "/v1/batches"), fault)
    job = gpt.submit(PROMPTS, checkpoint=file)
    assert simulator.pending_faults == 0
    assert [batch.lines for batch in simulator.batches] == [7]
    assert finished(simulator, job).results().ok


def test_a_nameless_batch_of_another_is_not_taken_for_ours(simulator: Simulator, file: Path) -> None:
    """Anthropic's batches have no names. One of the same size may be another program's; the names of its lines tell."""
    gpt = responder(simulator, "anthropic")
    job = gpt.submit(PROMPTS, checkpoint=file)
    stranger = responder(simulator, "anthropic").submit([f"other {n}" for n in range(7)], checkpoint=file.with_name("other.db"))
    with sqlite3.connect(file) as connection:  # as if it had been killed just before, and the other one had come then
        connection.execute("UPDATE job_parts SET state = 'sending', batch = '', others = ?", (json.dumps(job.batches),))
    again = gpt.job(file)
    assert again.status == "running"
    assert again.batches == stranger.batches
    simulator.advance(3)
    assert again.wait(deadline=60, poll=0.005, progress=lambda _: simulator.advance(1)).results().ok
    assert len(simulator.batches) == 3


# Limits and refusals


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_the_limit_of_what_is_under_way_is_waited_for(provider: str, file: Path) -> None:
    """OpenAI's batch fails for it, Gemini's is refused: no prompt fails. It is sent when the others are done."""
    prompts = ["word " * 30 + str(number) for number in range(6)]
    with Simulator(batch_hours=1, batch_tokens=250) as simulator:
        kind = type("Small", (KINDS[provider],), {"batches": _small(provider, 3)})  # type: ignore[arg-type]  # a responder's class
        gpt = responder(simulator, provider, kind)
        job = gpt.submit(prompts, checkpoint=file)
        progress: list[Any] = []

        def wind_on(seen: Any) -> None:
            progress.append(seen)
            simulator.advance(0.5)

        results = job.wait(deadline=60, poll=0.005, progress=wind_on).results()
        assert results.texts() == [f"Simulated answer to: {prompt}" for prompt in prompts]
        assert paid(simulator) == Counter(prompts)
        assert progress[-1].done == progress[-1].total == 6


def _small(provider: str, lines: int) -> type[BatchForm]:
    form = KINDS[provider].batches  # type: ignore[attr-defined]  # a responder's class
    return type("SmallForm", (form,), {"limits": BatchLimits(lines, 10_000_000)})


def test_a_batch_that_is_too_large_alone_is_halved(file: Path) -> None:
    """A batch above the limit would be refused for ever."""
    prompts = ["word " * 30 + str(number) for number in range(4)]
    with Simulator(batch_tokens=150) as simulator:
        job = responder(simulator).submit(prompts, checkpoint=file)
        assert job.wait(deadline=60, poll=0.005).results().texts() == [f"Simulated answer to: {prompt}" for prompt in prompts]
        assert paid(simulator) == Counter(prompts)


def test_a_refusal_leaves_nothing_behind(simulator: Simulator, file: Path) -> None:
    """Nothing was sent, so the same prompts can be mapped or submitted again."""
    gpt = responder(simulator)
    simulator.script_for("/v1/batches", Fault.insufficient_quota())
    with pytest.raises(QuotaExceededError):
        gpt.submit(PROMPTS, checkpoint=file)
    assert gpt.map(PROMPTS, checkpoint=file, progress=False).ok
    wrong = responder(simulator, api_key="sk-another")
    with pytest.raises(ConfigurationError, match="no batch job"):
        wrong.job(file)


def test_what_has_no_batches_says_so(simulator: Simulator, file: Path) -> None:
    """Before anything is read or sent."""
    with pytest.raises(ConfigurationError, match="no batches"):
        VertexAIResponder("gemini-3", project="p", location="l", api_key=lambda: "t").submit(PROMPTS, checkpoint=file)

    def weather(city: str) -> str:
        """Say the weather."""
        return city

    with pytest.raises(ConfigurationError, match="functions"):
        responder(simulator).submit(PROMPTS, checkpoint=file, tools=[weather])
    with pytest.raises(ConfigurationError, match="list"):
        responder(simulator).submit("one", checkpoint=file)
    assert not file.exists()


def test_waiting_ends_at_its_deadline_and_the_job_goes_on(simulator: Simulator, file: Path) -> None:
    """Waiting again goes on; a provider that is away for a moment does not end it."""
    job = responder(simulator).submit(PROMPTS, checkpoint=file)
    with pytest.raises(DeadlineExceededError, match="goes on"):
        job.wait(deadline=0.02, poll=0.005)
    simulator.script_for("/v1/batches/", Fault.status(503, times=6))
    assert finished(simulator, job).results().ok


def test_no_secret_is_in_the_file(simulator: Simulator, file: Path) -> None:
    """Not even where a provider quotes it in the error of a line."""
    simulator.script_for("prompt 3;", Fault.status(400, message=f"Incorrect API key provided: {KEY}"))
    gateway = f"{simulator.base_url('openai')}?subscription-key={KEY}"
    job = responder(simulator, base_url=gateway).submit(PROMPTS, checkpoint=file)
    results = finished(simulator, job).results()
    assert KEY not in str(results[3].error) + repr(vars(results[3].error))
    job.close()
    for path in file.parent.iterdir():
        assert KEY.encode() not in path.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_results_are_a_batch_of_any_size(simulator: Simulator, file: Path) -> None:
    """Read as they are looked at, and still a sequence; a copy of them in a pickle is whole."""
    results = finished(simulator, responder(simulator).submit(PROMPTS, checkpoint=file)).results()
    assert results[-1].index == 6
    assert [result.index for result in results[1:3]] == [1, 2]
    assert len(list(results)) == len(results) == 7
    assert pickle.loads(pickle.dumps(results)).texts() == results.texts()


def killed_at(simulator: Simulator, executors: list[ProcessPoolExecutor], number: int) -> None:
    assert simulator.wait_for(number)
    os.kill(next(iter(executors[0]._processes)), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_job_is_finished_by_processes_and_then_by_a_plain_map(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It expires at half and goes on in processes, one of which is killed: each prompt is paid for once (in flight apart)."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    prompts = [f"prompt {number};" for number in range(400)]
    made: list[ProcessPoolExecutor] = []

    def processes() -> ProcessPoolExecutor:
        made.append(ProcessPoolExecutor(2, mp_context=get_context("fork")))
        return made[-1]

    with Simulator(batch_hours=48, latency=0.01) as simulator:
        gpt = OpenAIResponder("m", base_url=simulator.base_url("openai"), max_retries=QUICK)
        job = gpt.submit(prompts, checkpoint=file)
        simulator.advance(25)
        assert len(job.wait(deadline=60, poll=0.005).results().failures()) == 200
        already = len(simulator.received)
        killer = threading.Thread(target=killed_at, args=(simulator, made, already + 40))
        killer.start()
        spread = {"executor": processes, "max_workers": 2, "shard_size": 10}
        gpt.map(prompts[:350], checkpoint=file, progress=False, **spread)
        killer.join()
        batch = gpt.map(prompts, checkpoint=file, progress=False)
        assert batch.texts() == [f"Simulated answer to: {prompt}" for prompt in prompts]
        assert sum(result.attempts for result in batch) >= 50  # what the processes were not given
        counted = paid(simulator)
        assert counted.keys() == set(prompts)
        assert sum(counted.values()) - len(prompts) <= 6 * 10  # three shards for each of two processes
        assert all(counted[prompt] == 1 for prompt in prompts[:200])


def test_a_session_of_the_users_carries_a_job(simulator: Simulator, file: Path) -> None:
    """Files go up and come down over it as well."""
    with requests.Session() as session:
        gpt = responder(simulator, session=session)
        assert finished(simulator, gpt.submit(PROMPTS, checkpoint=file)).results().ok


def test_azures_older_paths_have_batches(simulator: Simulator, file: Path) -> None:
    """With a dated version of the API, in each URL."""
    gpt = responder(simulator, "azure", api_version="2024-10-21")
    assert finished(simulator, gpt.submit(PROMPTS, checkpoint=file)).results().ok
    assert {request.query.get("api-version") for request in simulator.received} == {"2024-10-21"}


# What providers really send


_WORDS = st.sampled_from(
    [
        *(
            "id",
            "name",
            "status",
            "metadata",
            "state",
            "data",
            "error",
            "errors",
            "code",
            "message",
            "custom_id",
            "response",
            "body",
        ),
        *("status_code", "result", "type", "key", "output", "inlinedResponses", "batchStats", "request_counts", "batch_id"),
        *("batch_request_id", "batch_result", "processing_status", "results_url", "job", "succeeded", "completed", "ended"),
    ]
)
_LIKE_A_BATCH = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.floats() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=15,
)


@given(found=_LIKE_A_BATCH)
@settings(max_examples=150)
def test_anything_is_read_as_a_batch_a_list_or_a_line(found: Any) -> None:
    """Or is none: no other error, whatever a server sends."""
    for form in FORMS:
        body = found if isinstance(found, dict) else {"id": found, "name": found}
        with contextlib.suppress(InvalidResponseError):
            state = form.read(body)
            assert state.id
            assert state.done >= 0
        form.read_list(found)
        outcome = form.outcome(body)
        assert outcome is None or (outcome.name and 0 <= outcome.status < 10**9)
        with contextlib.suppress(NotImplementedError):
            lines, _ = form.page(body, "http://x/")
            assert all(isinstance(line, dict) for line in lines)


class Played:
    """OpenAI as a list of replies, one a request."""

    def __init__(self, serve: Any) -> None:
        self._replies: deque[Any] = deque()
        self.received: list[Any] = []
        server = serve(self._answer)
        self.gpt = OpenAIResponder("m", base_url=f"{server.url}/v1", api_key=KEY, max_retries=QUICK, price=PRICE)

    def _answer(self, peer: Any) -> None:
        while request := peer.receive():
            self.received.append(request)
            body = self._replies.popleft()
            status = "200 OK"
            if isinstance(body, tuple):
                status, body = body
            peer.send(reply(body if isinstance(body, bytes) else json.dumps(body).encode(), status))

    def job(self, file: Path, *ends: Any) -> BatchJob[Any]:
        """Submit the prompts; after that come these replies, `bytes` for files."""
        self.say({"id": "file-1"}, {"id": "b1", "status": "validating", "input_file_id": "file-1"}, *ends)
        return self.gpt.submit(PROMPTS[:3], checkpoint=file)

    def say(self, *bodies: Any) -> None:
        self._replies.extend(bodies)

    def names(self) -> list[str]:
        """Return the names of the lines that were uploaded."""
        lines = self.received[0].body.splitlines()
        return [json.loads(line)["custom_id"] for line in lines if line.startswith(b'{"custom_id"')]


@pytest.fixture
def openai(serve: Any) -> Played:
    return Played(serve)


def _line(name: str, text: str = "Hi.", status: int = 200, **changes: Any) -> bytes:
    body = {
        "id": "c1",
        "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    line = {
        "id": "r1",
        "custom_id": name,
        "response": {"status_code": status, "request_id": "req_9", "body": body},
        "error": None,
    }
    return json.dumps({**line, **changes}).encode() + b"\n"


def test_a_batch_in_which_every_line_failed_has_no_output_file(openai: Played, file: Path) -> None:
    """It is `completed`, and all it has is the file of errors."""
    job = openai.job(file)
    first, second, third = openai.names()
    openai.say(
        {"id": "b1", "status": "completed", "output_file_id": None, "error_file_id": "file-e"},
        _line(first, status=500, response={"status_code": 500, "body": {"error": {"message": "oh"}}})
        + _line(second, response=None, error={"code": "batch_expired", "message": "late"})
        + _line(third, response=None, error={"code": "invalid_request", "message": "what?"}),
    )
    results = job.wait(deadline=60, poll=0.005).results()
    assert [type(result.error) for result in results] == [InternalServerError, DeadlineExceededError, BadRequestError]
    assert [result.attempts for result in results] == [1, 0, 1]


def test_an_empty_id_is_no_file(openai: Played, file: Path) -> None:
    """`error_file_id` is "" at times."""
    job = openai.job(file)
    openai.say(
        {"id": "b1", "status": "completed", "output_file_id": "file-o", "error_file_id": ""},
        b"".join(map(_line, reversed(openai.names()))),
    )
    results = job.wait(deadline=60, poll=0.005).results()
    assert results.texts() == ["Hi."] * 3
    assert results[0].answer.request_id == "req_9"
    assert [request.target for request in openai.received][2:] == ["/v1/batches/b1", "/v1/files/file-o/content"]


def test_lines_that_cannot_be_read_say_nothing(openai: Played, file: Path) -> None:
    """No JSON, other shapes, names of others, a name twice, a file that ends in the middle: each prompt gets what is its own."""
    job = openai.job(file)
    first, second, third = openai.names()
    foreign = line_name(b"x" * 32, 1, first[-8:])  # a question that was never asked, under our mark
    openai.say(
        {"id": "b1", "status": "expired", "output_file_id": "file-o", "error_file_id": None},
        b'{"custom_id"\n[1, 2]\nnull\n"text"\n\xff\xfe\n\n{"custom_id": 7}\n'
        + _line("request-1", "foreign")
        + _line(foreign, "never asked")
        + _line(first, "one")
        + _line(first, "two")
        + _line(second, response={"status_code": 200, "body": {"choices": []}})
        + _line(third)[:-30],
    )
    results = job.wait(deadline=60, poll=0.005).results()
    assert results[0].text == "one"
    assert [type(result.error) for result in results[1:]] == [InvalidResponseError, DeadlineExceededError]


def test_a_file_that_breaks_off_is_read_again(serve: Any, file: Path) -> None:
    """No answer is kept twice, and none is lost."""
    names: list[str] = []
    asked: list[str] = []

    def provider(peer: Any) -> None:
        while request := peer.receive():
            asked.append(request.line.rpartition(" ")[0])
            if request.target == "/v1/files":
                names.extend(json.loads(line)["custom_id"] for line in request.body.splitlines() if line.startswith(b'{"custom'))
                peer.send(reply(b'{"id": "file-1"}'))
            elif request.target == "/v1/files/file-o/content":
                whole = reply(b"".join(map(_line, names)))
                if asked.count(asked[-1]) == 1:
                    peer.send(whole[:-200])
                    return
                peer.send(whole)
            else:
                peer.send(reply(b'{"id": "b1", "status": "completed", "output_file_id": "file-o"}'))

    server = serve(provider)
    gpt = OpenAIResponder("m", base_url=f"{server.url}/v1", api_key=KEY, max_retries=QUICK)
    job = gpt.submit(PROMPTS[:3], checkpoint=file)
    assert job.wait(deadline=60, poll=0.005).results().texts() == ["Hi."] * 3
    assert asked.count("GET /v1/files/file-o/content") == 2
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (3,)


def test_large_results_take_the_time_they_need(serve: Any, file: Path) -> None:
    """As long as something comes: `timeout` bounds the time between two pieces, not the whole file. Silence ends it."""
    names: list[str] = []
    asked: list[str] = []

    def provider(peer: Any) -> None:
        while request := peer.receive():
            if request.target == "/v1/files":
                names.extend(json.loads(line)["custom_id"] for line in request.body.splitlines() if line.startswith(b'{"custom'))
                peer.send(reply(b'{"id": "file-1"}'))
            elif request.target.endswith("/content"):
                asked.append(request.target)
                whole = reply(b"".join(map(_line, names)))
                if len(asked) == 1:
                    peer.send(whole[:-200])
                    peer.wait_until_left()  # and nothing more
                    return
                for start in range(0, len(whole), len(whole) // 8):
                    peer.send(whole[start : start + len(whole) // 8])
                    threading.Event().wait(0.1)
            else:
                peer.send(reply(b'{"id": "b1", "status": "completed", "output_file_id": "file-o"}'))

    server = serve(provider)
    gpt = OpenAIResponder(
        "m", base_url=f"{server.url}/v1", api_key=KEY, max_retries=RetryPolicy(9, first_backoff=0.01), timeout=0.6
    )
    job = gpt.submit(PROMPTS[:3], checkpoint=file)
    assert job.wait(deadline=60, poll=0.005).results().texts() == ["Hi."] * 3
    assert len(asked) >= 2


def test_an_error_with_a_200_is_an_error(openai: Played, file: Path) -> None:
    """A batch that is long past is answered so."""
    job = openai.job(file, {"error": {"message": "No batch found", "code": 404}})
    with pytest.raises(NotFoundError, match=r"No batch found.*cancel"):
        job.wait(deadline=60, poll=0.005)


def test_a_batch_that_was_deleted_is_given_up(simulator: Simulator, file: Path) -> None:
    """Else its checkpoint could not be used for anything else."""
    gpt = responder(simulator)
    job = gpt.submit(PROMPTS, checkpoint=file)
    simulator.clear()
    with pytest.raises(NotFoundError):
        gpt.map(PROMPTS, checkpoint=file, progress=False)
    with job:
        job.cancel()
        assert (job.status, job.results().ok) == ("cancelled", False)
    assert gpt.map(PROMPTS, checkpoint=file, progress=False).ok


def test_what_has_just_ended_cannot_be_cancelled_and_is_read(openai: Played, file: Path) -> None:
    """OpenAI refuses to cancel it: no error of the job."""
    job = openai.job(file, ("400 Bad Request", {"error": {"message": "Cannot cancel a batch with status 'completed'."}}))
    ended = {"id": "b1", "status": "completed", "output_file_id": "file-o"}
    openai.say(ended, ended, b"".join(map(_line, openai.names())))
    job.cancel()
    assert job.wait(deadline=60, poll=0.005).results().ok


def test_large_bodies_are_never_held_together(openai: Played, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their sizes, each line is sent once, in order."""
    monkeypatch.setattr("responder.many.job_plan.BYTES_TOGETHER", 150)
    monkeypatch.setattr("responder.many.job_file.BYTES_TOGETHER", 150)
    openai.job(file)
    assert [read_name(name)[1] for name in openai.names()] == [0, 1, 2]  # type: ignore[index]  # each is a name of ours


def test_a_batch_that_failed_as_a_whole_fails_its_prompts(openai: Played, file: Path) -> None:
    """With the provider's own reason; a map asks them live."""
    told = {"object": "list", "data": [{"code": "invalid_json_line", "message": "This line is not JSON", "line": 2}]}
    job = openai.job(file, {"id": "b1", "status": "failed", "errors": told})
    results = job.wait(deadline=60, poll=0.005).results()
    assert job.status == "failed"
    assert [type(result.error) for result in results] == [BadRequestError] * 3
    assert "This line is not JSON (line 2)" in str(results[0].error)


def test_a_key_that_is_refused_is_renewed(serve: Any, file: Path) -> None:
    """Looking and reading use a callable's next key, as questions do."""
    keys = iter(["old-key-0123456789", "new-key-0123456789", *["newest-key-0123456789"] * 20])

    def provider(peer: Any) -> None:
        while request := peer.receive():
            if "newest" not in request.headers["authorization"]:
                peer.send(reply(b'{"error": {"message": "expired"}}', "401 Unauthorized"))
            elif request.target == "/v1/files":
                peer.send(reply(b'{"id": "file-1"}'))
            else:
                peer.send(reply(b'{"id": "b1", "status": "in_progress"}'))

    server = serve(provider)
    gpt = OpenAIResponder("m", base_url=f"{server.url}/v1", api_key=lambda: next(keys), max_retries=QUICK)
    assert gpt.submit(PROMPTS[:1], checkpoint=file).status == "running"


RECORDED = Path(__file__).parent / "wire" / "batches" / "recorded"


def test_recorded_results_are_read(tmp_path: Path) -> None:
    """What OpenAI and Anthropic really wrote into files of results, and what Gemini said of a batch."""
    for name, kind in (("openai_output", OpenAIResponder), ("anthropic_results", AnthropicResponder)):
        asked: Any = kind("m", api_key=KEY)
        form = asked.batches(asked)
        lines = json.loads((RECORDED / f"{name}.json").read_text())["response"]["body_text"].splitlines()
        outcomes = [form.outcome(json.loads(line)) for line in lines]
        assert all(outcome.what == "reply" and outcome.status == 200 for outcome in outcomes)
        assert all(asked.parse(outcome.body).text for outcome in outcomes)
        assert {outcome.name for outcome in outcomes} <= {"0", "1", "2"}
    gemini = GeminiResponder("gemini-3.5-flash", api_key=KEY)
    state = gemini.batches(gemini).read(json.loads((RECORDED / "gemini_submit.json").read_text())["response"]["body"])  # type: ignore[misc]  # no abstract one
    assert (state.id, state.status, state.total, state.done) == ("batches/gpv3pjje0g931jdhnalwqk9sv4pbqgjlqhi9", "running", 2, 0)


def test_each_provider_is_asked_in_its_own_words(tmp_path: Path) -> None:
    """The paths and bodies that their references name."""
    order = Order("job-1-0-0", "", 2, 100, {}, "file-1")
    asked: dict[str, Any] = {name: _plain(name, kind) for name, kind in KINDS.items()}
    made = {}
    for name, each in asked.items():
        form = each.batches(each)
        sending = form.creating(Order(order.mark, each.url(), 2, 100, {}, "file-1"))
        made[name] = sending.url.partition("//")[2].partition("/")[2], sending.before.decode()
    assert made["openai"][0] == "v1/batches"
    assert json.loads(made["openai"][1]) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"responder": "job-1-0-0"},
    }
    assert made["groq"][0] == "openai/v1/batches"
    assert made["azure"][0] == "openai/v1/batches"
    assert "metadata" not in json.loads(made["together"][1])
    assert made["mistral"][0] == "v1/batch/jobs"
    assert json.loads(made["mistral"][1])["model"] == "m"
    assert json.loads(made["xai"][1]) == {"name": "job-1-0-0", "input_file_id": "file-1"}
    assert made["anthropic"] == ("v1/messages/batches", '{"requests": [')
    assert made["gemini"][0] == "v1beta/models/m:batchGenerateContent"
    assert json.loads(made["gemini"][1])["batch"]["inputConfig"] == {"fileName": "file-1"}


def _plain(name: str, kind: Callable[..., Any]) -> Any:
    more = {"endpoint": "https://r.openai.azure.com"} if name == "azure" else {}
    return kind("m", api_key=KEY, **more)


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"num_requests": 0, "num_pending": 0}, "running"),
        ({"num_requests": 3, "num_pending": 1, "num_success": 2}, "running"),
        ({"num_requests": 3, "num_pending": 0, "num_success": 2, "num_error": 1}, "completed"),
    ],
)
def test_xai_counts_instead_of_naming_a_state(counts: dict[str, int], status: str) -> None:
    """Done is: there are lines, and none of them is pending."""
    grok: Any = XAIResponder("m", api_key=KEY)
    form = grok.batches(grok)
    assert form.read({"batch_id": "b", "state": counts}).status == status
    cancelled = {"batch_id": "b", "state": counts, "cancel_time": "2026-01-01", "cancel_by_xai_message": "bad file"}
    assert form.read(cancelled).status == "failed"
