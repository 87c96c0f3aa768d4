"""How does the simulator run in a separate process? Starts it, controls it over HTTP, and makes sure that it ends."""

# ruff: noqa: D102 - `Backend` in embedded.py says what each method does
from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from .batches import BatchSeen
from .engine import Settings
from .faults import Fault
from .journal import Received, received_from_json
from .reply import CONTROL_PREFIX

_STOP_S = 3.0
# Addresses that mean "listen on all"; they cannot be connected to.
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
# An order that waits is answered when its wait is over; the connection may take this much longer, in seconds.
_GRACE_S = 30.0
_STDERR_LINES = 20


class RemoteBackend:
    """A simulator in a process of its own, which ends with this one: its standard input is a pipe that we hold open.

    Args:
        settings: How it behaves.
        host: Address it listens on.
        port: Port it listens on; 0 takes a free one.
        certfile: PEM file with the certificate chain, None for plain HTTP.
        keyfile: PEM file with the private key.
    """

    def __init__(self, settings: Settings, host: str, port: int, certfile: str | None, keyfile: str | None) -> None:
        self._settings = settings
        self._host = host
        self._wanted_port = port
        self._certfile = certfile
        self._keyfile = keyfile
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._complaints: deque[str] = deque(maxlen=_STDERR_LINES)

    def start(self) -> int:
        options = {
            "host": self._host,
            "port": self._wanted_port,
            "certfile": self._certfile,
            "keyfile": self._keyfile,
            **{name: getattr(self._settings, name) for name in self._settings.__dataclass_fields__},
        }
        environment = dict(os.environ)
        # The child must find this package even where it is not installed, as in a source tree.
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "responder.simulator", "--settings", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # Ctrl-C in the terminal is for the parent: the log must still be there when it cleans up.
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("The simulator's pipes could not be opened.")
        process.stdin.write(json.dumps(options).encode() + b"\n")
        process.stdin.flush()
        reader = threading.Thread(target=self._collect, args=(process.stderr,), daemon=True)
        reader.start()
        line = process.stdout.readline()
        if not line:
            process.wait()
            reader.join(_STOP_S)
            self.stop()
            raise OSError("The simulator did not start:\n" + "".join(self._complaints))
        self._port = int(json.loads(line)["port"])
        return self._port

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def received(self) -> list[Received]:
        return received_from_json(self._order("received"))

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self._order("counts")
        return counts

    def script(self, faults: tuple[Fault, ...]) -> None:
        self._order("script", faults=[fault.to_json() for fault in faults])

    def script_for(self, text: str, faults: tuple[Fault, ...]) -> None:
        self._order("script_for", text=text, faults=[fault.to_json() for fault in faults])

    def always(self, fault: Fault | None) -> None:
        self._order("always", fault=None if fault is None else fault.to_json())

    def hold(self, size: int) -> int:
        return int(self._order("hold", size=size)["hold"])

    def release(self, hold: int) -> None:
        self._order("release", hold=hold)

    def wait_for_hold(self, hold: int, timeout: float) -> bool:
        return bool(self._order("wait_for_hold", hold=hold, timeout=timeout)["done"])

    def wait_for(self, number: int, timeout: float) -> bool:
        return bool(self._order("wait_for", number=number, timeout=timeout)["done"])

    def wait_until_idle(self, timeout: float) -> bool:
        return bool(self._order("wait_until_idle", timeout=timeout)["done"])

    def clear(self) -> None:
        self._order("clear")

    def batches(self) -> list[BatchSeen]:
        return [BatchSeen(**{**batch, "prompts": tuple(batch["prompts"])}) for batch in self._order("batches")]

    def advance(self, hours: float) -> None:
        self._order("advance", hours=hours)

    def _order(self, order: str, **values: Any) -> Any:
        if self._process is None:
            raise RuntimeError("This simulator is not running: use it as a context manager, or call start().")
        patience = float(values.get("timeout", 0.0)) + _GRACE_S
        host = "127.0.0.1" if self._host in _EVERYWHERE else self._host
        connection: http.client.HTTPConnection
        if self._certfile is None:
            connection = http.client.HTTPConnection(host, self._port, timeout=patience)
        else:
            # It is our own child on this machine, and its certificate need not be signed by a known authority.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, self._port, timeout=patience, context=context)
        with contextlib.closing(connection):
            connection.request(
                "POST",
                CONTROL_PREFIX + order,
                json.dumps(values),
                {"content-type": "application/json", "connection": "close"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise ValueError(answer["error"])
        return answer

    def _collect(self, stderr: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):  # Closed under us by stop().
            for line in stderr:
                self._complaints.append(line.decode("utf-8", "replace"))
