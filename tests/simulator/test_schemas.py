"""The simulated providers refuse the schemas that the real ones refuse, and answer those that they take."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import requests

from responder.simulator import Fault, Simulator

GOOD: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


def nested(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object that OpenAI and Anthropic take, with this schema in it."""
    return {**GOOD, "properties": {"name": schema}, "$defs": {"N": {"type": "integer"}}}


def ask_openai(simulator: Simulator, schema: Any, strict: bool = True, **more: Any) -> requests.Response:
    """Ask with a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": strict}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": form, **more}
    return requests.post(simulator.base_url("openai") + "/chat/completions", json=body, timeout=60)


def ask_anthropic(simulator: Simulator, schema: Any) -> requests.Response:
    """Ask with a schema."""
    body = {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    url = simulator.base_url("anthropic") + "/v1/messages"
    return requests.post(url, json=body, headers={"anthropic-version": "2023-06-01"}, timeout=60)


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"type": "array", "items": {"type": "string"}}, 'type: "object"'),
        ({"anyOf": [GOOD]}, 'type: "object"'),
        ({**GOOD, "additionalProperties": True}, "additionalProperties"),
        ({**GOOD, "required": []}, "required"),
        (nested({"type": "string", "default": "x"}), "default"),
        (nested({"oneOf": [{"type": "string"}]}), "oneOf"),
        (nested({"$ref": "#/$defs/N", "description": "d"}), "$ref"),
        (nested({"type": "object", "additionalProperties": {"type": "integer"}}), "additionalProperties"),
        (nested({}), "'type' key"),
        (nested({"type": "string", "format": "uri"}), "uri"),
    ],
)
def test_openais_strict_mode_refuses_what_it_does_not_take(simulator: Simulator, schema: Any, word: str) -> None:
    """With a 400 that names the place; without `strict` it takes anything."""
    response = ask_openai(simulator, schema)
    assert response.status_code == 400
    assert word in response.json()["error"]["message"]
    assert ask_openai(simulator, schema, strict=False).status_code == 200


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (nested({"type": "integer", "minimum": 1}), "minimum"),
        (nested({"type": "string", "pattern": "a"}), "pattern"),
        (nested({"type": "array", "items": {"type": "string"}, "minItems": 2}), "minItems"),
        (nested({"type": "string", "format": "binary"}), "binary"),
        (nested({"type": "object", "additionalProperties": {"type": "integer"}}), "additionalProperties"),
        ({**GOOD, "properties": {"name": {"$ref": "#"}}}, "Circular"),
    ],
)
def test_anthropic_refuses_what_it_does_not_take(simulator: Simulator, schema: Any, word: str) -> None:
    """With a 400."""
    response = ask_anthropic(simulator, schema)
    assert response.status_code == 400
    assert word in response.json()["error"]["message"]


@pytest.mark.parametrize("ask", [ask_openai, ask_anthropic])
def test_a_schema_that_is_taken_is_answered_with_an_example(simulator: Simulator, ask: Any) -> None:
    """Also where an invalid one was ordered before, as often as it was ordered."""
    simulator.script(Fault.invalid_answer(times=2))
    texts = []
    for _ in range(3):
        body = ask(simulator, nested({"$ref": "#/$defs/N"})).json()
        texts.append(body["choices"][0]["message"]["content"] if "choices" in body else body["content"][0]["text"])
    assert texts == ['"simulated: does not fit"'] * 2 + ['{"name":1}']


def test_json_object_needs_the_word_and_takes_the_schema_from_the_prompt(simulator: Simulator) -> None:
    """As OpenAI and DeepSeek have it; DeepSeek takes no schema at all."""
    for provider, path in (("openai", "/chat/completions"), ("deepseek", "/chat/completions")):
        url = simulator.base_url(provider) + path
        body: dict[str, Any] = {"model": "m", "response_format": {"type": "json_object"}}
        messages = [{"role": "user", "content": "Hi"}]
        assert requests.post(url, json={**body, "messages": messages}, timeout=60).status_code == 400
        schema = '{"type": "object", "properties": {"a": {"type": "integer"}}}'
        messages.insert(0, {"role": "system", "content": f"Answer in JSON of this schema: {schema}"})
        answer = requests.post(url, json={**body, "messages": messages}, timeout=60).json()
        jsonschema.validate(answer["choices"][0]["message"]["content"], {"const": '{"a":1}'})
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": GOOD}}
    refused = requests.post(url, json={**body, "messages": messages, "response_format": form}, timeout=60)
    assert refused.status_code == 400
