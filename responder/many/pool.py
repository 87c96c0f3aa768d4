"""Threads that the shards of a run share in one process: as many calls at once as were asked for, however many shards."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias

Task: TypeAlias = Callable[[int], object]
"""Called with the number of the thread that does it; raises nothing."""

# Seconds without work after which a thread ends: longer than the gap between two shards.
_IDLE = 5.0


class SharedPool:
    """Runs tasks in the order in which they came.

    Daemon threads: a worker process that ends does not wait for calls whose results nobody will take.

    Args:
        most: How many threads there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._free = list(range(most, 0, -1))  # numbers of threads that do not run

    def put(self, tasks: Iterable[Task]) -> None:
        """Add tasks.

        Raises:
            RuntimeError: The system gives no thread, and none is running.
        """
        for task in tasks:
            self._tasks.put(task)
            if self._free:
                self._start()
        # A thread that is about to end looks for tasks with this lock: either it has seen these, or it is free by now.
        self._start()

    def _start(self) -> None:
        """Start a thread if there are tasks for it."""
        with self._lock:
            if not self._free or self._tasks.empty():
                return
            number = self._free.pop()
            try:
                threading.Thread(target=self._work, args=(number,), name=f"responder-shard_{number}", daemon=True).start()
            except (RuntimeError, MemoryError):
                self._free.append(number)
                if len(self._free) == self._most:
                    raise

    def _work(self, number: int) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._tasks.empty():
                        self._free.append(number)
                        return
                continue
            task(number)
            del task  # while this thread waits, nothing of the last shard may be kept alive
