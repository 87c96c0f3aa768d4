"""Pictures, sounds, videos and files: from wherever they are into the request, and out of the answer."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Server, always, reply, reply_body

from responder import (
    AnthropicResponder,
    Audio,
    AzureOpenAIResponder,
    ConfigurationError,
    EmptyAnswerError,
    File,
    GeminiResponder,
    Image,
    Limits,
    Message,
    OllamaResponder,
    OpenAIResponder,
    Text,
    ToolResult,
    VertexAIResponder,
    Video,
    user,
)
from responder.call.question import Question
from responder.values.options import Options

Serve = Callable[..., Server]
Make = Callable[..., Any]
KINDS = (Image, Audio, Video, File)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def sent(model: Any, prompt: Any) -> Any:
    """Return the JSON that a prompt becomes."""
    return json.loads(Question.of(model, None, prompt, Options()).body)


def gpt(**more: Any) -> OpenAIResponder:
    return OpenAIResponder("m", api_key="k", **more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("a/cat.jpg",), {"path": "a/cat.jpg", "media_type": "image/jpeg", "name": "cat.jpg"}),
        ((Path("cat.unknown-ending"),), {"path": "cat.unknown-ending", "media_type": "application/octet-stream"}),
        (("https://h/cat.webp?v=1",), {"url": "https://h/cat.webp?v=1", "media_type": "image/webp", "path": None}),
        (("gs://bucket/a.pdf",), {"url": "gs://bucket/a.pdf", "media_type": "application/pdf"}),
        (("data:image/gif;base64,AAE=",), {"data": b"\x00\x01", "url": None, "media_type": "image/gif"}),
        ((b"bytes",), {"data": b"bytes", "path": None}),
    ],
)
def test_a_source_is_a_path_a_url_or_bytes(kind: Any, given: Any, found: dict[str, Any]) -> None:
    """And the type is known by its ending."""
    made = kind(*given)
    assert {name: getattr(made, name) for name in found} == found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrong", [{}, {"data": b"", "url": "https://h"}, {"source": "a", "path": "b"}, {"source": b"a", "data": b"a"}]
)
def test_there_is_one_source(kind: Any, wrong: dict[str, Any]) -> None:
    """Neither none nor two."""
    with pytest.raises(ValueError, match="one of them"):
        kind(**wrong)


@pytest.mark.parametrize("made", [kind("a.png") for kind in KINDS] + [Image(data=b"x", detail="low"), File(file_id="f")])
def test_parts_are_values(made: Any) -> None:
    """Equal by content, hashable, and they survive copies and pickles."""
    assert made == copy.copy(made) == pickle.loads(pickle.dumps(made)) == dataclasses.replace(made)
    assert len({made, copy.deepcopy(made)}) == 1
    assert dataclasses.replace(made, name="other").name == "other"


def test_a_path_is_read_when_its_request_is_built(tmp_path: Path, serve: Serve, responder_for: Make) -> None:
    """Not when the part is made, and each time anew."""
    path = tmp_path / "cat.png"
    server = serve(always())
    prompt = user("What is this?", Image(path))
    path.write_bytes(b"one")
    model = responder_for(server)
    model.answer(prompt)
    path.write_bytes(b"two")
    model.answer(prompt)

    urls = [request.json["messages"][0]["content"][1]["image_url"]["url"] for request in server.requests]
    assert urls == ["data:image/png;base64," + base64.b64encode(data).decode() for data in (b"one", b"two")]


def test_a_result_keeps_the_path_and_not_the_bytes(tmp_path: Path, serve: Serve, responder_for: Make) -> None:
    """So that a map of many pictures holds none of them."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    result = responder_for(serve(always())).map([user(Image(path))])[0]
    assert isinstance(result.prompt, Message)
    assert result.prompt.parts[0] == Image(path)
    assert result.ok


@pytest.mark.parametrize(
    ("name", "said"), [("missing.png", "No such file"), (".", "Is a directory"), ("empty.png", "empty.png is empty")]
)
def test_a_file_that_cannot_be_read_is_its_own_items_error(
    name: str, said: str, tmp_path: Path, serve: Serve, responder_for: Make
) -> None:
    """The others get their answers, and nothing was sent for it."""
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "empty.png").touch()
    server = serve(always())

    batch = responder_for(server).map([user(Image(tmp_path / each)) for each in ("cat.png", name, "cat.png")])

    assert [result.ok for result in batch] == [True, False, True]
    assert isinstance(batch[1].error, ConfigurationError)
    assert said in str(batch[1].error)
    assert name.strip(".") in str(batch[1].error)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("model", "most"),
    [
        (GeminiResponder("m", api_key="k"), 20_000_000),
        (AnthropicResponder("m", api_key="k"), 32_000_000),
        (gpt(), 50_000_000),
    ],
    ids=["gemini", "anthropic", "openai"],
)
def test_what_a_provider_does_not_take_is_refused_before_it_is_sent(model: Any, most: int, tmp_path: Path) -> None:
    """A file by its size, unread; several parts by their sum."""
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(most + 1)
    with pytest.raises(ConfigurationError, match=r"large\.png has .* MB, and .* takes .* MB"):
        Question.of(model, None, user(Image(large)), Options())
    half = Image(data=bytes(most // 2))
    with pytest.raises(ConfigurationError, match=r"this prompt has .* MB"):
        Question.of(model, None, user(half, half), Options())
    Question.of(model, None, user(half), Options())


def test_the_body_is_the_json_that_it_always_was() -> None:
    """Base64 is put into the JSON at the end; a text that looks like a place of it stays a text."""
    model = gpt()
    prompt = [
        user('"quotes" and base64-0;', Image(data=PNG, detail="low"), Image(data=b"\xff\xfe" * 300), Image(data=PNG)),
        Message("assistant", "Ah."),
        Message("tool", ToolResult("c1", (Text("Look:"), Image(data=PNG)))),
        user(Audio(data=b"wav"), File(data=b"pdf", name="a.pdf")),
    ]
    plain = model.payload(tuple(prompt), Options())
    assert sent(model, prompt) == json.loads(json.dumps(plain))


@pytest.mark.parametrize(
    ("model", "part", "wire"),
    [
        (gpt(), File(file_id="file-1"), {"type": "file", "file": {"file_id": "file-1"}}),
        (
            GeminiResponder("m", api_key="k"),
            Video(file_id="files/abc"),
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ),
        (
            GeminiResponder("m", api_key="k"),
            Image(file_id="https://g/v1beta/files/abc", media_type="image/jpeg"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://g/v1beta/files/abc"}},
        ),
        (GeminiResponder("m", api_key="k"), Video(data=b"mp4"), {"inlineData": {"mimeType": "video/mp4", "data": "bXA0"}}),
        (
            VertexAIResponder("m", project="p", credentials="t"),
            Video("gs://b/a.mov"),
            {"fileData": {"mimeType": "video/quicktime", "fileUri": "gs://b/a.mov"}},
        ),
        (
            AnthropicResponder("m", api_key="k"),
            Image(file_id="file_1"),
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            AnthropicResponder("m", api_key="k"),
            File(file_id="file_1"),
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
    ],
)
def test_ids_and_videos_are_written_as_each_provider_has_them(model: Any, part: Any, wire: Any) -> None:
    """Uploaded files by their ids."""
    assert model.part_on_the_wire(part) == wire


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (gpt(), Video(data=b"x")),
        (gpt(), Image(file_id="f")),
        (gpt(), Audio(file_id="f")),
        (AnthropicResponder("m", api_key="k"), Video(data=b"x")),
        (OllamaResponder("m", base_url="http://127.0.0.1:1"), Image(file_id="f")),
        (OllamaResponder("m"), Image(file_id="f")),
        (AzureOpenAIResponder("d", endpoint="https://x.openai.azure.com", api_key="k"), File(file_id="f")),
    ],
)
def test_what_a_provider_has_no_place_for_is_refused(model: Any, part: Any) -> None:
    """By name, before anything is sent."""
    with pytest.raises(ConfigurationError):
        Question.of(model, None, user(part), Options())


def test_anthropic_is_told_that_uploaded_files_are_used(serve: Serve) -> None:
    """By the header that its Files API wants, and only then."""
    said = {"type": "message", "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn"}
    server = serve(always(reply(json.dumps(said).encode())))
    claude = AnthropicResponder("m", api_key="k", base_url=server.url)
    claude.answer(user(Image(file_id="file_1")))
    claude.answer(user(Image(data=b"png")))
    assert [request.headers.get("anthropic-beta") for request in server.requests] == ["files-api-2025-04-14", None]


def test_a_picture_is_not_counted_as_so_many_letters(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """A limit of tokens would never let a megabyte of base64 through."""
    path = tmp_path / "cat.png"
    path.write_bytes(bytes(1_000_000))
    model = responder_for(serve(always()), limits=Limits(tokens_per_minute=10_000))
    assert model.answer(user(Image(path)), deadline=10).text == "Hello."
    question = Question.of(model, None, user(Image(path)), Options())
    assert len(question.body) > 1_300_000
    assert question.size < 5_000


@pytest.mark.parametrize(
    ("message", "media", "text"),
    [
        (
            {"content": "", "images": [{"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAE="}}]},
            (Image(data=b"\x00\x01", media_type="image/webp"),),
            "",
        ),
        ({"content": "Here.", "images": [{"image_url": {"url": "https://h/a.png"}}]}, (Image(url="https://h/a.png"),), "Here."),
        (
            {"content": None, "audio": {"id": "a", "data": base64.b64encode(b"ID3x").decode(), "transcript": "Said."}},
            (Audio(data=b"ID3x", media_type="audio/mpeg"),),
            "Said.",
        ),
        ({"content": None, "audio": {"id": "a", "data": "AAE="}}, (Audio(data=b"\x00\x01"),), ""),
    ],
)
def test_what_a_model_made_is_the_answers_media(
    message: dict[str, Any], media: Any, text: str, serve: Serve, responder_for: Make
) -> None:
    """And an answer of nothing else is none that is empty."""
    body = reply_body(choices=[{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}])
    answer = responder_for(serve(always(reply(body)))).answer("Draw")
    assert (answer.media, answer.text) == (media, text)


@pytest.mark.parametrize("text", [None, "A cat."])
def test_gemini_makes_pictures_and_sound(text: str | None, serve: Serve) -> None:
    """`inlineData`, but no drafts of its thoughts."""
    parts: list[dict[str, Any]] = [
        {"inlineData": {"mimeType": "image/png", "data": "ZHJhZnQ="}, "thought": True},
        {"inlineData": {"mimeType": "image/png", "data": "AAE="}},
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAI="}},
    ]
    parts += [{"text": text}] if text else []
    body = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}], "usageMetadata": {}}
    for streamed in (False, True):
        data = json.dumps(body).encode()
        server = serve(always(reply(b"data: " + data + b"\n\n", Content_Type="text/event-stream") if streamed else reply(data)))
        gemini = GeminiResponder("m", api_key="k", base_url=server.url)
        if streamed:
            with gemini.stream("Draw") as stream:
                assert "".join(stream) == (text or "")
            answer = stream.answer
            assert answer is not None
        else:
            answer = gemini.answer("Draw")
        assert answer.media == (
            Image(data=b"\x00\x01", media_type="image/png"),
            Audio(data=b"\x00\x02", media_type="audio/L16;rate=24000"),
        )
        assert answer.text == (text or "")


def test_a_stream_of_pictures_is_no_empty_one(serve: Serve, responder_for: Make) -> None:
    """OpenRouter puts them into a delta."""
    images = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAE="}}]
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "", "images": images}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    with responder_for(serve(always(reply(body, Content_Type="text/event-stream")))).stream("Draw") as stream:
        assert list(stream) == []
    assert stream.answer is not None
    assert stream.answer.media == (Image(data=b"\x00\x01"),)


@pytest.mark.parametrize("damaged", [{"images": [{}]}, {"images": [3]}, {"images": {}}, {"audio": None}, {"audio": {"data": 3}}])
def test_media_that_are_none_are_passed_over(damaged: dict[str, Any], serve: Serve, responder_for: Make) -> None:
    """An answer with nothing else in it is empty."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **damaged}, "finish_reason": "stop"}
    with pytest.raises(EmptyAnswerError):
        responder_for(serve(always(reply(reply_body(choices=[choice]))))).answer("Draw")
