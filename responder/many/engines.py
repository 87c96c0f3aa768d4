"""Which executor runs the shards, how many processes does it have, and what can be done when it breaks?

Known by how they behave, and never imported: any `concurrent.futures.Executor`, a client of Dask, or a function that makes one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import Any

from responder.many import shards
from responder.values.clock import monotonic
from responder.values.errors import ConfigurationError

# Seconds between two looks at how many workers Dask has.
_LOOK_AGAIN = 2.0

# How other engines call the end of a worker. `BrokenExecutor` is that of the standard library and of loky.
_LOST = {"KilledWorker", "CommClosedError", "FutureCancelledError", "FuturesCancelledError", "WorkerLostError"}


def is_loss(error: BaseException) -> bool:
    """Return whether an engine's error says that a worker was lost, and nothing of the shard."""
    return isinstance(error, (BrokenExecutor, CancelledError)) or type(error).__name__ in _LOST


class Engine:
    """An executor, as a run uses it.

    Attributes:
        generation: How many executors it has had so far.
        overlaps: Whether a process works on several shards at once.

    Args:
        given: What `executor=` was: an Executor, a client of Dask, or a callable that makes one.

    Raises:
        ConfigurationError: It is none of them.
    """

    def __init__(self, given: Any) -> None:
        self.generation = 0
        self._make: Callable[[], Any] | None = None
        if isinstance(given, type) or not callable(getattr(given, "submit", None)):
            if not callable(given):
                raise ConfigurationError(
                    "executor must be a concurrent.futures.Executor, a client of Dask, or a function that makes one, "
                    f"not {given!r}",
                    fatal=True,
                )
            self._make = given
            given = given()
        self._use(given)

    def _use(self, given: Any) -> None:
        self.generation += 1
        client = given if _is_client(given) else getattr(given, "_client", None)
        self._client = client if _is_client(client) else None
        self._executor: Executor = given
        if self._client is not None:  # equal shards are two shards
            self._executor = self._client.get_executor(**{**getattr(given, "_kwargs", {}), "pure": False})
        self._processes = 0
        self.overlaps = False
        self._looked = 0.0
        if self._client is not None:
            _ask_for_the_profiler(self._client)

    @property
    def processes(self) -> int:
        """How many processes work for it, as far as it tells."""
        if self._client is None:
            return self._processes or self._count()
        if not self._processes or monotonic() - self._looked > _LOOK_AGAIN:
            self._looked = monotonic()
            with contextlib.suppress(Exception):  # a scheduler that is away: as many as before
                threads = self._client.nthreads()
                self._processes, self.overlaps = len(threads), min(threads.values(), default=1) > 1
        return max(self._processes, 1)

    def _count(self) -> int:
        for name in ("_max_workers", "max_workers", "num_workers"):
            found = getattr(self._executor, name, None)
            if isinstance(found, int) and found > 0:
                break
        else:
            found = os.cpu_count() or 1
        self.overlaps = type(self._executor).__name__ == "ThreadPoolExecutor"  # of one process
        self._processes = 1 if self.overlaps else found
        return self._processes

    def submit(self, run: str, order: bytes, shard: shards.Shard) -> Future[bytes]:
        """Begin a shard.

        Raises:
            Exception: The executor is broken, or was shut down.
        """
        return self._executor.submit(shards.ask, run, order, shard)

    def renew(self) -> bool:
        """Get ready to send again what was lost; False when this executor is broken for good."""
        if self._make is not None:
            self._shut_down()
            self._use(self._make())
            return True
        return self._client is not None and getattr(self._client, "status", "") == "running"

    def call_off(self, run: str) -> None:
        """End a run's calls in the processes of Dask; elsewhere the lamp does it."""
        self._tell(shards.call_off, run)

    def halt(self, run: str) -> None:
        """Begin no more of a run's prompts in the processes of Dask; elsewhere the lamp does it."""
        self._tell(shards.halt, run)

    def _tell(self, order: Callable[[str], None], run: str) -> None:
        """Call a function in the processes of Dask, from a thread of its own."""
        client = self._client
        if client is not None:

            def tell() -> None:
                with contextlib.suppress(Exception):  # workers that are gone have nothing to end
                    client.run(order, run)

            with contextlib.suppress(RuntimeError):  # no more threads
                threading.Thread(target=tell, name="responder-call-off", daemon=True).start()

    def close(self) -> None:
        """Shut down what was made here; an executor that was given belongs to its owner."""
        if self._make is None:
            return
        if self._client is not None:
            self._client.close()
            return
        self._shut_down()

    def _shut_down(self) -> None:
        if getattr(self._executor, "_broken", False):
            # Python's pool asks them to end with SIGTERM and waits, holding the lock that a shutdown takes. A forked process has
            # its parent's handler of that signal, and may go on. What it was doing is lost to the pool anyway.
            for process in list((getattr(self._executor, "_processes", None) or {}).values()):
                process.kill()
        try:
            self._executor.shutdown(wait=False, cancel_futures=True)
        except TypeError:  # loky and others know no such keyword
            self._executor.shutdown(wait=False)


def _is_client(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "distributed" and callable(getattr(given, "get_executor", None))


_has_warned = False


def _ask_for_the_profiler(client: Any) -> None:
    """Warn before the first shard, if this program has the profiler on; else a worker says so with its first results."""
    if _has_warned or not shards.profiler_is_on():
        return
    with contextlib.suppress(Exception):  # a cluster that cannot be asked says so when the first shard is sent
        if any(client.run(shards.profiler_hangs).values()):
            warn_of_the_profiler()


def warn_of_the_profiler() -> None:
    """Say once what may hang Dask's workers, and how it is switched off."""
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warnings.warn(
            "Dask's workers profile their threads, which can hang them forever on Python 3.11 (cpython gh-106883). Switch it off "
            'before the cluster starts: dask.config.set({"distributed.worker.profile.enabled": False}), or use Python 3.12',
            RuntimeWarning,
            stacklevel=2,
        )
