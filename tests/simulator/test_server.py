"""The server itself: many calls at once, barriers, paced streams, TLS, the log, life and death of the process form."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import trustme

import responder.simulator
from responder.simulator import Fault, Simulator

SOURCE = str(Path(responder.simulator.__file__).parents[2])


def in_threads(number: int, call: object) -> list[object]:
    """Call a function with 0, 1, 2, ... in as many threads, and return what they return."""
    results: list[object] = [None] * number

    def run(index: int) -> None:
        results[index] = call(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_barrier_opens_when_all_are_inside(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Four requests are answered only because they were there at once."""
    hold = simulator.hold(4)
    answers = in_threads(4, lambda index: json.loads(wire.ask(simulator, prompt=f"p{index}").body))
    assert hold.wait(60)
    assert [answer["choices"][0]["message"]["content"] for answer in answers] == [f"Simulated answer to: p{i}" for i in range(4)]
    assert simulator.most_in_flight == 4
    assert wire.ask(simulator).status == 200


def test_a_barrier_holds_those_who_are_too_few(simulator: Simulator, wire: SimpleNamespace) -> None:
    """One of two waits; a client that leaves no longer counts; release lets the rest go."""
    hold = simulator.hold(2)
    with wire.connected(simulator, 0.3) as connection:
        connection.sendall(wire.raw_request(wire.shape("openai")))
        assert wire.read_all(connection).timed_out
    assert simulator.wait_until_idle()
    with wire.connected(simulator) as connection:
        connection.sendall(wire.raw_request(wire.shape("openai")))
        assert simulator.wait_for(2, 60)
        assert not hold.wait(0.05)
        hold.release()
        assert wire.read_all(connection, until=wire.is_whole).status == 200


def test_a_thousand_calls_are_in_flight_at_once() -> None:
    """All of them are inside before the first is answered, and each gets its own answer."""
    number = 1000

    async def call(port: int, index: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"prompt {index}."}]})
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        reply = await reader.read()
        writer.close()
        return f"Simulated answer to: prompt {index}.".encode() in reply

    async def main(port: int) -> list[bool]:
        return await asyncio.gather(*(call(port, index) for index in range(number)))

    with Simulator() as simulator:
        hold = simulator.hold(number)
        assert all(asyncio.run(main(simulator.port)))
        assert hold.wait(0)
        assert (simulator.most_in_flight, simulator.connections_opened) == (number, number)


def test_connections_are_kept_alive_and_counted(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Three requests over one connection; it is gone when the client closes it."""
    with requests.Session() as session:
        for _ in range(3):
            session.post(simulator.base_url() + "/chat/completions", json=wire.shape("openai").body, timeout=60)
        assert (simulator.connections, simulator.connections_opened, len(simulator.received)) == (1, 1, 3)


def test_a_stream_keeps_the_pace_it_was_given(wire: SimpleNamespace) -> None:
    """Ten tokens at a hundred a second take a tenth of a second at least, and the first comes before the last."""
    with Simulator(reply="x" * 40, tokens_per_second=100) as simulator, wire.connected(simulator) as connection:
        connection.sendall(wire.raw_request(wire.shape("openai", stream=True)))
        first = wire.read_all(connection, until=lambda data: b'"content":"xxxx"' in data)
        assert b"[DONE]" not in first.data
        wire.read_all(connection, until=lambda data: data.endswith(b"0\r\n\r\n"))
        (entry,) = simulator.received
        assert entry.left - entry.arrived >= 0.099


def test_latency_comes_before_the_first_byte(wire: SimpleNamespace) -> None:
    """Drawn in turn from a list."""
    with Simulator(latency="list:0.15,0") as simulator:
        for _ in range(2):
            wire.ask(simulator)
        slow, _ = simulator.received
        assert slow.left - slow.arrived >= 0.149


def test_the_reply_can_be_a_text_or_a_function(wire: SimpleNamespace) -> None:
    """A fixed text for all, or one made from the prompt."""
    for reply, said in (("Yes.", "Yes."), (str.upper, "ABC")):
        with Simulator(reply=reply) as simulator:
            assert json.loads(wire.ask(simulator, prompt="abc").body)["choices"][0]["message"]["content"] == said


def test_the_log_remembers_no_more_than_it_was_told(wire: SimpleNamespace) -> None:
    """The oldest go first; the numbers go on."""
    with Simulator(log_size=2) as simulator:
        for index in range(4):
            wire.ask(simulator, prompt=f"p{index}")
        assert [(entry.index, entry.prompt) for entry in simulator.received] == [(2, "p2"), (3, "p3")]


def test_text_of_every_alphabet_comes_through_unharmed(simulator: Simulator, wire: SimpleNamespace) -> None:
    """As UTF-8, not as escapes."""
    prompt = "日本語 Ünïcödé 😀"
    for provider in ("openai", "anthropic", "gemini", "ollama"):
        assert prompt.encode() in wire.ask(simulator, provider, prompt).body
    assert [entry.prompt for entry in simulator.received] == [prompt] * 4


def test_tls_is_spoken_with_a_certificate(wire: SimpleNamespace, tmp_path: Path) -> None:
    """With a context (embedded) or with files (both forms), at https://localhost."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    root, chain, key = tmp_path / "root.pem", tmp_path / "chain.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(root)
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    files = {"certfile": str(chain), "keyfile": str(key)}
    for options in ({"ssl_context": context}, files, {**files, "process": True}):
        with Simulator(**options) as simulator:
            assert simulator.url.startswith("https://localhost:")
            reply = requests.post(
                simulator.base_url() + "/chat/completions", json=wire.shape("openai").body, verify=str(root), timeout=10
            )
            assert reply.status_code == 200
            assert len(simulator.received) == 1


def test_starting_twice_and_using_it_stopped_are_mistakes_with_advice() -> None:
    """Each says what to do; a second stop is harmless."""
    simulator = Simulator()
    with pytest.raises(RuntimeError, match="context manager"):
        _ = simulator.url
    with simulator, pytest.raises(RuntimeError, match="started already"):
        simulator.start()
    simulator.stop()


def test_a_port_that_is_taken_is_an_oserror() -> None:
    """In both forms, with the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for process in (False, True):
            with pytest.raises(OSError, match="in use"):
                Simulator(port=port, process=process).start()


def test_the_process_form_has_the_same_face(wire: SimpleNamespace) -> None:
    """Log, counters, scripts, barriers and waits, all over HTTP; and the process is gone afterwards."""
    with Simulator(process=True, models=["m"], latency="list:0") as simulator:
        simulator.script(Fault.status(429, retry_after=2))
        simulator.script_for("needle", Fault.status(503))
        assert simulator.pending_faults == 2
        assert [wire.ask(simulator, prompt=prompt).status for prompt in ("a needle", "b", "c")] == [503, 429, 200]
        assert [entry.outcome for entry in simulator.received] == ["fault:status", "fault:status", "answered"]
        assert simulator.received[2].prompt == "c"
        assert simulator.connections_opened == 3
        hold = simulator.hold(3)
        assert not hold.wait(0.01)
        assert in_threads(3, lambda _: wire.ask(simulator).status) == [200] * 3
        assert hold.wait(60)
        assert simulator.most_in_flight == 3
        assert simulator.wait_for(6, 60)
        assert simulator.wait_until_idle()
        simulator.always(Fault.status(500))
        assert wire.ask(simulator).status == 500
        simulator.always(None)
        with pytest.raises(ValueError, match="is invalid"):
            simulator.hold(0)
        simulator.clear()
        assert simulator.received == []
        port = simulator.port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5).close()


def test_the_process_form_takes_no_function() -> None:
    """A function cannot travel; the message says what can."""
    with pytest.raises(ValueError, match="fixed text"):
        Simulator(process=True, reply=str.upper)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_process_dies_with_its_parent() -> None:
    """The parent is killed, without a chance to clean up; the server notices the end of its standard input."""
    program = (
        "import sys\nfrom responder.simulator import Simulator\n"
        "simulator = Simulator(process=True).start()\n"
        "print(simulator.port, flush=True)\nsys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    try:
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            parent.send_signal(signal.SIGKILL)
            parent.wait(60)
            # Our own connection is cut when the orphan stops.
            assert connection.recv(1) == b""
    finally:
        parent.kill()
        parent.stdin.close()
        parent.stdout.close()
        parent.wait(60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return
    pytest.fail("The orphan still listens.")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_module_can_be_run_and_ended_by_a_signal(number: signal.Signals) -> None:
    """It prints one ready line, serves, and exits with 0."""
    child = subprocess.Popen(
        [sys.executable, "-m", "responder.simulator", "--reply", "Fixed.", "--latency", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    try:
        ready = json.loads(child.stdout.readline())
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        reply = requests.post(f"{ready['url']}/v1/chat/completions", json=body, timeout=60)
        assert reply.json()["choices"][0]["message"]["content"] == "Fixed."
        child.send_signal(number)
        _, complaints = child.communicate(timeout=60)
        assert (child.returncode, complaints) == (0, b"")
    finally:
        child.kill()
        child.communicate()


def test_without_aiohttp_the_message_says_what_to_install() -> None:
    """The package imports, the fixture too; only making a simulator fails."""
    program = (
        "import sys\nsys.modules['aiohttp'] = None\n"
        "import responder.simulator, responder.simulator.fixture\n"
        "try:\n    responder.simulator.Simulator()\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    assert 'pip install "responder-sdk[simulator]"' in done.stdout


def test_importing_the_package_does_not_import_the_server() -> None:
    """The test runner imports the fixture's module at every start: it must be cheap."""
    program = (
        "import responder.simulator, responder.simulator.fixture, sys\nprint('aiohttp' in sys.modules, 'asyncio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    assert done.stdout.split()[0] == "False"


def test_serve_prints_a_banner_with_the_base_urls_for_people() -> None:
    """On standard error, so that standard output stays clean; Ctrl-C ends it quietly."""
    program = "from responder.simulator import serve\nserve(port=0, latency=0.0)\n"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    try:
        lines = [child.stderr.readline() for _ in range(9)]
        assert "simulated" in lines[0]
        assert any("groq" in line and "/hosts/groq/openai/v1" in line for line in lines)
        child.send_signal(signal.SIGINT)
        out, rest = child.communicate(timeout=60)
        assert (child.returncode, out, rest) == (0, "", "")
    finally:
        child.kill()
        child.communicate()


def test_a_reset_reaches_through_tls(wire: SimpleNamespace) -> None:
    """With TLS too the connection breaks, without the farewell of TLS (OpenSSL reports the reset as an unexpected end)."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Simulator(ssl_context=context) as simulator:
        simulator.script(Fault.reset(after_bytes=10))
        plain = socket.create_connection(("127.0.0.1", simulator.port), 60)
        with trusting.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as connection:
            connection.sendall(wire.raw_request(wire.shape("openai")))
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert (head[:15], len(body)) == (b"HTTP/1.1 200 OK", 10)
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                connection.recv(65536)
