"""What is asked: messages and their parts, from whatever people have at hand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from strategies import json_values, message_like, texts

from responder import Audio, File, Image, Message, Raw, Text, ToolCall, ToolResult, assistant, system, user
from responder.values.media_types import media_type_of
from responder.values.messages import as_messages


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("Hi", (user("Hi"),)),
        ("", (user(""),)),
        (user("Hi"), (user("Hi"),)),
        ({"role": "user", "content": "Hi"}, (user("Hi"),)),
        ([system("Be brief."), {"role": "user", "content": "Hi"}], (system("Be brief."), user("Hi"))),
        ((user("Hi"),), (user("Hi"),)),
        ([{"role": "developer", "content": "x"}], (system("x"),)),
        ([{"role": "model", "content": "x"}], (assistant("x"),)),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}], (user("a", "b"),)),
        ([{"role": "tool", "tool_call_id": "1", "content": "42"}], (Message("tool", ToolResult("1", "42")),)),
        ([{"role": "tool", "tool_call_id": "1", "content": {"a": 1}}], (Message("tool", ToolResult("1", '{"a": 1}')),)),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}],
            (Message("assistant", ToolCall("1", "f", {}, "{}")),),
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/a.png"}}]}],
            (user(Image(url="https://h/a.png")),),
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAE="}}]}],
            (user(Image(data=b"\x00\x01", media_type="image/gif")),),
        ),
        ([{"role": "user", "content": [{"type": "new_thing", "x": 1}]}], (user(Raw({"type": "new_thing", "x": 1})),)),
    ],
)
def test_a_prompt_of_any_accepted_form_becomes_messages(prompt: Any, messages: tuple[Message, ...]) -> None:
    """Texts, messages, dicts as the providers' SDKs take them, and lists of these."""
    assert as_messages(prompt) == messages


@pytest.mark.pain(6)
@pytest.mark.parametrize(
    "prompt",
    [
        None,
        5,
        b"Hi",
        [],
        [None],
        ["Hi"],
        {"content": "Hi"},
        {"role": "user"},
        {"role": "nobody", "content": "x"},
        {"role": ["user"], "content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [5]},
        {"role": "user", "content": {"type": "text"}},
        (part for part in ("a",)),
    ],
)
def test_what_is_no_prompt_is_refused(prompt: Any) -> None:
    """With a TypeError or ValueError that says what a prompt is."""
    with pytest.raises((TypeError, ValueError)) as caught:
        as_messages(prompt)
    assert len(str(caught.value)) > 10


@given(message_like | json_values)
def test_whatever_is_given_for_a_prompt_it_is_messages_or_refused(prompt: Any) -> None:
    """Data from files holds anything: never another exception."""
    try:
        messages = as_messages(prompt)
    except (TypeError, ValueError):
        return
    assert messages
    assert all(isinstance(message, Message) for message in messages)


@given(texts, texts)
def test_messages_with_the_same_content_are_equal(one: str, other: str) -> None:
    """They are values: comparable, and fit for pickles."""
    assert user(one) == Message("user", one) == Message("user", [Text(one)])
    assert (user(one) == user(other)) is (one == other)
    assert user(one) != assistant(one)
    assert user(one, other).text == one + other
    assert pickle.loads(pickle.dumps(user(one))) == user(one)


def test_a_message_of_text_can_be_a_key() -> None:
    """For caches."""
    assert {user("a"): 1}[user("a")] == 1


@pytest.mark.parametrize("kind", [Image, Audio, File])
def test_media_are_read_from_files(kind: Any, tmp_path: Path) -> None:
    """Bytes, type by the file's ending, and name."""
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    media = kind.from_path(str(path))
    assert (media.data, media.media_type, media.name) == (b"\x89PNG", "image/png", "a.png")
    assert media.data_url == "data:image/png;base64,iVBORw=="
    assert "PNG" not in repr(media)
    unknown = tmp_path / "b.unknown-ending"
    unknown.write_bytes(b"")
    assert kind.from_path(unknown).media_type == "application/octet-stream"


def test_common_endings_are_known_without_the_machines_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slim containers have none, and Python's own differs by version."""
    import mimetypes

    monkeypatch.setattr(mimetypes, "guess_type", lambda _: (None, None))
    wanted = {
        "a.png": "image/png",
        "a.JPG": "image/jpeg",
        "b.c.jpeg": "image/jpeg",
        "a.webp": "image/webp",
        "a.heic": "image/heic",
        "a.wav": "audio/wav",
        "a.mp3": "audio/mpeg",
        "a.flac": "audio/flac",
        "a.mp4": "video/mp4",
        "a.pdf": "application/pdf",
        "a.md": "text/markdown",
        "a.csv": "text/csv",
        "a.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "png": None,
        "a.": None,
        "": None,
    }
    assert {name: media_type_of(name) for name in wanted} == wanted


@pytest.mark.parametrize("given", [{}, {"data": b"", "url": "https://h"}])
def test_media_are_bytes_or_a_url(given: dict[str, Any]) -> None:
    """One of the two."""
    with pytest.raises(ValueError, match="one of them"):
        Image(**given)


@pytest.mark.parametrize(
    ("text", "arguments"), [("", {}), ("{}", {}), ('{"a": 1}', {"a": 1}), ("[1]", {}), ('{"a": ', {}), ("null", {})]
)
def test_arguments_that_a_model_wrote_are_kept_even_if_they_are_broken(text: str, arguments: dict[str, Any]) -> None:
    """The text goes back to the provider as it came."""
    call = ToolCall.from_text("1", "f", text)
    assert call.arguments == arguments
    assert call.arguments_text == text
    assert call.json == (text or "{}")
