"""Exceptions that are not ours go through a call untouched: a signal's handler raised them, or a function of the user's."""

from __future__ import annotations

import ctypes
import functools
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from servers import PATIENCE, Peer, always, silent, silent_after, unreachable

from responder import APIConnectionError, Timeout

KEY = "key-of-no-known-form-2718281828"

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms")

RAISED: list[BaseException] = [
    TimeoutError("time is up"),
    TimeoutError(),
    OSError("time is up"),
    OSError(110, "time is up"),
    ConnectionResetError("time is up"),
    BrokenPipeError(32, "time is up"),
    ssl.SSLEOFError(8, "time is up"),
    socket.gaierror(-2, "time is up"),
    ValueError("time is up"),
    AttributeError("time is up"),
    http.client.RemoteDisconnected("time is up"),
    zlib.error("time is up"),
    requests.exceptions.ReadTimeout("time is up"),
    RuntimeError("time is up"),
]


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[..., object]], None]]:
    """Give a function that installs a handler and rings in a moment; once, and never after the test."""
    before = signal.getsignal(signal.SIGALRM)

    def install(handler: Callable[..., object]) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)

    yield install
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def raising(error: BaseException) -> Callable[..., object]:
    def handler(number: int, frame: object) -> None:
        raise error

    return handler


SESSIONS: list[Any] = [pytest.param(False, id="ours"), pytest.param(True, id="users")]


@pytest.mark.parametrize("error", RAISED, ids=repr)
@pytest.mark.parametrize("users", SESSIONS)
def test_what_an_alarm_raises_goes_through_at_once(
    serve: Any, responder_for: Any, alarm: Any, error: BaseException, users: bool
) -> None:
    """It is no failure of the network: nothing is repeated, and nothing is billed again."""
    server = serve(silent)
    with requests.Session() as session:
        responder = responder_for(server, max_retries=4, timeout=30.0, session=session if users else None)
        alarm(raising(error))
        with pytest.raises(type(error)) as caught:
            responder.answer("Hi")
    assert caught.value is error
    assert len(server.requests) == 1


class Handler:
    """A handler that is no function."""

    def __call__(self, number: int, frame: object) -> None:
        raise TimeoutError("time is up")

    def method(self, *arguments: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # some restore the handler before they raise
        self(0, None)

    @staticmethod
    def with_more(error: BaseException, number: int, frame: object) -> None:
        raise error


HANDLERS: dict[str, Callable[..., object]] = {
    "object": Handler(),
    "method": Handler().method,
    "partial": functools.partial(Handler.with_more, TimeoutError("time is up")),
    "wrapped": functools.wraps(raising(TimeoutError()))(lambda *arguments: raising(TimeoutError("time is up"))(*arguments)),
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_a_handler_of_any_kind_is_recognised(ask: Any, alarm: Any, handler: Callable[..., object]) -> None:
    """Time-limit decorators install methods, partials and objects."""
    alarm(handler)
    with pytest.raises(TimeoutError, match="time is up"):
        ask(silent, max_retries=4)


def connecting(responder_for: Any) -> None:
    with unreachable() as port:
        responder_for(f"http://127.0.0.1:{port}", timeout=Timeout(total=30, connect=30), max_retries=4).answer("Hi")


def shaking_hands(serve: Any, responder_for: Any) -> None:
    server = serve(lambda peer: peer.wait_until_left())
    responder_for(server.url.replace("http:", "https:"), timeout=Timeout(total=30, connect=30), max_retries=4).answer("Hi")


def uploading(serve: Any, responder_for: Any) -> None:
    server = serve(lambda peer: peer.server.stopping.wait(PATIENCE))
    responder_for(server, max_retries=4).answer("x" * 20_000_000)


def reading(serve: Any, responder_for: Any) -> None:
    server = serve(silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))
    responder_for(server, max_retries=4).answer("Hi")


def reading_an_error(serve: Any, responder_for: Any) -> None:
    server = serve(silent_after(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n{"))
    responder_for(server, max_retries=4).answer("Hi")


def streaming(serve: Any, responder_for: Any) -> None:
    server = serve(silent_after(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"))
    with responder_for(server, max_retries=4).stream("Hi") as stream:
        list(stream)


def resolving(responder_for: Any, monkeypatch: pytest.MonkeyPatch, over: threading.Event) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(PATIENCE))
    responder_for("http://slow.example", timeout=Timeout(total=30, connect=30), max_retries=4).answer("Hi")


@pytest.mark.parametrize(
    "step", ["resolving", "connecting", "shaking_hands", "uploading", "reading", "reading_an_error", "streaming"]
)
@pytest.mark.parametrize("kind", [TimeoutError, OSError])
def test_wherever_a_call_waits_an_alarm_goes_through(
    serve: Any, responder_for: Any, alarm: Any, trusted: Any, monkeypatch: pytest.MonkeyPatch, kind: type[OSError], step: str
) -> None:
    """Not only while it waits for the reply."""
    over = threading.Event()
    steps: dict[str, Callable[[], None]] = {
        "resolving": lambda: resolving(responder_for, monkeypatch, over),
        "connecting": lambda: connecting(responder_for),
        "shaking_hands": lambda: shaking_hands(serve, responder_for),
        "uploading": lambda: uploading(serve, responder_for),
        "reading": lambda: reading(serve, responder_for),
        "reading_an_error": lambda: reading_an_error(serve, responder_for),
        "streaming": lambda: streaming(serve, responder_for),
    }
    alarm(raising(kind("time is up")))
    with pytest.raises(kind, match="time is up"):
        steps[step]()
    over.set()


@pytest.mark.parametrize("users", SESSIONS)
def test_no_frame_that_an_alarm_interrupts_shows_the_key(serve: Any, responder_for: Any, alarm: Any, users: bool) -> None:
    """A crash reporter prints the locals of each frame that an exception passed."""
    with requests.Session() as session:
        responder = responder_for(serve(silent), api_key=KEY, session=session if users else None)
        alarm(raising(TimeoutError("time is up")))
        with pytest.raises(TimeoutError) as caught:
            responder.answer("Hi")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "/responder/" in frame.filename.replace("\\", "/")]
    assert len(ours) > 3
    assert all(KEY not in str(frame.locals) for frame in ours)


def test_a_pool_is_sound_after_an_alarm(serve: Any, responder_for: Any, alarm: Any) -> None:
    """The connection with the unread reply is dropped, and the next call gets its own answer."""
    from servers import in_turn

    server = serve(in_turn(silent, always()))
    responder = responder_for(server)
    alarm(raising(TimeoutError("time is up")))
    with pytest.raises(TimeoutError, match="time is up"):
        responder.answer("Hi")
    assert server.wait_for_leaving() == 0
    assert responder.answer("Hi").text == "Hello."


def test_what_is_thrown_into_a_thread_goes_through(serve: Any, responder_for: Any) -> None:
    """Time limits for threads use `PyThreadState_SetAsyncExc`, which takes a class."""
    raised: list[BaseException] = []
    server = serve(silent_drip)

    def work() -> None:
        try:
            responder_for(server, max_retries=4, timeout=30.0).answer("Hi")
        except BaseException as error:  # noqa: BLE001 - looked at below
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    server.wait_for(1)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutError)) == 1
    thread.join(PATIENCE)
    assert [type(error) for error in raised] == [TimeoutError]
    assert len(server.requests) == 1


def silent_drip(peer: Peer) -> None:
    """Send a byte now and then, so that the thread runs bytecode and notices what was thrown into it."""
    if peer.receive() is not None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        peer.drip(b" " * 1000, 0.02)


def test_what_a_key_callable_raises_goes_through(serve: Any, responder_for: Any) -> None:
    """A vault that times out is not the provider."""

    def key() -> str:
        raise TimeoutError("the vault is slow")

    server = serve(always())
    with pytest.raises(TimeoutError, match="the vault is slow"):
        responder_for(server, api_key=key, max_retries=4).answer("Hi")
    assert server.requests == []


def test_a_wrapper_around_a_socket_is_no_signal(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents wrap the methods of sockets; what these raise is still the network's."""
    real = socket.socket.recv

    def wrapped(self: Any, *arguments: Any) -> Any:
        real(self, *arguments)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(socket.socket, "recv", wrapped)
    with pytest.raises(APIConnectionError):
        ask(always())


CTRL_C = """
    import signal, sys, threading
    from responder import OpenAIResponder
    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=4)
    try:
        gpt.answer("Hi")
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_ends_a_call(serve: Any) -> None:
    """The default handler is C code; its exception is no Exception."""
    import textwrap

    server = serve(silent)
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CTRL_C), server.url], stdout=subprocess.PIPE, text=True)
    with process:
        server.wait_for(1)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE)[0].strip() == "interrupted"
