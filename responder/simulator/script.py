"""Which request meets which fault, and which requests wait for one another?

Both are set from the test's thread and read from the server's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import deque

from .faults import Fault


class Script:
    """The faults that are still to be served. All state lies behind one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()
        self._by_text: list[tuple[str, deque[Fault]]] = []
        self._always: Fault | None = None
        self._empty = True

    def add(self, faults: tuple[Fault, ...]) -> None:
        """Append faults for the next requests, one each, in order."""
        with self._lock:
            for fault in faults:
                self._queue.extend([fault] * fault.times)
            self._empty = False

    def add_for(self, text: str, faults: tuple[Fault, ...]) -> None:
        """Append faults for requests whose last user text equals or contains `text`."""
        with self._lock:
            queue: deque[Fault] = deque()
            for fault in faults:
                queue.extend([fault] * fault.times)
            self._by_text.append((text, queue))
            self._empty = False

    def set_always(self, fault: Fault | None) -> None:
        """Set the fault that every request meets for which nothing else is scripted; None ends it."""
        with self._lock:
            self._always = fault
            self._empty = False

    def take(self, prompt: str | None, path: str) -> Fault | None:
        """Return the fault for this request, and forget it.

        Faults for a text come first (an exact match before a contained one), then the queue, then the permanent one.
        A request without a prompt is matched by its path.
        """
        if self._empty:
            return None
        text = path if prompt is None else prompt
        with self._lock:
            for matches in (str.__eq__, str.__contains__):
                for wanted, queue in self._by_text:
                    if queue and matches(text, wanted):
                        return queue.popleft()
            if self._queue:
                return self._queue.popleft()
            return self._always

    def take_for(self, prompt: str) -> Fault | None:
        """Return the fault that is scripted for a text, and forget it."""
        with self._lock:
            for matches in (str.__eq__, str.__contains__):
                for wanted, queue in self._by_text:
                    if queue and matches(prompt, wanted):
                        return queue.popleft()
        return None

    def pending(self) -> int:
        """Return how many faults are still waiting for their request; the permanent one is not counted."""
        with self._lock:
            return len(self._queue) + sum(len(queue) for _, queue in self._by_text)

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._queue.clear()
            self._by_text.clear()
            self._always = None
            self._empty = True


class Gate:
    """A barrier: requests wait in it until `size` of them are inside at once. Then it stays open."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.size = size
        self.opened = threading.Event()
        self._loop = loop
        self._passed = asyncio.Event()
        # Only the loop's thread writes it.
        self.inside = 0

    async def enter(self) -> None:
        """Wait until the gate opens. A request whose client goes away leaves again."""
        if self.opened.is_set():
            return
        self.inside += 1
        try:
            if self.inside >= self.size:
                self._open()
            else:
                await self._passed.wait()
        finally:
            self.inside -= 1

    def release(self) -> None:
        """Open the gate from any thread, however many are inside."""
        self.opened.set()
        with contextlib.suppress(RuntimeError):  # The loop is closed: nothing waits any more.
            self._loop.call_soon_threadsafe(self._passed.set)

    def _open(self) -> None:
        self.opened.set()
        self._passed.set()


class Gates:
    """Keeps the gate that new requests enter, and the others by number until they are forgotten."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._all: dict[int, Gate] = {}
        self.current: Gate | None = None

    def build(self, size: int, loop: asyncio.AbstractEventLoop) -> int:
        """Put a gate before all requests that arrive from now on, and return its number. The previous gate opens."""
        if size < 1:
            raise ValueError(f"hold({size}) is invalid: give the number of requests that must be inside at once, 1 or more.")
        before = self.current
        number = next(self._numbers)
        self._all[number] = self.current = Gate(size, loop)
        if before is not None:
            before.release()
        return number

    def get(self, number: int) -> Gate:
        """Return a gate by its number."""
        return self._all[number]

    def clear(self) -> None:
        """Open and forget every gate."""
        self.current = None
        for gate in list(self._all.values()):
            gate.release()
        self._all.clear()
