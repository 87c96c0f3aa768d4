"""The providers' own SDKs as clients of the batch APIs: what they accept is the shape that batches have."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from responder.simulator import Fault, Simulator

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
genai = pytest.importorskip("google.genai")

PROMPTS = {"a": "What is baseball?", "b": "What is cricket?", "c": "What is golf?", "d": "What is chess?"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Four hours for a batch."""
    with Simulator(batch_hours=4) as running:
        yield running


def lines() -> bytes:
    """Return the prompts as a file of OpenAI's."""
    made = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": prompt}]},
        }
        for name, prompt in PROMPTS.items()
    ]
    return "\n".join(map(json.dumps, made)).encode()


@pytest.mark.parametrize("provider", ["openai", "groq", "azure"])
def test_the_openai_sdk_runs_a_batch(provider: str, simulator: Simulator) -> None:
    """File, batch, states, counts, the two files of results, and the list."""
    simulator.script_for("golf", Fault.status(400, message="no golf"))
    url = simulator.base_url(provider) + ("/openai/v1" if provider == "azure" else "")
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        uploaded = client.files.create(file=("lines.jsonl", lines()), purpose="batch")
        batch = client.batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"name": "n"},
        )
        assert batch.status == "in_progress"
        simulator.advance(2)
        looked = client.batches.retrieve(batch.id)
        assert (looked.status, looked.request_counts.completed, looked.request_counts.total) == ("in_progress", 2, 4)
        assert (looked.metadata, looked.input_file_id, looked.output_file_id) == ({"name": "n"}, uploaded.id, None)
        simulator.advance(3)
        done = client.batches.retrieve(batch.id)
        assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 3, 1)
        found = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
        assert {line["custom_id"] for line in found} == {"a", "b", "d"}
        assert [line["custom_id"] for line in found] != ["a", "b", "d"]  # their order means nothing
        (failed,) = [json.loads(line) for line in client.files.content(done.error_file_id).text.splitlines()]
        assert (failed["custom_id"], failed["response"]["status_code"]) == ("c", 400)
        assert [each.id for each in client.batches.list()] == [batch.id]
        other = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert client.batches.cancel(other.id).status == "cancelled"
        assert [each.id for each in client.batches.list(limit=1)] == [other.id, batch.id]  # page by page
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve("batch_unknown")
    with openai.OpenAI(base_url=url, api_key="another", max_retries=0) as stranger:
        assert not list(stranger.batches.list())
    assert simulator.batches[0].prompts == ("What is baseball?", "What is cricket?", "What is chess?")


def test_the_anthropic_sdk_runs_a_batch(simulator: Simulator) -> None:
    """Requests in the body, one file of results, and what expired in it."""
    simulator.script_for("baseball", Fault.status(400, message="no baseball"))
    with anthropic.Anthropic(base_url=simulator.base_url("anthropic"), api_key="k", max_retries=0) as client:
        batch = client.messages.batches.create(
            requests=[
                {"custom_id": name, "params": {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": prompt}]}}
                for name, prompt in PROMPTS.items()
            ]
        )
        assert (batch.processing_status, batch.request_counts.processing, batch.results_url) == ("in_progress", 4, None)
        simulator.advance(2)
        stopped = client.messages.batches.cancel(batch.id)
        assert stopped.processing_status == "ended"
        counts = stopped.request_counts
        assert (counts.succeeded, counts.errored, counts.canceled, counts.processing) == (1, 1, 2, 0)
        found = {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}
        assert {name: result.type for name, result in found.items()} == {
            "a": "errored",
            "b": "succeeded",
            "c": "canceled",
            "d": "canceled",
        }
        assert found["b"].message.content[0].text == "Simulated answer to: What is cricket?"
        assert found["a"].error.error.message == "no baseball"
        assert [each.id for each in client.messages.batches.list()] == [batch.id]


@pytest.mark.parametrize("form", ["inline", "file"])
def test_the_google_sdk_runs_a_batch(form: str, simulator: Simulator) -> None:
    """Lines in the request, or in a file; the results likewise."""
    options = genai.types.HttpOptions(base_url=simulator.base_url("gemini"))
    with genai.Client(api_key="k", http_options=options) as client:
        contents = [{"parts": [{"text": prompt}], "role": "user"} for prompt in PROMPTS.values()]
        if form == "inline":
            source = [{"contents": [content]} for content in contents]
        else:
            made = [{"key": name, "request": {"contents": [content]}} for name, content in zip(PROMPTS, contents, strict=True)]
            text = "\n".join(map(json.dumps, made)).encode()
            source = client.files.upload(file=io.BytesIO(text), config={"mime_type": "application/jsonl"}).name
        job = client.batches.create(model="gemini-3.5-flash", src=source, config={"display_name": "n"})
        assert job.state.name == "JOB_STATE_RUNNING"
        simulator.advance(5)
        done = client.batches.get(name=job.name)
        assert (done.state.name, done.display_name) == ("JOB_STATE_SUCCEEDED", "n")
        if form == "inline":
            texts = [each.response.text for each in done.dest.inlined_responses]
        else:
            file = client.files.download(file=done.dest.file_name).decode()
            texts = [json.loads(line)["response"]["candidates"][0]["content"]["parts"][0]["text"] for line in file.splitlines()]
        assert sorted(texts) == sorted(f"Simulated answer to: {prompt}" for prompt in PROMPTS.values())
        assert [each.name for each in client.batches.list()] == [job.name]
