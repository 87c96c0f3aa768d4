"""Clocks that stand still, and machines that were asleep."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import freezegun
import pytest
import time_machine
from servers import Peer, always, silent, silent_after, unreachable

from responder import APITimeoutError, DeadlineExceededError, Timeout
from responder.values import clock
from responder.wire import pool as pools

FREEZERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "freezegun": lambda: freezegun.freeze_time("2020-01-01"),
    "time-machine": lambda: time_machine.travel(0, tick=False),
}


@pytest.fixture(params=FREEZERS)
def frozen(request: pytest.FixtureRequest) -> Iterator[None]:
    with FREEZERS[request.param]():
        yield


def test_our_clocks_run_on(frozen: None) -> None:
    """Whatever else stands still."""
    waited = threading.Event()
    for now in (clock.monotonic, clock.boottime):
        begin = now()
        waited.wait(0.01)
        assert now() > begin


def test_a_call_works_in_frozen_time(frozen: None, serve: Any, responder_for: Any) -> None:
    """Over a new connection, and over an idle one."""
    server = serve(always())
    responder = responder_for(server)
    assert [responder.answer("Hi").text for _ in range(3)] == ["Hello."] * 3
    assert server.connections == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"], ids=["silence", "half"])
def test_a_timeout_ends_in_frozen_time(frozen: None, ask: Any, said: bytes) -> None:
    """A wait for the reply."""
    with pytest.raises(APITimeoutError):
        ask(silent_after(said), timeout=0.3)


def test_a_drip_ends_in_frozen_time(frozen: None, serve: Any, responder_for: Any) -> None:
    """Here many short waits follow one another: a clock that stands still would let them go on for ever."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            peer.drip(b" " * 1000, 0.02)

    with pytest.raises(APITimeoutError):
        responder_for(serve(handler), timeout=0.5).answer("Hi")


def test_a_deadline_ends_in_frozen_time(frozen: None, ask: Any) -> None:
    """The call's own bound."""
    with pytest.raises(DeadlineExceededError):
        ask(silent, timeout=30, deadline=0.3)


def test_connecting_ends_in_frozen_time(frozen: None, responder_for: Any) -> None:
    """A wait for somebody to accept."""
    with unreachable() as port, pytest.raises(APITimeoutError):
        responder_for(f"http://127.0.0.1:{port}", timeout=Timeout(total=30, connect=0.3)).answer("Hi")


def test_after_a_suspend_an_idle_connection_is_old(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server forgot it while we slept; the clock that counts suspended time says so."""
    server = serve(always())
    responder = responder_for(server)
    responder.answer("Hi")
    monkeypatch.setattr(pools, "boottime", lambda: clock.boottime() + 8 * 3600)
    responder.answer("Hi")
    assert server.connections == 2


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_peer_that_is_gone_is_noticed(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is never acknowledged, a keep-alive included, ends a connection after two minutes."""
    made: list[socket.socket] = []
    real = socket.socket.setsockopt

    def noted(self: socket.socket, *arguments: Any) -> None:
        real(self, *arguments)
        made.append(self)

    monkeypatch.setattr(socket.socket, "setsockopt", noted)
    responder = responder_for(serve(always()))
    responder.answer("Hi")
    sock = made[-1]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000
    idle, interval, count = (
        sock.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert idle + interval * count <= 120


def test_a_connection_that_the_system_gave_up_is_no_timeout_of_ours(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ETIMEDOUT from the kernel: the peer is gone, and a longer `timeout` would not help."""
    import errno

    from responder import APIConnectionError

    real = socket.socket.recv

    def gone(self: socket.socket, *arguments: Any) -> bytes:
        if threading.current_thread() is not threading.main_thread():
            return real(self, *arguments)
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(socket.socket, "recv", gone)
    with pytest.raises(APIConnectionError) as caught:
        ask(always())
    assert not isinstance(caught.value, APITimeoutError)
    assert caught.value.retryable
