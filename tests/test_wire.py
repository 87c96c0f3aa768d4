"""Real traffic, served again: what each provider's responder sends, and what it makes of the reply."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from wire.expected import BESIDE, EXCHANGES, STREAMS, WHOLE, Answered, Exchange, Failed
from wire.player import Player

from responder import APIError, Responder, for_model
from responder.pace.registry import forget_limits
from responder.providers import PROVIDERS

KEY = "not-a-real-key"
# Errors that we read, to questions that were put in another way: a stream, or in a dialect that its provider does not have.
OTHER_DIALECTS = ("deepseek/error_400_octet_stream", "bedrock/error_400", "bedrock/converse_stream_error_400")


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with Player() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_api_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)


def responder_for(exchange: Exchange, url: str) -> Responder:
    """Return the responder that would have asked, pointed at a server of ours."""
    forget_limits()  # a refusal in one test must not slow down the next one
    path = urlsplit(PROVIDERS[exchange.provider].base_url).path if exchange.base_path is None else exchange.base_path
    keywords = {"api_key": KEY, "base_url": url + path, "max_retries": 0, **exchange.options}
    return for_model(f"{exchange.provider}:{exchange.model}", **keywords)


def ask(exchange: Exchange, player: Player) -> Any:
    """Return the answer to an exchange's question, or the error that came instead."""
    response = exchange.file["response"]
    player.play(response["status"], response["headers"], exchange.body)
    with responder_for(exchange, player.url) as responder:
        try:
            return responder.answer(exchange.prompt)
        except APIError as error:
            return error


def named(exchanges: Any) -> Any:
    return pytest.mark.parametrize("exchange", [pytest.param(exchange, id=exchange.name) for exchange in exchanges])


def test_every_recording_has_its_line_in_the_table() -> None:
    """And every line has its recording; embeddings, and refusals of them, have a table of their own."""
    found = Path(__file__).parent.glob("wire/*/*.json")
    vectors = ("voyage/error_400", "voyage/embeddings_base64", "cohere/error_404")
    paths = [path for path in found if not path.stem.startswith("embed") and f"{path.parent.name}/{path.stem}" not in vectors]
    files = {path.relative_to(path.parents[1]).with_suffix("").as_posix() for path in paths}
    assert files == {exchange.name for exchange in EXCHANGES} | set(BESIDE)


@named(exchange for exchange in WHOLE if isinstance(exchange.expected, Answered))
def test_a_recorded_reply_becomes_the_answer_that_its_bytes_say(player: Player, exchange: Exchange) -> None:
    """Text, finish reason, usage, tool calls, model and request id."""
    answer, expected = ask(exchange, player), exchange.expected
    assert isinstance(expected, Answered)
    assert answer.text == expected.text
    assert answer.finish_reason == expected.finish_reason
    assert answer.usage == expected.usage
    assert answer.reasoning == expected.reasoning
    assert answer.tool_calls == expected.tool_calls
    assert answer.model == expected.model
    assert answer.provider == exchange.provider
    assert answer.request_id == expected.request_id
    assert answer.raw == exchange.file["response"]["body"]


@named(exchange for exchange in WHOLE if isinstance(exchange.expected, Failed))
def test_a_recorded_failure_becomes_the_error_that_its_bytes_say(player: Player, exchange: Exchange) -> None:
    """Its class, and what decides whether and when it is tried again."""
    error, expected = ask(exchange, player), exchange.expected
    assert isinstance(expected, Failed)
    assert type(error).__name__ == expected.kind
    assert error.retryable is expected.retryable
    assert error.retry_after == pytest.approx(expected.retry_after)
    assert error.status == expected.status
    assert error.code == expected.code
    assert error.request_id == expected.request_id
    assert error.fatal is expected.fatal
    assert error.provider == exchange.provider
    assert error.model == exchange.model
    assert expected.says in str(error)
    if expected.finish_reason is not None:
        assert error.finish_reason == expected.finish_reason
        assert error.usage == expected.usage
        assert error.text == expected.text


def read(exchange: Exchange, player: Player) -> tuple[Any, APIError | None]:
    """Return the stream of an exchange, read to its end, and the error that it ended with."""
    response = exchange.file["response"]
    player.play(response["status"], response["headers"], exchange.body)
    with responder_for(exchange, player.url) as responder, responder.stream(exchange.prompt) as stream:
        try:
            pieces = "".join(stream)
        except APIError as error:
            return stream, error
    assert pieces == stream.text
    return stream, None


@named(exchange for exchange in STREAMS if isinstance(exchange.expected, Answered))
def test_a_recorded_stream_becomes_the_answer_that_its_bytes_say(player: Player, exchange: Exchange) -> None:
    """The same Answer that a whole reply gives."""
    (stream, error), expected = read(exchange, player), exchange.expected
    assert isinstance(expected, Answered)
    assert error is None
    answer = stream.answer
    assert answer.text == expected.text
    assert answer.finish_reason == expected.finish_reason
    assert answer.usage == expected.usage
    assert answer.reasoning == expected.reasoning
    assert answer.tool_calls == expected.tool_calls
    assert answer.model == expected.model
    assert answer.request_id == expected.request_id


@named(exchange for exchange in STREAMS if isinstance(exchange.expected, Failed))
def test_a_recorded_stream_that_fails_raises_what_its_bytes_say_and_keeps_its_text(player: Player, exchange: Exchange) -> None:
    """What came before the error is not lost."""
    (stream, error), expected = read(exchange, player), exchange.expected
    assert isinstance(expected, Failed)
    assert error is not None
    assert type(error).__name__ == expected.kind
    assert error.code == expected.code
    assert error.request_id == expected.request_id
    assert expected.status in (None, error.status)
    assert expected.says in str(error)
    assert stream.text == expected.text
    assert stream.reasoning == expected.reasoning
    if expected.usage.known:
        assert stream.usage == expected.usage


@named(exchange for exchange in EXCHANGES if exchange.is_recorded and exchange.name not in OTHER_DIALECTS)
def test_what_is_sent_is_what_the_recorded_client_sent(player: Player, exchange: Exchange) -> None:
    """Key by key, apart from what the recorded client sends without a need (see `comparable`)."""
    ask(exchange, player)
    assert comparable(player.last.json) == comparable(exchange.file["request"]["body"])


@named(exchange for exchange in WHOLE if exchange.name not in OTHER_DIALECTS)
def test_a_question_goes_to_the_recorded_path_as_json_with_the_key_in_its_header(player: Player, exchange: Exchange) -> None:
    """The key stands in one header, as the provider wants it, and nowhere in the URL."""
    ask(exchange, player)
    recorded, sent = urlsplit(exchange.file["request"]["url"]), player.last
    assert urlsplit(sent.path).path == recorded.path
    wanted = {name: value for name, value in parse_qs(recorded.query).items() if name != "beta"}  # a habit of Anthropic's SDK
    assert parse_qs(urlsplit(sent.path).query) == wanted
    assert sent.values("content-type") == ["application/json"]
    secret = "a-token" if exchange.provider == "vertex" else KEY
    header, value = {
        "azure": ("api-key", secret),
        "gemini": ("x-goog-api-key", secret),
        "anthropic": ("x-api-key", secret),
    }.get(exchange.provider, ("authorization", f"Bearer {secret}"))
    assert [name for name, found in sent.headers if secret in found] == [header]
    assert sent.values(header) == [value]
    assert sent.values("anthropic-version") == (["2023-06-01"] if exchange.provider == "anthropic" else [])


@named(EXCHANGES)
def test_a_recording_holds_no_key(exchange: Exchange) -> None:
    """Nor anything that looks like one."""
    text = json.dumps(exchange.file)
    assert not re.search(r"sk-[A-Za-z0-9]{20,}|AIza|Bearer |ya29\.", text)
    assert not {"authorization", "x-api-key", "api-key", "cookie"} & set(exchange.file["request"]["headers"])


def comparable(value: Any) -> Any:
    """Return a payload without what says nothing: defaults, and other spellings of the same.

    | the recorded client sends | which means the same as |
    | --- | --- |
    | `n: 1`, `stream`, `stream_options`, `tools: []`, `format: ""` | nothing |
    | `generationConfig: {}`, `responseModalities: ["TEXT"]` | nothing |
    | a role in `systemInstruction`, Gemini's `model` in the body | nothing |
    | `strict` on a tool, `name` and `description` of a schema, `cache_control` | a choice of that client |
    | `parameters_json_schema` | `parametersJsonSchema` |
    | `max_completion_tokens` | `max_tokens` |
    | content (or Anthropic's `system`) as a list of one text | the text |
    """
    if not isinstance(value, dict):
        return value
    found = {key: value[key] for key in value if key not in ("n", "stream", "stream_options") and value[key] != ""}
    if "max_completion_tokens" in found:
        found["max_tokens"] = found.pop("max_completion_tokens")
    if "contents" in found:
        found.pop("model", None)
        found.get("systemInstruction", {}).pop("role", None)
        config = {key: part for key, part in found.pop("generationConfig", {}).items() if part not in (["TEXT"], 1)}
        found["generationConfig"] = config
    if "inferenceConfig" in found:
        return _of_converse(found)
    if "input" in found:
        return {**found, **_of_a_response(found)}
    found["messages"] = [{**message, "content": _text(message["content"])} for message in found.get("messages", ())]
    found["system"] = _text(found.get("system"))
    found["tools"] = [_tool(tool) for tool in found.get("tools", ())]
    if "response_format" in found:
        wanted = found["response_format"]["json_schema"]
        found["response_format"] = {**found["response_format"], "json_schema": [wanted["schema"], wanted["strict"]]}
    return found


def _of_converse(found: dict[str, Any]) -> dict[str, Any]:
    """Return a question of Converse's in one form: a schema is JSON in a text, and its name is a choice of each client."""
    made = {key: value for key, value in found.items() if value != []}
    if "outputConfig" in made:
        wanted = made["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        made["outputConfig"] = json.loads(wanted["schema"])
    return made


def _of_a_response(found: dict[str, Any]) -> dict[str, Any]:
    """Return a question of the Responses API in one form: how it is stored is a choice of each client."""
    items = list(found["input"])
    instructions = found.get("instructions") or ""
    if items[0].get("role") == "system":
        instructions = items.pop(0)["content"][0]["text"]
    items = [{**item, "content": _text(item["content"])} if "role" in item else item for item in items]
    tools = [{**_tool(tool), "description": tool["description"] or ""} for tool in found.get("tools", ())]
    return {"instructions": instructions, "input": items, "tools": tools, "store": None, "include": None}


def _text(content: Any) -> Any:
    is_one_text = isinstance(content, list) and len(content) == 1 and content[0].get("type") in ("text", "input_text")
    return content[0]["text"] if is_one_text else content


def _tool(tool: dict[str, Any]) -> Any:
    if "functionDeclarations" in tool:
        return [
            {key.replace("parameters_json_schema", "parametersJsonSchema"): value for key, value in declared.items()}
            for declared in tool["functionDeclarations"]
        ]
    function = tool.get("function", tool)
    return {key: value for key, value in function.items() if key != "strict"}
