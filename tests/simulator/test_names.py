"""The simulator's own names: a page of a strange web site, which leads a name of its own to this machine, hears nothing."""

from __future__ import annotations

import json
import socket

import pytest

from responder.simulator import Simulator
from responder.simulator.names import Names


def ask(simulator: Simulator, host: str | None, target: str = "/_simulator/received", version: str = "1.1") -> bytes:
    """Send a request under a name, and return the whole reply."""
    port = int(simulator.url.rpartition(":")[2])
    lines = [f"GET {target} HTTP/{version}", "Connection: close"]
    if host is not None:
        lines.append(f"Host: {host}")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
)
@pytest.mark.parametrize("target", ["/_simulator/received", "/v1/chat/completions"])
def test_a_strange_name_is_refused(simulator: Simulator, host: str, target: str) -> None:
    """With 421 and a sentence, for orders and for calls; the log does not show it."""
    reply = ask(simulator, host, target)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 421 ")
    assert "--allow-host" in json.loads(body)["error"]["message"]
    assert not simulator.received


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"])
def test_its_own_names_are_answered(simulator: Simulator, host: str) -> None:
    """With or without a port."""
    assert ask(simulator, host).startswith(b"HTTP/1.1 200 ")


def test_a_request_without_a_name_is_no_browsers(simulator: Simulator) -> None:
    """HTTP/1.0 has none."""
    assert ask(simulator, None, version="1.0").startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("process", [False, True])
def test_more_names_can_be_given(process: bool) -> None:
    """As for a container that others call by its service's name."""
    with Simulator(allowed_hosts=["simulator"], process=process) as simulator:
        assert ask(simulator, "simulator:8080").startswith(b"HTTP/1.1 200 ")
        assert ask(simulator, "other").startswith(b"HTTP/1.1 421 ")


def test_a_server_on_all_addresses_is_called_by_the_one_that_was_reached() -> None:
    """And by its own bind address, whatever its form."""
    assert Names("0.0.0.0").include("192.168.1.5:8080", "192.168.1.5")
    assert not Names("0.0.0.0").include("192.168.1.5:8080", "192.168.1.6")
    assert Names("::").include("[fe80::1]:8080", "fe80::1")
    assert Names("192.168.1.5").include("192.168.1.5", "127.0.0.1")
    assert not Names("0.0.0.0").include("evil.example", "evil.example")
