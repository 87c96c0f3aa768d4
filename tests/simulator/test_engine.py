"""Whatever comes, the engine has an answer; and what users put into it is guarded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import responder.simulator
from responder.simulator import Simulator
from responder.simulator.engine import Engine, Settings

PATHS = [
    "/v1/chat/completions",
    "/openai/deployments/d/chat/completions?api-version=1",
    "/v1/messages",
    "/v1beta/models/m:generateContent",
    "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse",
    "/api/chat",
    "/hosts/mistral/v1/chat/completions",
    "/token",
]
HEADERS = {"content-type": "application/json", "anthropic-version": "1", "authorization": "Bearer k"}
# Values of the wrong type at every depth that a dialect looks into.
ODD = [
    None, True, 0, -1, 10**30, 1.5, "", "x", [], {}, [1], [None], ["x"], [{}], [[]],
    {"type": 1}, {"type": "tool"}, {"type": "any"},
    {"type": "json_schema"}, {"type": "json_schema", "json_schema": 3}, {"type": "json_schema", "schema": 3},
    {"format": 3},
    {"format": {"type": "json_schema", "schema": [1]}}, {"type": "enabled", "budget_tokens": "x"},
    {"include_usage": 1},
    [{"role": "user"}], [{"role": "user", "content": 3}], [{"role": "user", "content": [3]}],
    [{"role": "user", "parts": 3}],
    [{"role": "user", "content": [{"type": "text", "text": 3}]}], [{"role": "user", "parts": [{"text": 3}]}],
    [{"parts": [3]}],
    [{"role": "user", "content": "\ud800"}], [{"role": ["user"], "content": "x"}], {"parts": 3},
    {"parts": [{"text": [1]}]},
    {"maxOutputTokens": "x"}, {"stopSequences": 3}, {"responseSchema": 3, "responseMimeType": "application/json"},
    {"responseSchema": {"type": 3, "properties": 3}, "responseMimeType": "application/json"}, {"thinkingConfig": 3},
    {"functionCallingConfig": 3}, {"functionCallingConfig": {"mode": "ANY"}}, {"function": {"name": "f"}},
    {"function": 3},
    [{"function": {"name": "f", "parameters": 3}}], [{"functionDeclarations": 3}], [{"name": "f", "input_schema": 3}],
    {"num_predict": "x", "stop": 3},
]  # fmt: skip
FIELDS = [
    "model", "messages", "max_tokens", "stream", "stop", "n", "tools", "tool_choice", "response_format",
    "stream_options", "system",
    "thinking", "output_config", "contents", "generationConfig", "systemInstruction", "toolConfig",
    "options", "format",
]  # fmt: skip
USER = {"role": "user", "content": "hi", "parts": [{"text": "hi"}]}
GOOD = {"model": "m", "max_tokens": 9, "messages": [USER]}


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    good=st.booleans(),
    fields=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(ODD), max_size=3),
)
def test_any_json_gets_an_answer_or_a_refusal(path: str, good: bool, fields: dict[str, Any]) -> None:
    """No body of whatever shape makes the engine raise; what comes out is a reply with a status."""
    engine = Engine(Settings())
    body = {**(GOOD if good else {}), **fields}
    call, dialect, entry = engine.read("POST", path, HEADERS, json.dumps(body).encode())
    verdict = engine.judge(call, dialect, entry)
    assert verdict.reply.status in (200, 400, 404, 422)
    assert isinstance(verdict.reply.whole(), bytes)


def asked_of_a_schema(**schema: Any) -> dict[str, Any]:
    """The body that asks for an answer that fits a schema."""
    whole = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return {**GOOD, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": whole}}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**GOOD, "n": 10**30}),
        ("/v1/chat/completions", {**GOOD, "n": 129}),
        ("/v1beta/models/m:generateContent", {"contents": [USER], "generationConfig": {"candidateCount": 10**9}}),
        ("/v1/embeddings", {"model": "m", "input": ["a"], "dimensions": 10**30}),
        (
            "/v1beta/models/m:batchEmbedContents",
            {"requests": [{"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 10**9}]},
        ),
        ("/v1/chat/completions", asked_of_a_schema(type="string", minLength=10**30)),
        ("/v1/chat/completions", asked_of_a_schema(type="array", items={"type": "integer"}, minItems=10**9)),
        (
            "/v1/chat/completions",
            asked_of_a_schema(
                type="array", minItems=10**4, items={"type": "array", "items": {"type": "null"}, "minItems": 10**4}
            ),
        ),
    ],
    ids=[
        "choices",
        "one_choice_too_many",
        "candidates",
        "dimensions",
        "googles_dimensions",
        "letters",
        "items",
        "items_of_items",
    ],
)
def test_what_would_never_end_is_refused(path: str, body: dict[str, Any]) -> None:
    """As providers refuse it: the memory of the simulator's machine has an end, too."""
    engine = Engine(Settings())
    call, dialect, entry = engine.read("POST", path, HEADERS, json.dumps(body).encode())
    reply = engine.judge(call, dialect, entry).reply
    assert reply.status == 400, reply.whole()


def test_a_pattern_that_repeats_without_end_is_cut() -> None:
    """No provider of ours says how long a text of a pattern may be."""
    body = asked_of_a_schema(type="string", pattern="^((ab){50000}){50000}$")
    engine = Engine(Settings())
    call, dialect, entry = engine.read("POST", "/v1/chat/completions", HEADERS, json.dumps(body).encode())
    assert len(engine.judge(call, dialect, entry).reply.whole()) < 1_000_000


@settings(deadline=None)
@given(st.binary(max_size=40), st.sampled_from(PATHS))
def test_any_bytes_get_an_answer_or_a_refusal(content: bytes, path: str) -> None:
    """Not even JSON is needed."""
    engine = Engine(Settings())
    call, dialect, entry = engine.read("POST", path, HEADERS, content)
    assert engine.judge(call, dialect, entry).reply.status in (200, 400)


@pytest.mark.parametrize("reply", [lambda prompt: 1 / 0, lambda prompt: None])
def test_a_reply_function_that_fails_is_a_500_that_says_so(wire: SimpleNamespace, reply: Any) -> None:
    """The client gets an answer, and the server goes on."""
    with Simulator(reply=reply) as simulator:
        seen = wire.ask(simulator)
        assert seen.status == 500
        assert b"reply function" in seen.body
        assert wire.ask(simulator).status == 500


def test_users_get_the_fixture(tmp_path: Path) -> None:
    """With the plugin loaded, a test that asks for `simulator` has a running one."""
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(simulator):\n    assert simulator.base_url('groq').endswith('/openai/v1')\n"
    )
    source = str(Path(responder.simulator.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "responder.simulator.fixture", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
