"""Files that are sent to a provider, to be used by their ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import Peer, Server, always, one_by_one, reply

from responder import (
    AnthropicResponder,
    AnthropicVertexResponder,
    APIConnectionError,
    AuthenticationError,
    AzureOpenAIResponder,
    BedrockResponder,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    File,
    GeminiResponder,
    GroqResponder,
    Image,
    InvalidResponseError,
    OpenAIResponder,
    RetryPolicy,
    VertexAIResponder,
    Video,
    user,
)
from responder.values.options import Options

Serve = Callable[..., Server]
PDF = b"%PDF-1.7 \x00\xff" + bytes(range(256)) * 3000  # several pieces


def said(**body: Any) -> bytes:
    return reply(json.dumps(body).encode())


def form(body: bytes, content_type: str) -> dict[str, tuple[str, bytes]]:
    """Return the fields of a form: what their heads say, and their bytes."""
    boundary = content_type.partition("boundary=")[2].encode()
    first, *parts, last = body.split(b"--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    found = {}
    for part in parts:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found[head.decode().partition('name="')[2].partition('"')[0]] = head.decode(), data.removesuffix(b"\r\n")
    return found


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / 'a "report".pdf'
    path.write_bytes(PDF)
    return path


@pytest.mark.parametrize("session", [None, "own"])
def test_openai_gets_a_form_with_the_file(session: str | None, serve: Serve, pdf: Path) -> None:
    """By our own sockets, or over a session that the user brings; the part has the id."""
    server = serve(always(said(id="file-1", object="file")))
    gpt = OpenAIResponder("m", api_key="key", base_url=f"{server.url}/v1", session=requests.Session() if session else None)

    part = gpt.upload(pdf)

    assert part == File(file_id="file-1", media_type="application/pdf", name=pdf.name)
    request = server.requests[0]
    assert request.line.startswith("POST /v1/files ")
    assert request.headers["authorization"] == "Bearer key"
    fields = form(request.body, request.headers["content-type"])
    assert fields["purpose"][1] == b"user_data"
    assert fields["file"][1] == PDF
    assert 'filename="a %22report%22.pdf"' in fields["file"][0]
    assert "Content-Type: application/pdf" in fields["file"][0]
    assert gpt.part_on_the_wire(part) == {"type": "file", "file": {"file_id": "file-1"}}


def test_a_picture_becomes_an_image(serve: Serve, tmp_path: Path) -> None:
    """For OpenAI's models that see, and for Anthropic with the header of its Files API."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"jpg")
    server = serve(always(said(id="file-1")))

    assert OpenAIResponder("m", api_key="k", base_url=server.url).upload(path) == Image(
        file_id="file-1", media_type="image/jpeg", name="cat.jpg"
    )
    claude = AnthropicResponder("m", api_key="k", base_url=server.url)
    part = claude.upload(str(path))

    purpose, files = server.requests
    assert form(purpose.body, purpose.headers["content-type"])["purpose"][1] == b"vision"
    assert files.target == "/v1/files"
    assert (files.headers["x-api-key"], files.headers["anthropic-beta"]) == ("k", "files-api-2025-04-14")
    assert set(form(files.body, files.headers["content-type"])) == {"file"}
    assert claude.part_on_the_wire(part) == {"type": "image", "source": {"type": "file", "file_id": "file-1"}}


@pytest.mark.parametrize(
    ("keywords", "target"),
    [
        ({}, "/openai/v1/files"),
        ({"api_version": "preview"}, "/openai/v1/files?api-version=preview"),
        ({"api_version": "2025-04-01-preview"}, "/openai/files?api-version=2025-04-01-preview"),
    ],
)
def test_azure_gets_the_same_form_at_its_resource(serve: Serve, pdf: Path, keywords: dict[str, str], target: str) -> None:
    """With its own key; the id goes into Responses, since its Chat Completions take no files."""
    server = serve(always(said(id="assistant-1", object="file")))
    path = "/openai/v1" if keywords.get("api_version") == "preview" else ""
    azure = AzureOpenAIResponder("d", endpoint=server.url + path, api_key="key", api="responses", **keywords)

    part = azure.upload(pdf)

    (request,) = server.requests
    assert (request.target, request.headers["api-key"]) == (target, "key")
    fields = form(request.body, request.headers["content-type"])
    assert (fields["purpose"][1], fields["file"][1]) == (b"assistants", PDF)
    (item,) = azure.payload((user("Read", part),), Options())["input"]
    assert item["content"][1] == {"type": "input_file", "file_id": "assistant-1"}


def google(peer: Peer) -> None:
    """Take a file as Google does, and work on it for two looks."""
    looks = 0
    while (request := peer.receive()) is not None:
        about = {"name": "files/abc", "uri": "https://g/v1beta/files/abc", "mimeType": "video/mp4"}
        if request.headers.get("x-goog-upload-command") == "start":
            peer.send(reply(b"", X_Goog_Upload_URL=f"{peer.server.url}/upload/v1beta/files?upload_id=1"))
        elif request.line.startswith("POST"):
            peer.send(said(file={**about, "state": "PROCESSING"}))
        else:
            looks += 1
            peer.send(said(**about, state="ACTIVE" if looks == 2 else "PROCESSING"))


def test_gemini_is_asked_until_the_file_is_ready(serve: Serve, tmp_path: Path) -> None:
    """A start, the bytes, and looks with pauses between."""
    path = tmp_path / "walk.mp4"
    path.write_bytes(PDF)
    server = serve(google)
    gemini = GeminiResponder("m", api_key="k", base_url=server.url)

    part = gemini.upload(path)

    assert part == Video(file_id="https://g/v1beta/files/abc", media_type="video/mp4", name="walk.mp4")
    start, sent, *looks = server.requests
    assert start.target == "/upload/v1beta/files"
    assert (start.headers["x-goog-upload-header-content-length"], start.json) == (
        str(len(PDF)),
        {"file": {"displayName": "walk.mp4"}},
    )
    assert (sent.headers["x-goog-upload-command"], sent.headers["x-goog-upload-offset"]) == ("upload, finalize", "0")
    assert sent.body == PDF
    assert [look.line.split(" ")[:2] for look in looks] == [["GET", "/v1beta/files/abc"]] * 2
    assert {request.headers["x-goog-api-key"] for request in server.requests} == {"k"}
    assert gemini.part_on_the_wire(part) == {"fileData": {"mimeType": "video/mp4", "fileUri": "https://g/v1beta/files/abc"}}


def test_a_file_that_gemini_cannot_read_is_an_error(serve: Serve, pdf: Path) -> None:
    """It says so after a while."""

    def failing(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if request.headers.get("x-goog-upload-command") == "start":
                peer.send(reply(b"", X_Goog_Upload_URL=f"{peer.server.url}/u"))
            else:
                peer.send(said(file={"name": "files/abc", "state": "FAILED", "error": {"message": "not a pdf"}}))

    with pytest.raises(InvalidResponseError, match="could not read the uploaded file"):
        GeminiResponder("m", api_key="k", base_url=serve(failing).url).upload(pdf)


def test_the_key_goes_to_no_other_host(serve: Serve, pdf: Path) -> None:
    """Whatever an answer names as the place to send to."""
    server = serve(always(reply(b"", X_Goog_Upload_URL="https://elsewhere.example/u")))
    with pytest.raises(InvalidResponseError, match="another host"):
        GeminiResponder("m", api_key="k", base_url=server.url).upload(pdf)
    assert len(server.requests) == 1


def test_the_deadline_holds_while_the_provider_works_on_it(serve: Serve, tmp_path: Path) -> None:
    """Nobody looks for ever."""
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"mp4")
    with pytest.raises(DeadlineExceededError):
        GeminiResponder("m", api_key="k", base_url=serve(google).url).upload(path, deadline=0.4)


def test_a_cancelled_upload_ends(serve: Serve, pdf: Path) -> None:
    """Also before it begins."""
    token = CancelToken()
    token.cancel("enough")
    with pytest.raises(CancelledError):
        OpenAIResponder("m", api_key="k", base_url=serve(always()).url).upload(pdf, cancel=token)


def test_a_failed_upload_is_repeated_from_its_beginning(serve: Serve, pdf: Path) -> None:
    """With the whole file."""
    server = serve(one_by_one(reply(b"{}", "503 Busy"), said(id="file-1")))
    gpt = OpenAIResponder("m", api_key="k", base_url=server.url, max_retries=RetryPolicy(2, first_backoff=0.02))
    assert gpt.upload(pdf).file_id == "file-1"
    assert [form(request.body, request.headers["content-type"])["file"][1] for request in server.requests] == [PDF, PDF]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(b'{"error": {"message": "bad key"}}', "401 Unauthorized"), AuthenticationError),
        (said(object="file"), InvalidResponseError),
        (reply(b"<html>"), InvalidResponseError),
        (b"", APIConnectionError),
    ],
)
def test_what_goes_wrong_is_the_error_of_any_call(answer: bytes, kind: type[Exception], serve: Serve, pdf: Path) -> None:
    """By status and by what is missing; no key in it."""
    server = serve(always(answer, last=True))
    with pytest.raises(kind) as caught:
        OpenAIResponder("m", api_key="test-key-123456", base_url=server.url, max_retries=0).upload(pdf)
    assert "test-key-123456" not in repr(vars(caught.value))


@pytest.mark.parametrize("name", ["missing.pdf", "empty.pdf", "."])
def test_a_file_that_cannot_be_read_is_refused_before_anything_is_sent(name: str, serve: Serve, tmp_path: Path) -> None:
    """The error names it."""
    (tmp_path / "empty.pdf").touch()
    server = serve(always())
    with pytest.raises(ConfigurationError, match="cannot be uploaded"):
        OpenAIResponder("m", api_key="k", base_url=server.url).upload(tmp_path / name)
    assert server.requests == []


@pytest.mark.parametrize(
    "model",
    [
        GroqResponder("m", api_key="k"),
        BedrockResponder("m", region="us-east-1", api_key="k"),
        VertexAIResponder("m", project="p", credentials="t"),
        AnthropicVertexResponder("m", project="p", location="global", credentials="t"),
    ],
)
def test_other_providers_refuse_before_anything_is_sent(model: Any, pdf: Path) -> None:
    """By name, with what to do instead."""
    instead = {"vertex": "gs://", "bedrock": "s3://"}.get(model.provider, "URL")
    with pytest.raises(ConfigurationError, match=f"{model.provider} takes no uploads: .*{instead}"):
        model.upload(pdf)


def test_a_large_file_is_never_whole_in_memory(serve: Serve, tmp_path: Path) -> None:
    """Sent in pieces as they are read."""
    import tracemalloc

    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64_000_000)

    def count(peer: Peer) -> None:
        while b"\r\n\r\n" not in peer.buffer:
            peer.buffer += peer.sock.recv(65536)
        head, _, rest = peer.buffer.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(rest)
        buffer = bytearray(65536)
        while left:
            left -= peer.sock.recv_into(buffer)
        peer.send(said(id="file-1"))

    gpt = OpenAIResponder("m", api_key="k", base_url=serve(count).url)
    tracemalloc.start()
    try:
        gpt.upload(path)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
