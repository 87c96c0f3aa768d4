"""No variable of ours shows the key, at whatever line an exception may come: crash reporters print the locals of each frame."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import requests
from servers import always, in_turn, reply

import responder
from responder import APIError, OpenAIResponder, Responder
from responder.providers import PROVIDERS
from responder.wire import masking

KEY = "key-of-no-known-form-2718281828"
HOME = str(Path(responder.__file__).parent) + os.sep

EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hello."},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)


class Watch:
    """Looks at the locals of every frame of the package, line by line.

    Attributes:
        found: Where the key was shown, and by which variable.
        lines: How many lines were looked at.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.lines = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        # What searches a server's words for the key has it in its hands, for some microseconds, and calls nobody.
        if not frame.f_code.co_filename.startswith(HOME) or frame.f_code.co_filename == masking.__file__:
            return None
        self.lines += 1
        for name, value in frame.f_locals.items():
            if name != "self" and KEY in self._shown(value):
                code = frame.f_code
                self.found.add(f"{code.co_filename.removeprefix(HOME)}:{frame.f_lineno} {code.co_name}: {name}")
        return self

    @staticmethod
    def _shown(value: Any) -> str:
        try:
            return repr(value)
        except Exception:  # noqa: BLE001 - an object that is not made yet
            return ""


@contextmanager
def watched() -> Iterator[Watch]:
    watch, before = Watch(), sys.gettrace()
    threading.settrace(watch)
    sys.settrace(watch)
    try:
        yield watch
    finally:
        sys.settrace(before)
        threading.settrace(None)  # type: ignore[arg-type]  # as Python documents it


def an_answer(gpt: Responder) -> None:
    assert gpt.answer("Hi").text == "Hello."


def a_map(gpt: Responder) -> None:
    assert gpt.map(["Hi", "Ho"], max_workers=2)[1].text == "Hello."


def a_stream(gpt: Responder) -> None:
    assert "".join(gpt.stream("Hi")) == "Hello."


def a_refusal(gpt: Responder) -> None:
    with pytest.raises(APIError):
        gpt.answer("Hi")


BODIES: dict[Callable[[Responder], None], bytes] = {
    an_answer: reply(),
    a_map: reply(),
    a_stream: reply(EVENTS, Content_Type="text/event-stream"),
    a_refusal: reply(b'{"error": {"message": "the key is wrong"}}', "401 Unauthorized"),
}


def check(watch: Watch) -> None:
    assert not watch.found, "\n".join(sorted(watch.found))
    assert watch.lines > 100


@pytest.mark.parametrize("users", [False, True], ids=["ours", "users"])
@pytest.mark.parametrize("call", BODIES, ids=lambda call: call.__name__)
def test_no_line_of_a_call_has_a_variable_that_shows_the_key(
    serve: Any, responder_for: Any, call: Callable[[Responder], None], users: bool
) -> None:
    """A signal's exception, or Ctrl-C, may come at any of them."""
    server = serve(always(BODIES[call]))
    with requests.Session() as session:
        gpt = responder_for(server, api_key=KEY, session=session if users else None, extra_headers={"X-Gateway-Key": KEY})
        with watched() as watch:
            call(gpt)
    check(watch)


def test_a_callable_and_a_renewed_key_do_not_show_either(serve: Any) -> None:
    """The key of each request is a secret from the moment when it is there."""
    refused = reply(b'{"error": {"message": "expired"}}', "401 Unauthorized")
    server = serve(in_turn(always(refused, last=True), always()))
    keys = iter(["an-old-key-that-has-expired", KEY, KEY, KEY])
    with OpenAIResponder("m", api_key=lambda: next(keys), base_url=f"{server.url}/v1", max_retries=0) as gpt, watched() as watch:
        an_answer(gpt)
    watch.found = {place for place in watch.found if "_called: secret" not in place}
    check(watch)


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - {"voyage"}))  # has embeddings only
def test_no_providers_headers_show_the_key(serve: Any, provider: str) -> None:
    """Whatever a provider calls its header, no frame between here and the socket shows it."""
    server = serve(always(reply(b"{}", "400 Bad Request")))
    named = {"project": "p"} if "vertex" in provider else {"api_version": "2024-10-21"} if provider == "azure" else {}
    model = PROVIDERS[provider]("m", api_key=KEY, base_url=server.url, max_retries=0, **named)
    with model, watched() as watch, pytest.raises(APIError):
        model.answer("Hi")
    check(watch)
    if provider != "simulated":
        assert any(KEY in value for value in server.requests[0].headers.values())
