"""Amazon Bedrock: keys and signatures, frames cut anywhere, and what Converse is sent and says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from providers.contract import event_frame, frame
from wire.player import Player, Sent

from responder import (
    AnthropicBedrockResponder,
    Audio,
    BedrockResponder,
    Citation,
    ConfigurationError,
    File,
    Image,
    InternalServerError,
    InvalidResponseError,
    Message,
    PermissionDeniedError,
    RateLimitError,
    ResponderError,
    StreamInterruptedError,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    user,
)
from responder.pace.registry import forget_limits
from responder.wire.events import BodyDecoder

JSON = {"content-type": "application/json"}
FRAMES = {"content-type": "application/vnd.amazon.eventstream"}
KEY = "bedrock-api-key-0123456789"
NOVA = "us.amazon.nova-micro-v1:0"
WEATHER = Tool("weather", "Tells the weather", {"type": "object", "properties": {"city": {"type": "string"}}})
RECORDED = Path(__file__).parents[1] / "wire" / "bedrock" / "converse_stream.json"


@pytest.fixture(autouse=True)
def _amazon_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def nova(player: Player, **keywords: Any) -> BedrockResponder:
    forget_limits()
    return BedrockResponder(NOVA, **{"api_key": KEY, "base_url": player.url, "max_retries": 0, **keywords})


def reply(*content: Any, stop: str = "end_turn", **usage: int) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": usage or {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12},
        "metrics": {"latencyMs": 1},
    }


def delta(index: int, **delta: Any) -> bytes:
    return event_frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abc"})


END = event_frame("messageStop", {"stopReason": "end_turn"}) + event_frame(
    "metadata", {"usage": {"inputTokens": 5, "outputTokens": 7}}
)


# Who we are


def test_a_key_of_bedrocks_is_all_that_is_needed(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its variable, in one header."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    player.play(200, JSON, reply({"text": "Hi."}))
    with nova(player, api_key=None) as model:
        assert model.answer("Hi").text == "Hi."
    assert player.last.values("authorization") == [f"Bearer {KEY}"]
    assert player.last.path == "/model/us.amazon.nova-micro-v1%3A0/converse"
    with nova(player, api_key=None) as model:
        assert KEY not in repr(model)
        assert KEY.encode() not in pickle.dumps(model)


def signature(sent: Sent, secret: str, day: str, scope: str, signed: str) -> str:
    """Return the signature of a request, worked out from Amazon's description of it (SigV4)."""
    path = sent.path.partition("?")[0]
    headers = {name: value.strip() for name, value in sent.headers}
    lines = "".join(f"{name}:{headers[name]}\n" for name in signed.split(";"))
    digest = hashlib.sha256(sent.body).hexdigest()
    canonical = "\n".join(["POST", quote(path, safe="/~"), "", lines, signed, digest])
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (day, *scope.split("/")[1:]):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def test_without_a_key_each_attempt_is_signed_anew(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the very bytes and the very path that are sent; the session's token goes along."""
    pytest.importorskip("botocore")
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    player.play(503, JSON, {"message": "busy"})
    player.then(200, JSON, reply({"text": "Hi."}))
    with nova(player, api_key=None, region="eu-central-1", max_retries=2) as model:
        assert model.answer("Grüße").text == "Hi."
        assert secret.encode() not in pickle.dumps(model)
        assert "AKID" not in repr(vars(model))
    assert len(player.sent) == 2
    for sent in player.sent:
        (authorization,) = sent.values("authorization")
        fields = dict(pair.split("=", 1) for pair in authorization.removeprefix("AWS4-HMAC-SHA256 ").split(", "))
        day = sent.values("x-amz-date")[0][:8]
        scope = f"{day}/eu-central-1/bedrock/aws4_request"
        assert fields["Credential"] == f"AKIDEXAMPLE/{scope}"
        assert fields["Signature"] == signature(sent, secret, day, scope, fields["SignedHeaders"])
        assert sent.values("x-amz-security-token") == ["a-session-token"]


def test_nobody_to_sign_says_what_to_do(player: Player) -> None:
    """Neither a key nor AWS credentials."""
    pytest.importorskip("botocore")
    with nova(player, api_key=None) as model, pytest.raises(ConfigurationError, match="AWS_BEARER_TOKEN_BEDROCK"):
        model.answer("Hi")


def test_without_botocore_a_missing_key_is_told_at_once(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both ways out."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"AWS_BEARER_TOKEN_BEDROCK=.*responder-sdk\[bedrock\]"):
        nova(player, api_key=None)


@pytest.mark.parametrize("kind", [BedrockResponder, AnthropicBedrockResponder])
def test_the_region_makes_the_url(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As given, or from the environment; none is told."""
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        kind("m", api_key=KEY)
    assert kind("m", api_key=KEY, region="eu-west-1").base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert kind("m", api_key=KEY).region == "us-west-2"
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert kind("m", api_key=KEY).region == "us-east-2"
    fips = kind("m", api_key=KEY, base_url="https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com")
    assert fips.region == "us-gov-west-1"
    with pytest.raises(ConfigurationError, match="not both"):
        kind("m", api_key=KEY, profile="mine")


# What is sent


def test_a_conversation_becomes_turns_that_alternate(player: Player) -> None:
    """With system texts, media, tools, a choice and limits in their places."""
    player.play(200, JSON, reply({"text": "Hi."}))
    prompt = [
        Message("system", "Be kind."),
        user("Look", Image(data=b"png"), Audio(data=b"mp3", media_type="audio/mpeg"), File(data=b"pdf", name="my_report.v2.pdf")),
        user("And?"),
        Message("assistant", [Text("I look."), ToolCall("c1", "weather", {"city": "Berlin"})]),
        Message("tool", ToolResult("c1", "sun", is_error=True)),
    ]
    with nova(player) as model:
        model.answer(
            prompt, tools=[WEATHER], tool_choice="weather", max_tokens=9, temperature=0, stop="x", reasoning_effort="low"
        )
    body = player.last.json
    assert body["system"] == [{"text": "Be kind."}]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [
        {"text": "Look"},
        {"image": {"format": "png", "source": {"bytes": "cG5n"}}},
        {"audio": {"format": "mp3", "source": {"bytes": "bXAz"}}},
        {"document": {"format": "pdf", "source": {"bytes": "cGRm"}, "name": "my report v2"}},
        {"text": "And?"},
    ]
    assert body["messages"][1]["content"][1] == {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Berlin"}}}
    result = {"toolUseId": "c1", "content": [{"text": "sun"}], "status": "error"}
    assert body["messages"][2]["content"] == [{"toolResult": result}]
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0, "stopSequences": ["x"]}
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "weather"}}
    assert body["outputConfig"] == {"effort": "low"}


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("Hi", {"seed": 1}, "no seed"),
        ("Hi", {"candidates": 2}, "no candidates"),
        ("Hi", {"tools": [WEATHER], "tool_choice": "none"}, "leave the tools out"),
        (user(Image(url="https://x.example/a.png")), {}, "as bytes"),
        (user(Image(data=b"x", detail="low")), {}, "detail"),
    ],
)
def test_what_converse_does_not_have_is_refused(player: Player, prompt: Any, options: dict[str, Any], words: str) -> None:
    """By its name, before anything is sent."""
    with nova(player) as model, pytest.raises(ConfigurationError, match=words):
        model.answer(prompt, **options)


# What comes back


def test_an_answers_parts_are_read(player: Player) -> None:
    """Thoughts, calls, cited text, and a usage that counts the cache beside the input."""
    cited = {"content": [{"text": "Sunny."}], "citations": [{"title": "A", "location": {"web": {"url": "https://a"}}}]}
    content = (
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"text": "It is: "},
        {"citationsContent": cited},
        {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Berlin"}}},
    )
    usage = {
        "inputTokens": 5,
        "outputTokens": 7,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokenCount": 10,
        "totalTokens": 122,
    }
    player.play(200, JSON, reply(*content, stop="tool_use", **usage))
    with nova(player) as model:
        answer = model.answer("Hi")
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("It is: Sunny.", "Hm.", "tool_calls")
    assert answer.tool_calls == (ToolCall("t1", "weather", {"city": "Berlin"}),)
    assert answer.citations == (Citation("https://a", "A", "", 7, 13),)
    assert (answer.usage.input_tokens, answer.usage.cached_input_tokens, answer.usage.cache_write_tokens) == (115, 100, 10)


@pytest.mark.parametrize(
    ("status", "name", "message", "kind", "retryable"),
    [
        (429, "ThrottlingException", "Too many requests", RateLimitError, True),
        (429, "ModelNotReadyException", "Not ready", RateLimitError, True),
        (424, "ModelErrorException", "The model failed", InternalServerError, True),
        (403, "AccessDeniedException", "No access to the model", PermissionDeniedError, False),
        (503, "ServiceUnavailableException", "Down", InternalServerError, True),
    ],
)
def test_an_error_is_named_by_its_header(
    player: Player, status: int, name: str, message: str, kind: type[ResponderError], retryable: bool
) -> None:
    """`x-amzn-errortype`, which may go on after a colon; whole answers and streams alike."""
    for ask in (lambda model: model.answer("Hi"), lambda model: list(model.stream("Hi"))):
        player.play(status, {**JSON, "x-amzn-errortype": f"{name}:http://internal"}, {"message": message})
        with nova(player) as model, pytest.raises(kind, match=message) as caught:
            ask(model)
        error: Any = caught.value
        assert (error.code, error.retryable, error.status) == (name, retryable, status)


def test_thoughts_go_back_with_their_signature(player: Player) -> None:
    """Before the call that they led to."""
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}}
    use = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Berlin"}}}
    player.play(200, JSON, reply(thought, {"text": "I look."}, use, stop="tool_use"))
    with nova(player) as model:
        first = model.answer("Hi", tools=[WEATHER])
        model.answer([user("Hi"), first.message, Message("tool", ToolResult("t1", "sun"))], tools=[WEATHER])
    assert player.last.json["messages"][1] == {"role": "assistant", "content": [thought, {"text": "I look."}, use]}


def test_a_schema_that_converse_refuses_is_told_in_words(player: Player) -> None:
    """Objects of any keys; bounds go into the descriptions."""
    player.play(200, JSON, reply({"text": '{"a": 5}'}))
    bounded = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}
    with nova(player) as model:
        model.answer("Hi", schema=bounded)
        sent = json.loads(player.last.json["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
        assert sent["properties"]["a"] == {"type": "integer", "description": "{minimum: 3}"}
        model.answer("Hi", schema={"type": "object", "additionalProperties": {"type": "integer"}})
    assert "outputConfig" not in player.last.json
    assert "JSON Schema" in player.last.json["system"][0]["text"]


# Streams


def streamed(player: Player, body: bytes, kind: Any = None) -> tuple[str, Any]:
    player.play(200, FRAMES, body)
    with nova(player) as model, model.stream("Hi") as stream:
        try:
            text = "".join(stream)
        except ResponderError as error:
            return stream.text, error
    return text, stream.answer


def test_a_streams_blocks_are_put_together(player: Player) -> None:
    """Text without a start, thoughts with their signature, a tool's input in pieces."""
    body = event_frame("messageStart", {"role": "assistant"})
    body += delta(0, reasoningContent={"text": "Hm."}) + delta(0, reasoningContent={"signature": "sig"})
    body += delta(1, text="Let me ") + delta(1, text="look.") + event_frame("contentBlockStop", {"contentBlockIndex": 1})
    start = {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "weather"}}}
    body += (
        event_frame("contentBlockStart", start)
        + delta(2, toolUse={"input": '{"city":'})
        + delta(2, toolUse={"input": ' "Berlin"}'})
    )
    body += event_frame("messageStop", {"stopReason": "tool_use"}) + event_frame(
        "metadata", {"usage": {"inputTokens": 5, "outputTokens": 7}}
    )
    text, answer = streamed(player, body)
    assert (text, answer.reasoning, answer.finish_reason) == ("Let me look.", "Hm.", "tool_calls")
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [("t1", "weather", {"city": "Berlin"})]
    assert answer.usage.total_tokens == 12
    assert player.last.path.endswith("/converse-stream")
    assert player.last.values("accept") == ["*/*"]


@pytest.mark.parametrize(
    ("name", "kind", "retryable"),
    [
        ("throttlingException", RateLimitError, True),
        ("modelStreamErrorException", InternalServerError, True),
        ("internalServerException", InternalServerError, True),
        ("serviceUnavailableException", InternalServerError, True),
        ("validationException", ResponderError, False),
    ],
)
def test_an_exception_inside_a_stream_is_its_error_and_keeps_the_text(
    player: Player, name: str, kind: type[ResponderError], retryable: bool
) -> None:
    """As an exception and as an error without a model."""
    body = delta(0, text="Half") + frame({"message": "It broke"}, message_type="exception", exception_type=name)
    text, error = streamed(player, body)
    assert (text, type(error).__mro__[0] is kind or isinstance(error, kind)) == ("Half", True)
    assert (error.code, error.retryable) == (name, retryable)
    assert "It broke" in str(error)


def test_an_error_frame_without_json_is_told(player: Player) -> None:
    """Its words stand in its headers."""
    body = frame(b"", message_type="error", error_code="InternalError", error_message="gone wrong")
    _, error = streamed(player, delta(0, text="x") + body)
    assert (error.code, "gone wrong" in str(error)) == ("InternalError", True)


def test_a_stream_that_ends_inside_a_frame_was_interrupted(player: Player) -> None:
    """What came is kept."""
    text, error = streamed(player, (delta(0, text="Half") + END)[:-3].partition(b":event-type\x07\x00\x0bmessageStop")[0])
    assert (text, type(error)) == ("Half", StreamInterruptedError)


@pytest.mark.parametrize("place", [2, 9, 40, -2])
def test_a_frame_whose_checksum_is_wrong_is_not_believed(player: Player, place: int) -> None:
    """Wherever the wrong byte is; what came before it counts."""
    broken = bytearray(delta(0, text="evil"))
    broken[place] ^= 1
    text, error = streamed(player, delta(0, text="good") + bytes(broken) + END)
    assert text == "good"
    assert isinstance(error, (InvalidResponseError, StreamInterruptedError))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 200), max_size=60))
def test_frames_may_be_cut_anywhere(sizes: list[int]) -> None:
    """The recorded stream, in pieces of any sizes, gives the same events."""
    body = base64.b64decode(json.loads(RECORDED.read_text())["response"]["body_base64"])
    decoder, events, rest = BodyDecoder(), [], body
    for size in sizes:
        events += decoder.feed(rest[:size])
        rest = rest[size:]
    events += [*decoder.feed(rest), *decoder.close()]
    whole = BodyDecoder()
    assert events == [*whole.feed(body), *whole.close()]
    assert len(events) == 33


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken_for_frames_without_a_fault(data: bytes) -> None:
    """They become events, or a broken frame."""
    decoder = BodyDecoder()
    decoder.feed(b"\0" + data)
    decoder.feed(data)
    decoder.close()


# Claude there, in its own dialect


def test_claude_on_bedrock_speaks_its_own_dialect(player: Player) -> None:
    """The URL names the model; a stream's events are in base64 inside frames."""
    forget_limits()
    message = {
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }
    player.play(200, JSON, {**message, "model": "claude-x"})
    claude = AnthropicBedrockResponder("us.anthropic.claude-v1:0", api_key=KEY, base_url=player.url, max_retries=0)
    assert claude.answer("Hi", max_tokens=9).text == "Hi."
    assert player.last.path == "/model/us.anthropic.claude-v1%3A0/invoke"
    assert player.last.json == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert player.last.values("authorization") == [f"Bearer {KEY}"]

    chunks = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]
    player.play(
        200, FRAMES, b"".join(event_frame("chunk", {"bytes": base64.b64encode(json.dumps(c).encode()).decode()}) for c in chunks)
    )
    with claude.stream("Hi") as stream:
        assert list(stream) == ["Hi."]
    assert stream.usage.total_tokens == 12
    assert player.last.path.endswith("/invoke-with-response-stream")
    assert "stream" not in player.last.json
    claude.close()
