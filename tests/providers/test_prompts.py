"""Nothing of a prompt is dropped: all that was given stands in the payload, or an error names what cannot be sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from providers.contract import answered, documented, make, outcome
from wire.player import Player

from responder import (
    Audio,
    ConfigurationError,
    File,
    Image,
    Message,
    Raw,
    Responder,
    ToolCall,
    ToolResult,
    assistant,
    system,
    user,
)
from responder.values.messages import as_messages
from responder.values.options import Options

EVERYONE = ["openai", "azure", "groq", "mistral", "deepseek", "gemini", "vertex", "anthropic", "ollama", "ollama-native"]
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


@pytest.fixture(scope="module", params=EVERYONE)
def responder(request: pytest.FixtureRequest) -> Iterator[Responder]:
    """One of each way to write a prompt."""
    with make(request.param.removesuffix("-native"), f"http://127.0.0.1:9{'/v1' if request.param == 'ollama' else ''}") as made:
        yield made


def sent(responder: Responder, prompt: Any) -> str:
    """Return the payload for a prompt as text, or the message of the error that refuses it."""
    try:
        return json.dumps(responder.payload(as_messages(prompt), Options()), ensure_ascii=False)
    except (ConfigurationError, ValueError, TypeError) as error:
        return f"refused: {error}"


# One by one


def test_a_mark_on_a_text_reaches_those_who_have_it(player: Player) -> None:
    """OpenRouter and Anthropic take `cache_control`; Google has no such form."""
    for provider in ("openrouter", "anthropic", "openai"):
        for prompt in ([{"role": "user", "content": [MARKED]}], [user(Raw(MARKED))]):
            answered(player, provider, documented(provider), prompt=prompt)
            assert player.last.json["messages"] == [{"role": "user", "content": [MARKED]}]
    error = outcome(player, "gemini", documented("gemini"), prompt=[{"role": "user", "content": [MARKED]}])
    assert isinstance(error, ConfigurationError)
    assert "cache_control" in str(error)


def test_what_stands_in_a_system_message_reaches_everybody(player: Player) -> None:
    """As blocks where Anthropic is asked; pictures it does not take there."""
    prompt = [{"role": "system", "content": ["Be kind.", MARKED]}, user("Hi")]
    answered(player, "anthropic", documented("anthropic"), prompt=prompt)
    assert player.last.json["system"] == [{"type": "text", "text": "Be kind."}, MARKED]
    answered(player, "openai", documented("openai"), prompt=prompt)
    assert player.last.json["messages"][0]["content"] == [{"type": "text", "text": "Be kind."}, MARKED]
    picture = [system("Look", Image(data=b"png")), user("Hi")]
    answered(player, "gemini", documented("gemini"), prompt=picture)
    assert player.last.json["systemInstruction"]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": "cG5n"}}
    error = outcome(player, "anthropic", documented("anthropic"), prompt=picture)
    assert isinstance(error, ConfigurationError)
    assert "Image" in str(error)


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning_content": "Hm."},
        {"name": "ann"},
        {"refusal": "No."},
        {"audio": {"id": "audio_1"}},
        {"prefix": True},
        {"cache_control": {"type": "ephemeral"}},
    ],
)
def test_further_keys_of_a_message_are_sent_or_refused_by_name(responder: Responder, more: dict[str, Any]) -> None:
    """OpenAI's dialect takes them as they are."""
    for content in ("Hello", ["Hello"], None):
        message = {"role": "assistant", "content": content, **more}
        found = sent(responder, [user("Hi"), message, user("And?")])
        assert json.dumps(more)[1:-1] in found or (found.startswith("refused") and next(iter(more)) in found)
        if "/chat/completions" in responder.url():
            assert not found.startswith("refused")


def test_a_key_without_a_value_says_nothing(responder: Responder) -> None:
    """SDKs write all that a message could have."""
    empty = {"refusal": None, "audio": None, "function_call": None, "tool_calls": None, "annotations": []}
    with_them = sent(responder, [{"role": "assistant", "content": "Hello", **empty}, user("Hi")])
    assert with_them == sent(responder, [assistant("Hello"), user("Hi")])


def test_the_detail_of_a_picture_is_sent_or_refused(responder: Responder) -> None:
    """Only OpenAI has the word."""
    for url in ("https://h/a.png", "data:image/gif;base64,AAE="):
        part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        found = sent(responder, [{"role": "user", "content": [part]}])
        if responder.provider == "ollama" and url.startswith("https"):
            assert found.startswith("refused")
        elif "/chat/completions" in responder.url():
            assert json.dumps(part) in found
        else:
            assert found.startswith("refused")
            assert "detail" in found


def test_the_type_of_a_picture_behind_a_link_is_read_from_its_ending(player: Player) -> None:
    """Google wants one with each link."""
    part = {"type": "image_url", "image_url": {"url": "https://h/a.JPG?x=1"}}
    answered(player, "gemini", documented("gemini"), prompt=[{"role": "user", "content": [part]}])
    assert player.last.json["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h/a.JPG?x=1"}}
    ]


def test_parts_of_a_tools_result_stay_parts(player: Player) -> None:
    """A picture that a tool made is a picture."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}}
    content = [{"type": "text", "text": "Here"}, picture]
    call = {"id": "c", "type": "function", "function": {"name": "draw", "arguments": "{}"}}
    prompt = [
        {"role": "user", "content": "Draw"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "name": "draw", "content": content},
    ]
    answered(player, "openai", documented("openai"), prompt=prompt)
    assert player.last.json["messages"] == prompt
    answered(player, "anthropic", documented("anthropic"), prompt=prompt)
    assert player.last.json["messages"][2]["content"][0]["content"] == [
        {"type": "text", "text": "Here"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}},
    ]
    answered(player, "gemini", documented("gemini"), prompt=prompt)
    assert player.last.json["contents"][2]["parts"][0]["functionResponse"] == {
        "id": "c",
        "name": "draw",
        "response": {"result": "Here"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "cG5n"}}],
    }
    prompt[2]["content"] = [picture]
    answered(player, "gemini", documented("gemini"), prompt=prompt)
    assert player.last.json["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": ""}
    prompt[2]["content"] = content[:1]
    answered(player, "gemini", documented("gemini"), prompt=prompt)
    assert player.last.json["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": "Here"}


def test_rows_that_a_tool_gives_back_are_json_text() -> None:
    """Only the documented types of parts are parts."""
    for rows in ([{"type": "invoice", "n": 1}], ["a", "b"], [], {"a": 1}, [1]):
        assert ToolResult("c", rows).content == json.dumps(rows)  # type: ignore[arg-type]  # what a tool of any kind gives back
    assert ToolResult("c", [user("x").parts[0]]).text == "x"  # type: ignore[arg-type]  # what a tool of any kind gives back


def test_a_file_that_anthropic_cannot_read_as_text_is_refused(player: Player) -> None:
    """Rather than sent with holes in it; its name is the title."""
    latin = File(data="Füße".encode("latin-1"), media_type="text/plain")
    assert isinstance(outcome(player, "anthropic", documented("anthropic"), prompt=user(latin)), ConfigurationError)
    answered(player, "anthropic", documented("anthropic"), prompt=user(File(data=b"pdf", name="a.pdf")))
    assert player.last.json["messages"][0]["content"][0]["title"] == "a.pdf"


def test_a_text_beside_a_tools_result_is_sent_to_ollama(player: Player) -> None:
    """And so is the id of the call."""
    prompt = [user("Hi"), assistant(ToolCall("c", "f", {"x": 1})), Message("tool", [ToolResult("c", "42", "f"), "Note."])]
    player.play(200, {}, {"message": {"content": "A game."}, "done": True})
    with make("ollama", player.url) as ollama:
        ollama.answer(prompt)
    assert player.last.json["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}]},
        {"role": "tool", "tool_name": "f", "content": "42", "tool_call_id": "c"},
        {"role": "tool", "content": "Note."},
    ]


@pytest.mark.parametrize("url", ["data:image/png;base64,!!!!", "data:image/png;base64,AAE", "data:image/png;base64,A A*E="])
def test_a_data_url_that_is_not_base64_is_refused(player: Player, url: str) -> None:
    """Rather than sent as another picture."""
    part = {"type": "image_url", "image_url": {"url": url}}
    assert isinstance(
        outcome(player, "openai", documented("openai"), prompt=[{"role": "user", "content": [part]}]), ConfigurationError
    )
    assert player.sent == []


def test_messages_differ_by_what_stands_beside() -> None:
    """They are values."""
    assert Message("user", "a", {"name": "x"}) != user("a")
    assert Message("user", "a", {"name": "x"}) == Message("user", "a", {"name": "x"})
    assert {Message("user", "a", {"name": "x"}): 1}[Message("user", "a", {"name": "x"})] == 1


# All at once


class Tokens:
    """Words that occur nowhere else, so that each can be looked for in the payload."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def word(self, key: str = "") -> str:
        """Return a new word; `key` is the name under which it may be refused."""
        self.given.append(f"w{len(self.given):04}z" + (f"/{key}" if key else ""))
        return self.given[-1]


@st.composite
def prompts(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a conversation of dicts with all that people put into them, and the words that it holds."""
    tokens = Tokens()
    kinds = st.sampled_from(["text", "marked", "picture", "detail", "link", "unknown", "document"])

    def part() -> Any:
        kind = draw(kinds)
        if kind == "text":
            word = tokens.word()
            return word if draw(st.booleans()) else {"type": "text", "text": word}
        if kind == "marked":
            return {"type": "text", "text": tokens.word("text"), "cache_control": {"type": tokens.word("cache_control")}}
        if kind in ("picture", "detail"):
            data = base64.b64encode(tokens.word().encode()).decode()
            tokens.given[-1] = data
            url = {"url": f"data:image/png;base64,{data}"}
            return {"type": "image_url", "image_url": {**url, **({"detail": tokens.word("detail")} if kind == "detail" else {})}}
        if kind == "link":
            return {"type": "image_url", "image_url": {"url": f"https://h/{tokens.word()}.png"}}
        if kind == "document":
            return {"type": "document", "source": {"type": "text", "data": tokens.word("source")}, "title": tokens.word("title")}
        return {"type": "new_thing", "value": tokens.word("value"), "more": [tokens.word("more")]}

    def content() -> Any:
        return tokens.word() if draw(st.booleans()) else [part() for _ in range(draw(st.integers(1, 3)))]

    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["system", "user", "assistant", "tool", "developer"]))
        message: dict[str, Any] = {"role": role, "content": content()}
        if draw(st.booleans()):
            key = draw(st.sampled_from(["name", "reasoning_content", "prefix", "weight", "audio", "metadata"]))
            message[key] = tokens.word(key) if key != "audio" else {"id": tokens.word(key)}
        if role == "assistant" and draw(st.booleans()):
            function = {"name": tokens.word(), "arguments": json.dumps({"x": tokens.word()})}
            message["tool_calls"] = [{"id": "c1", "type": "function", "function": function}]
        if role == "tool":
            message["tool_call_id"] = "c1"
        messages.append(message)
    return messages, tokens.given


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_=prompts())
def test_all_that_was_given_stands_in_the_payload_or_an_error_names_it(
    responder: Responder, given_: tuple[list[dict[str, Any]], list[str]]
) -> None:
    """Whatever the parts and keys."""
    prompt, words = given_
    before = json.dumps(prompt)
    found = sent(responder, prompt)
    assert json.dumps(prompt) == before, "the prompt was changed"
    if not found.startswith("refused: "):
        assert [word for word in words if word not in found] == []
    else:
        named = [word.partition("/")[2] for word in words if "/" in word]
        assert any(name in found for name in [*named, "Image", "name=", "as a URL"]), found


def test_objects_of_ours_are_sent_or_refused(responder: Responder) -> None:
    """Each kind of part, in each role."""
    parts = [
        *(user("w1").parts[0], Image(data=b"w2"), Image(url="https://h/w3.png"), Image(data=b"w4", detail="w5")),
        *(Audio(data=b"w6"), File(data=b"w7", name="w8"), Raw({"w9": "w10"}), ToolCall("w11", "w12", {"w13": "w14"})),
        *(ToolResult("w15", "w16", "w17"), ToolResult("w18", (user("w19").parts[0], Image(data=b"w20")), "w21")),
    ]
    words = [
        *(
            ["w1"],
            [b"w2"],
            ["w3"],
            [b"w4", "w5"],
            [b"w6"],
            [b"w7"],
            ["w9", "w10"],
            ["w12", "w13", "w14"],
            ["w16"],
            ["w19", b"w20"],
        )
    ]
    for role in ("system", "user", "assistant"):
        for part, wanted in zip(parts, words, strict=True):
            found = sent(responder, [Message(role, part), user("Hi")])
            texts = [base64.b64encode(word).decode() if isinstance(word, bytes) else word for word in wanted]
            assert found.startswith("refused: ") or all(text in found for text in texts), (role, part, found)
