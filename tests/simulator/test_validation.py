"""Wrong requests are refused as the provider itself refuses them: its status, its body."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from responder.simulator import Simulator

USER = [{"role": "user", "content": "hello"}]
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("provider", "body", "said"),
    [
        ("openai", {"messages": USER}, "must provide a model"),
        ("openai", {"model": "m"}, "Missing required parameter: 'messages'"),
        ("openai", {"model": "m", "messages": []}, "empty array"),
        ("openai", {"model": "m", "messages": [{"role": "human", "content": "x"}]}, "Invalid value: 'human'"),
        ("openai", {"model": "m", "messages": [{"role": "user", "content": None}]}, "content"),
        ("openai", {"model": "m", "messages": USER, "stream_options": {"include_usage": True}}, "stream_options"),
        ("openai", {"model": "m", "messages": USER, "top_k": 3}, "Unrecognized request argument supplied: top_k"),
        ("openai", {"model": "m", "messages": USER, "tool_choice": "required"}, "tool_choice"),
        ("openai", {"model": "m", "messages": USER, "max_tokens": 0}, "below minimum"),
        ("openai", {"model": "m", "messages": USER, "response_format": {"type": "json_schema"}}, "json_schema.name"),
        ("azure", {"messages": []}, "empty array"),
        ("anthropic", {"max_tokens": 9, "messages": USER}, "model: Field required"),
        ("anthropic", {"model": "m", "messages": USER}, "max_tokens: Field required"),
        ("anthropic", {"model": "m", "max_tokens": 9}, "messages: Field required"),
        ("anthropic", {"model": "m", "max_tokens": 9, "messages": []}, "at least one message"),
        ("anthropic", {"model": "m", "max_tokens": 9, "messages": [{"role": "system", "content": "x"}]}, "system"),
        ("anthropic", {"model": "m", "max_tokens": 9, "messages": USER, "seed": 1}, "seed: Extra inputs"),
        ("gemini", {}, "contents is not specified"),
        ("gemini", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role: user, model"),
        ("gemini", {"contents": [{"parts": [{"text": "x"}]}], "messages": []}, 'Unknown name "messages"'),
        ("vertex", {"contents": []}, "contents is not specified"),
        ("ollama", {"messages": USER}, "model is required"),
        ("ollama", {"model": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]}, "cannot unmarshal"),
    ],
)
def test_an_invalid_request_gets_a_400_in_the_words_of_the_provider(
    simulator: Simulator, wire: SimpleNamespace, provider: str, body: dict[str, Any], said: str
) -> None:
    """The message names what is wrong, where this provider puts its messages."""
    shape = wire.shape(provider)
    reply = requests.post(simulator.url + shape.path, json=body, headers=shape.headers, timeout=60)
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert said in (error if isinstance(error, str) else error["message"])
    assert simulator.received[0].outcome == "refused"


@pytest.mark.parametrize("provider", ["openai", "azure", "anthropic", "gemini", "vertex", "ollama"])
def test_a_body_that_is_not_json_is_refused(simulator: Simulator, wire: SimpleNamespace, provider: str) -> None:
    """With 400; the log keeps the text."""
    shape = wire.shape(provider)
    headers = {**shape.headers, "content-type": "application/json"}
    reply = requests.post(simulator.url + shape.path, data=b'{"model": ', headers=headers, timeout=60)
    assert (reply.status_code, simulator.received[0].body) == (400, '{"model": ')
    assert reply.json()["error"]


@pytest.mark.parametrize(("provider", "status"), [("openai", 400), ("anthropic", 415)])
def test_a_wrong_content_type_is_refused(simulator: Simulator, wire: SimpleNamespace, provider: str, status: int) -> None:
    """JSON must be announced as JSON."""
    shape = wire.shape(provider)
    content = json.dumps(shape.body)
    reply = requests.post(
        simulator.url + shape.path, data=content, headers={**shape.headers, "content-type": "text/plain"}, timeout=10
    )
    assert reply.status_code == status


def test_anthropic_wants_its_version_header(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Without anthropic-version: 400."""
    reply = requests.post(simulator.url + "/v1/messages", json=wire.shape("anthropic").body, timeout=60)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "anthropic-version: header is required")


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("/v1/nothing", {}, "param"),
        ("/v1/messages/nothing", VERSION, "type"),
        ("/v1beta/models/m:nothing", {}, "status"),
        ("/openai/nothing", {}, "code"),
    ],
)
def test_an_unknown_path_is_not_found_in_the_nearest_dialect(
    simulator: Simulator, path: str, headers: dict[str, str], shape: str
) -> None:
    """404, and the error has the field by which that dialect is known."""
    reply = requests.post(simulator.url + path, json={}, headers=headers, timeout=60)
    assert reply.status_code == 404
    assert shape in reply.json()["error"]


@pytest.mark.parametrize(
    ("host", "status", "read"),
    [
        ("mistral", 401, lambda body: body["message"]),
        ("xai", 400, lambda body: body["error"]),
        ("vllm", 401, lambda body: body["error"]["message"]),
        ("huggingface", 401, lambda body: body["error"]),
        ("openrouter", 401, lambda body: body["error"]["message"]),
    ],
)
def test_hosts_have_error_bodies_of_their_own(host: str, status: int, read: Any) -> None:
    """Each in its shape, each with a text."""
    with Simulator(api_key="right") as simulator:
        url = simulator.base_url(host) + "/chat/completions"
        reply = requests.post(url, json={"model": "m", "messages": USER}, headers={"authorization": "Bearer wrong"}, timeout=60)
    assert reply.status_code == status
    assert isinstance(read(reply.json()), str)
