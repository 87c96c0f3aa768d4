"""Who works for a run, and for whom? Its threads, the thread that reads its results, and what ends them with the program.

Plain threads and not a `ThreadPoolExecutor`: an executor starts nothing once the main thread has ended, though other threads
of the program may run for hours; and if the system refuses it a thread, it keeps work that will never be done.
"""

from __future__ import annotations

import contextlib
import contextvars
import encodings.idna
import encodings.utf_8_sig  # noqa: F401 - see below
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeAlias, TypeVar, cast

from responder.values.clock import monotonic
from responder.values.errors import CancelledError, ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

# A codec is imported when it is used for the first time. A child that is forked while a worker does that waits forever for a
# thread that only its parent has: what workers use is imported before they start.

# Seconds until a thread that the system refused is asked for again.
_SHORTAGE = 1.0

# How often the system may refuse a thread right after the last one has ended.
_REFUSALS = 100

# Seconds between checks, while the program ends, whether a thread still reads.
_GLANCE = 0.1


class Crew:
    """The worker threads of one run, and the thread that reads its results.

    Args:
        name: The name of the threads, followed by a number.
        most: How many there may be.

    Attributes:
        most: How many there may be.
        shortage: Why there are fewer, in the system's words; "" when the system refused none.
        is_alone: True when the ending interpreter refuses every new thread: the reading thread has to do the work itself.
    """

    def __init__(self, name: str, most: int) -> None:
        self.most = most
        self.shortage = ""
        self.is_alone = False
        self._name = name
        self._threads: list[threading.Thread] = []
        self._started = 0
        self._not_before = 0.0
        self._refusals = 0
        self._process = os.getpid()
        self._reader = 0
        self._is_read_at_exit = False

    # Working

    @property
    def started(self) -> int:
        """How many threads were started."""
        return self._started

    def start(self, work: Callable[..., object], *arguments: object) -> bool:
        """Start a worker thread; return False if the system has none left, and others (or the reader) must do the work.

        Raises:
            ConfigurationError: The system gives no thread, and none is running.
        """
        if self.is_alone or (self.shortage and monotonic() < self._not_before and self._is_at_work()):
            return False
        if len(self._threads) >= self.most:
            self._clear_away()
        thread = threading.Thread(target=work, args=arguments, name=f"{self._name}_{self._started}", daemon=False)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._clear_away()
            return self._do_without(error)
        self._started += 1
        self._refusals = 0
        self._threads.append(thread)
        return True

    def _clear_away(self) -> None:
        """Forget the threads that have ended: the system keeps the memory of each until then."""
        self._threads = [one for one in self._threads if one.is_alive()]

    def _do_without(self, error: Exception) -> bool:
        now = monotonic()
        if self._is_at_work():
            self.shortage = str(error) or "out of memory"
            self._not_before = now + _SHORTAGE
        elif "shutdown" in str(error):
            self.is_alone = True
        elif self._started and self._refusals < _REFUSALS:
            self._refusals += 1  # the last thread has just ended: the system is clearing it away
        else:
            raise ConfigurationError(
                f"no thread could be started ({str(error) or 'out of memory'}): this process has reached its limit of threads or "
                "memory (ulimit -u, ulimit -v, or the container's limit of pids or memory). Raise it, or end other threads"
            ) from error
        return False

    def _is_at_work(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait until all threads have ended."""
        for thread in self._threads:
            thread.join()

    # Reading

    def enter(self) -> None:
        """Note that the present thread reads the results.

        Raises:
            CancelledError: It belongs to a forked child, where the threads of its parent are missing.
        """
        self._reader = threading.get_ident()
        if _program_ends:
            self._is_read_at_exit = True
        if self.is_inherited:
            raise CancelledError("these results arrive in the parent of this forked process: start a new run here")

    @property
    def is_inherited(self) -> bool:
        """True in a forked child of the process that made this; locks and queues must not be touched there."""
        return os.getpid() != self._process

    @property
    def is_read_here(self) -> bool:
        """True when the present thread was the last to read, or when none has read anything."""
        return self._reader in (0, threading.get_ident())

    @property
    def is_deserted(self) -> bool:
        """True when the program ends, and the thread that read the results has ended or does not keep the program running."""
        if not _program_ends or not self._reader:
            return False
        main = threading.main_thread()
        if self._reader == main.ident:
            return not self._is_read_at_exit
        return not any(thread.ident == self._reader and not thread.daemon for thread in threading.enumerate())


Scope: TypeAlias = Callable[[], contextlib.AbstractContextManager[object]]
Carrier: TypeAlias = Callable[[], Scope]
_carriers: list[Carrier] = []


def carry_along(carrier: Carrier) -> None:
    """Let workers see what a framework keeps for the caller's thread, and not in a context variable.

    Args:
        carrier: Called in the caller's thread for each item; what it returns is called and entered in the worker.
    """
    _carriers.append(carrier)


def caller_context() -> contextvars.Context:
    """Return the context variables of the present thread, and what is carried along with them, for a worker to run in."""
    context = contextvars.copy_context()
    if not _carriers:
        return context
    return cast(contextvars.Context, _Carried(context, [carrier() for carrier in _carriers]))  # as far as `run` goes


class _Carried:
    def __init__(self, context: contextvars.Context, scopes: list[Scope]) -> None:
        self._context = context
        self._scopes = scopes

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._context.run(self._inside, work, *args, **kwargs)

    def _inside(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with contextlib.ExitStack() as stack:
            for scope in self._scopes:
                stack.enter_context(scope())
            return work(*args, **kwargs)


class Ending(Protocol):
    """Something with threads that can be ended."""

    _crew: Crew

    def _close(self, reason: str) -> None:
        """End it at once."""


_live: weakref.WeakValueDictionary[int, Ending] = weakref.WeakValueDictionary()
_numbers = itertools.count()
_program_ends = False


def end_with_program(run: Ending) -> None:
    """End a run when the program ends and no thread is left to read its results."""
    _live[next(_numbers)] = run
    if _program_ends:
        _start_watch()


def _prepare_end() -> None:
    global _program_ends
    _program_ends = True
    if _end_deserted_runs():
        _start_watch()


def _start_watch() -> None:
    # Threads of the program go on reading; should one of them leave a run unread, its workers must not wait forever.
    with contextlib.suppress(RuntimeError):  # Python 3.12.0 and 3.12.1 start no thread from here on
        threading.Thread(target=_watch, name="responder-end", daemon=True).start()


def _end_deserted_runs() -> bool:
    """End the runs that no thread reads; return whether others are left."""
    left = False
    for reference in _live.valuerefs():  # unlike a WeakSet, it can be listed while other threads add to it
        run = reference()
        if run is None:
            continue
        if run._crew.is_deserted:
            run._close("the program ended before all results were read")
        else:
            left = True
    return left


def _watch() -> None:
    while _end_deserted_runs():
        time.sleep(_GLANCE)


# The interpreter waits for threads before it runs `atexit`; workers of a run that was not ended (a loop left by an exception
# that ended the program) would hold it up until their calls time out. This hook runs before that wait.
if hasattr(threading, "_register_atexit"):
    try:
        threading._register_atexit(_prepare_end)
    except RuntimeError:  # imported after the main thread has ended
        _program_ends = True
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_live.clear)
