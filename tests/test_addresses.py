"""Hosts with several addresses, hosts with none, and name servers that do not answer."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, always, port_of_nobody, unreachable

from responder import (
    APIConnectionError,
    APITimeoutError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    Timeout,
)
from responder.wire.dialing import interleaved

Resolve = Callable[[str, int], list[tuple[str, int]]]


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Callable[[Resolve], None]:
    """Give a function that decides which addresses every host but a literal address has."""
    real = socket.getaddrinfo

    def install(resolve: Resolve) -> None:
        def fake(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host in ("127.0.0.1", "::1"):
                return real(host, port, *rest, **more)
            kind = socket.SOCK_STREAM
            return [
                (socket.AF_INET6 if ":" in address else socket.AF_INET, kind, 6, "", (address, number))
                for address, number in resolve(host, port)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", fake)

    return install


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """The address of a listener that never takes a connection."""
    with unreachable() as port:
        yield ("127.0.0.1", port)


BOUNDS = Timeout(total=30, connect=25)


def test_a_first_address_that_swallows_connections_costs_a_moment(
    serve: Any, responder_for: Any, name: Any, black_hole: tuple[str, int]
) -> None:
    """The next address is tried a quarter of a second later, within the time for connecting."""
    server = serve(always())
    name(lambda host, port: [black_hole, black_hole, ("127.0.0.1", server.port)])
    answer = responder_for("http://model.example", timeout=BOUNDS).answer("Hi")
    assert (answer.text, answer.attempts) == ("Hello.", 1)
    assert answer.elapsed < BOUNDS.connect


def test_an_address_that_refuses_is_passed_over_at_once(serve: Any, responder_for: Any, name: Any) -> None:
    """Nobody listens there, but at the next one."""
    server = serve(always())
    nobody = port_of_nobody()
    name(lambda host, port: [("127.0.0.1", nobody), ("127.0.0.1", server.port)])
    assert responder_for("http://model.example").answer("Hi").text == "Hello."


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES])
@pytest.mark.parametrize("step", ["socket", "connect"])
def test_an_address_that_this_machine_cannot_use_is_passed_over(
    serve: Any, responder_for: Any, name: Any, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    """A kernel without IPv6, or without a route, is no reason to fail while another address would answer."""
    server = serve(always())
    name(lambda host, port: [("::1", server.port, 0, 0)[:2], ("127.0.0.1", server.port)])
    real_socket, real_connect = socket.socket.__init__, socket.socket.connect_ex

    def make(self: Any, family: int = -1, *rest: Any, **more: Any) -> None:
        if step == "socket" and family == socket.AF_INET6:
            raise OSError(number, "not here")
        real_socket(self, family, *rest, **more)

    monkeypatch.setattr(socket.socket, "__init__", make)
    monkeypatch.setattr(
        socket.socket,
        "connect_ex",
        lambda self, address: number if self.family == socket.AF_INET6 else real_connect(self, address),
    )
    assert responder_for("http://model.example").answer("Hi").text == "Hello."


def test_when_no_address_works_the_error_is_the_one_that_says_most(
    responder_for: Any, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection says more than that this machine has no IPv6."""
    nobody = port_of_nobody()
    real = socket.socket.connect_ex
    monkeypatch.setattr(
        socket.socket,
        "connect_ex",
        lambda self, address: errno.ENETUNREACH if address[0] == "127.0.0.9" else real(self, address),
    )
    name(lambda host, port: [("127.0.0.9", nobody), ("127.0.0.1", nobody)])
    with pytest.raises(APIConnectionError, match=r"[Rr]efused"):
        responder_for("http://model.example").answer("Hi")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_connect_timeout_says_that_nothing_was_sent(
    serve: Any, responder_for: Any, name: Any, black_hole: tuple[str, int], trusted: Path, secure: bool
) -> None:
    """No address answers, or nobody shakes hands: nothing can have been billed, and the message names what bounds it."""
    if secure:
        server = serve(lambda peer: peer.wait_until_left())
        name(lambda host, port: [("127.0.0.1", server.port)])
    else:
        name(lambda host, port: [black_hole, black_hole])
    responder = responder_for(f"http{'s' * secure}://model.example", timeout=Timeout(total=30, connect=0.5))
    with pytest.raises(APITimeoutError, match=r"Nothing was sent.*base_url") as caught:
        responder.answer("Hi")
    assert "billed" not in str(caught.value)
    assert "connect 0.5 s" in str(caught.value)
    assert caught.value.retryable


def test_a_cancel_ends_a_race_between_addresses(responder_for: Any, name: Any, black_hole: tuple[str, int]) -> None:
    """Several sockets are connecting; all are given up."""
    asked, token = threading.Event(), CancelToken()

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        asked.set()
        return [black_hole] * 3

    name(resolve)
    responder = responder_for("http://model.example", timeout=Timeout(total=30, connect=30))
    threading.Thread(target=lambda: (asked.wait(PATIENCE), token.cancel("enough"))).start()
    begin = time.monotonic()
    with pytest.raises(CancelledError, match="enough"):
        responder.answer("Hi", cancel=token)
    assert time.monotonic() - begin < 20


def test_families_take_turns() -> None:
    """RFC 8305, section 4: three broken addresses of one family do not come before the other's first."""
    six = [(socket.AF_INET6, 1, 6, number) for number in range(3)]
    four = [(socket.AF_INET, 1, 6, number) for number in range(2)]
    assert interleaved([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleaved([*four, *six]) == [four[0], six[0], four[1], six[1], six[2]]
    assert interleaved([]) == []


# --- Names ------------------------------------------------------------------------------------------------------------


def unknown(*_: object) -> list[tuple[str, int]]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("session", [None, "users"])
def test_a_host_that_does_not_exist_is_looked_up_twice_at_most(
    responder_for: Any, name: Any, session: str | None, request: pytest.FixtureRequest
) -> None:
    """Four repeats would not make it exist; the message names base_url."""
    lookups = []

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        lookups.append(host)
        return unknown()

    name(resolve)
    import requests

    with requests.Session() as own:
        responder = responder_for("http://no-such.example", max_retries=4, session=own if session else None)
        with pytest.raises(APIConnectionError, match=r"no-such\.example.*base_url") as caught:
            responder.answer("Hi")
    assert not caught.value.retryable
    assert len(lookups) <= 2


def test_a_hiccup_of_the_name_server_costs_nothing(serve: Any, responder_for: Any, name: Any) -> None:
    """The second lookup finds the host; that was no attempt."""
    server = serve(always())
    replies = iter([unknown, lambda *_: [("127.0.0.1", server.port)]])
    name(lambda host, port: next(replies)(host, port))
    assert responder_for("http://model.example").answer("Hi").attempts == 1


def test_a_host_that_existed_does_not_end_a_run(serve: Any, responder_for: Any, name: Any) -> None:
    """A network that has gone away comes back; a misspelt name does not come to exist."""
    nobody = port_of_nobody()
    replies = iter([lambda *_: [("127.0.0.1", nobody)], unknown, unknown])
    name(lambda host, port: next(replies, unknown)(host, port))
    responder = responder_for("http://model.example")
    with pytest.raises(APIConnectionError):
        responder.answer("Hi")
    with pytest.raises(APIConnectionError, match="no host") as gone:
        responder.answer("Hi")
    with pytest.raises(APIConnectionError, match="no host") as misspelt:
        responder_for("http://misspelt.example").answer("Hi")
    assert (gone.value.fatal, misspelt.value.fatal) == (False, True)


@pytest.mark.parametrize("bound", ["timeout", "deadline", "cancel"])
def test_a_name_server_that_does_not_answer_holds_no_call(responder_for: Any, name: Any, bound: str) -> None:
    """The C library blocks for half a minute; the call ends when it should."""
    asked, over, token = threading.Event(), threading.Event(), CancelToken()

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        asked.set()
        over.wait(PATIENCE)
        return unknown()

    name(resolve)
    bounds: dict[str, Any] = {
        "timeout": {"timeout": Timeout(total=60, connect=0.3)},
        "deadline": {"timeout": Timeout(total=60, connect=60), "deadline": 0.3},
        "cancel": {"timeout": Timeout(total=60, connect=60)},
    }[bound]
    error = {"timeout": APITimeoutError, "deadline": DeadlineExceededError, "cancel": CancelledError}[bound]
    if bound == "cancel":
        threading.Thread(target=lambda: (asked.wait(PATIENCE), token.cancel())).start()
    begin = time.monotonic()
    with pytest.raises(error):
        responder_for("http://slow.example", **bounds).answer("Hi", cancel=token)
    assert time.monotonic() - begin < 20
    over.set()


def test_many_connections_at_once_ask_for_a_name_once(serve: Any, responder_for: Any, name: Any) -> None:
    """Thirty-two workers start together; the name server hears of it once."""
    server, lookups = serve(always()), []

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        lookups.append(host)
        return [("127.0.0.1", server.port)]

    name(resolve)
    assert responder_for("http://model.example").map(["Hi"] * 64, max_workers=32).ok
    assert lookups == ["model.example"]


def test_addresses_are_asked_for_anew_when_none_could_be_reached(serve: Any, responder_for: Any, name: Any) -> None:
    """The host may have moved."""
    server = serve(always())
    nobody = port_of_nobody()
    ports = iter([nobody, server.port])
    name(lambda host, port: [("127.0.0.1", next(ports))])
    responder = responder_for("http://model.example")
    with pytest.raises(APIConnectionError):
        responder.answer("Hi")
    assert responder.answer("Hi").text == "Hello."


def test_a_proxy_that_does_not_exist_is_named(responder_for: Any, name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not base_url that is wrong."""
    name(unknown)
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@no-proxy.example:3128")
    with pytest.raises(APIConnectionError, match=r"no-proxy\.example.*proxy") as caught:
        responder_for("http://model.example").answer("Hi")
    assert "base_url" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_socks_proxy_without_pysocks_says_what_to_install(responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is an extra of requests."""
    import sys

    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match=r"pip install 'requests\[socks\]'"):
        responder_for("http://model.example").answer("Hi")


def test_a_users_session_with_a_socks_proxy_without_pysocks_says_what_to_install(
    responder_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a session of the user's own."""
    import requests
    import requests.adapters

    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", refuse)
    with requests.Session() as session:
        session.proxies = {"http": "socks5://127.0.0.1:1080"}
        with pytest.raises(ConfigurationError, match=r"pip install 'requests\[socks\]'"):
            responder_for("http://model.example", session=session).answer("Hi")
