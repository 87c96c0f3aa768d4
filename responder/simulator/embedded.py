"""How does the simulator run in this process? In a thread; here is also what any backend can be asked, wherever it runs."""

# ruff: noqa: D102 - `Backend` says what each method does
from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .batches import BatchSeen
from .engine import Engine, Settings
from .faults import Fault
from .journal import Received

if TYPE_CHECKING:
    from .server import ServerThread


class Backend(Protocol):
    """What a simulator can be asked, wherever it runs."""

    def start(self) -> int:
        """Start to listen, and return the port."""
        ...

    def stop(self) -> None:
        """Stop; a second call does nothing."""
        ...

    def received(self) -> list[Received]:
        """Return the log."""
        ...

    def counts(self) -> dict[str, int]:
        """Return the counters by name."""
        ...

    def script(self, faults: tuple[Fault, ...]) -> None:
        """Queue faults for the next requests."""
        ...

    def script_for(self, text: str, faults: tuple[Fault, ...]) -> None:
        """Queue faults for requests with this text."""
        ...

    def always(self, fault: Fault | None) -> None:
        """Set the permanent fault."""
        ...

    def hold(self, size: int) -> int:
        """Build a barrier, and return its number."""
        ...

    def release(self, hold: int) -> None:
        """Open a barrier."""
        ...

    def wait_for_hold(self, hold: int, timeout: float) -> bool:
        """Wait for a barrier to open."""
        ...

    def wait_for(self, number: int, timeout: float) -> bool:
        """Wait for requests to arrive."""
        ...

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait until no request is in flight."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def batches(self) -> list[BatchSeen]:
        """Return the batches."""
        ...

    def advance(self, hours: float) -> None:
        """Wind the clock of the batches on."""
        ...


class EmbeddedBackend:
    """A simulator in a thread of this process."""

    def __init__(
        self,
        settings: Settings,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
        certfile: str | None,
        keyfile: str | None,
    ) -> None:
        from .server import ServerThread, tls_context

        if ssl_context is None and certfile is not None:
            ssl_context = tls_context(certfile, keyfile)
        self._engine = Engine(settings)
        self._build: Callable[[], ServerThread] = lambda: ServerThread(self._engine, host, port, ssl_context)
        self._thread: ServerThread | None = None

    def start(self) -> int:
        self._thread = self._build()
        return self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    def received(self) -> list[Received]:
        return self._engine.journal.received()

    def counts(self) -> dict[str, int]:
        return {**self._engine.journal.counts(), "pending_faults": self._engine.script.pending()}

    def script(self, faults: tuple[Fault, ...]) -> None:
        self._engine.script.add(faults)

    def script_for(self, text: str, faults: tuple[Fault, ...]) -> None:
        self._engine.script.add_for(text, faults)

    def always(self, fault: Fault | None) -> None:
        self._engine.script.set_always(fault)

    def hold(self, size: int) -> int:
        if self._thread is None:
            raise RuntimeError("This simulator is not running: use it as a context manager, or call start().")
        return self._engine.gates.build(size, self._thread.loop)

    def release(self, hold: int) -> None:
        self._engine.gates.get(hold).release()

    def wait_for_hold(self, hold: int, timeout: float) -> bool:
        return self._engine.gates.get(hold).opened.wait(timeout)

    def wait_for(self, number: int, timeout: float) -> bool:
        return self._engine.journal.wait_for(number, timeout)

    def wait_until_idle(self, timeout: float) -> bool:
        return self._engine.journal.wait_until_idle(timeout)

    def clear(self) -> None:
        self._engine.clear()

    def batches(self) -> list[BatchSeen]:
        return self._engine.batches.seen()

    def advance(self, hours: float) -> None:
        self._engine.batches.advance(hours)
