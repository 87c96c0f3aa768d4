"""Each step to the operating system fails in turn, in each of its ways; nothing finished is lost, and nothing is left behind.

`RESPONDER_INJECTIONS=all` (`make inject`) tries each step in each way; otherwise it is a part of them, chosen evenly.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from injection import WAYS, Injection, injected
from servers import PATIENCE, Server, always, reply

from responder import Limits, OpenAIResponder, ResponderError, RetryPolicy
from responder.cli import main
from responder.many.database import GATE
from responder.pace.breaker import forget_breakers
from responder.pace.registry import forget_limits

AT_LENGTH = os.environ.get("RESPONDER_INJECTIONS") == "all"

# Injections of each kind of run in the suite.
SOME = 20

WORKERS = 2
PROMPTS = [f"prompt {number}" for number in range(4)]

EVENTS = "".join(
    f"data: {event}\n\n"
    for event in (
        '{"choices":[{"index":0,"delta":{"content":"Hel"}}]}',
        '{"choices":[{"index":0,"delta":{"content":"lo."},"finish_reason":"stop"}]}',
        '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}',
        "[DONE]",
    )
).encode()


class Place:
    """Where one run happens: its server and its files."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.checkpoint = folder / "answers.db"
        self.session: requests.Session | None = None

    def responder(self, **keywords: Any) -> OpenAIResponder:
        keywords = {
            "api_key": "test-key",
            "base_url": f"{self.server.url}/v1",
            "max_retries": RetryPolicy(1, first_backoff=0.001),
            "timeout": 10.0,
            "deadline": 20.0,
            "limits": Limits(requests_per_minute=600_000, store=str(self.folder / "limits")),
            **keywords,
        }
        return OpenAIResponder("m", **keywords)


def a_map_with_a_checkpoint(place: Place) -> int:
    """Return how many prompts were answered."""
    with place.responder() as gpt:
        batch = gpt.map(PROMPTS, max_workers=WORKERS, checkpoint=place.checkpoint)
    assert len(batch) == len(PROMPTS)
    for result in batch:
        assert result.text == "Hello." if result.ok else isinstance(result.error, (ResponderError, MemoryError)), result
    return sum(result.ok for result in batch)


def a_stream(place: Place) -> int:
    with place.responder() as gpt, gpt.stream(PROMPTS[0]) as stream:
        assert "".join(stream) == "Hello."
    return 0


def an_answer_with_a_cache(place: Place) -> int:
    with place.responder(cache=place.checkpoint) as gpt:
        assert gpt.answer(PROMPTS[0]).text == "Hello."
    return 1


def an_answer_over_a_session(place: Place) -> int:
    with requests.Session() as session, place.responder(session=session) as gpt:
        assert gpt.answer(PROMPTS[0]).text == "Hello."
    return 0


def a_map_of_the_command_line(place: Place) -> int:
    """Return how many answers the file holds; each line of it is whole."""
    source, target = place.folder / "prompts.jsonl", place.folder / "answers.jsonl"
    source.write_text("".join(f'{{"prompt": "{prompt}"}}\n' for prompt in PROMPTS))
    target.unlink(missing_ok=True)
    words = f"map {source} -m openai:m -o {target} --overwrite --report {place.folder / 'report.html'} --workers {WORKERS}"
    done = CliRunner().invoke(
        main,
        [*words.split(), "--checkpoint", str(place.checkpoint), "--base-url", f"{place.server.url}/v1"],
        env={"OPENAI_API_KEY": "test-key"},
    )
    if isinstance(done.exception, Exception):
        raise done.exception  # a traceback for the user
    assert "Traceback" not in done.output
    if done.exit_code:
        assert "Error: " in done.output or "failed" in done.output or "not sent" in done.output, done.output
    lines = target.read_text().splitlines() if target.exists() else []
    return sum(json.loads(line).get("text") == "Hello." for line in lines)


RUNS: dict[Callable[[Place], int], bytes] = {
    a_map_with_a_checkpoint: reply(),
    a_stream: reply(EVENTS, Content_Type="text/event-stream"),
    an_answer_with_a_cache: reply(),
    an_answer_over_a_session: reply(),
    a_map_of_the_command_line: reply(),
}


def open_files(folder: Path) -> list[str]:
    found = []
    for number in Path("/proc/self/fd").iterdir():
        try:
            file = number.readlink()
        except OSError:
            continue  # the one that listed them
        if file.is_relative_to(folder):
            found.append(file.name)
    return found


def threads_of_ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    # Two end by themselves, seconds after there is nothing left for them to do; simulators belong to other tests.
    others = ("responder-idle", "responder-end", "responder-simulator")
    return [name for name in names if name.startswith("responder") and name not in others]


def wait_until(is_so: Callable[[], bool]) -> bool:
    ends = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > ends:
            return False
        gc.collect()
        time.sleep(0.001)
    return True


def check_nothing_is_left(place: Place, injection: Injection) -> None:
    assert wait_until(lambda: not threads_of_ours()), threads_of_ours()
    assert wait_until(lambda: all(sock.fileno() == -1 for sock in injection.sockets)), "a socket is left"
    injection.sockets.clear()
    # The limits' file stays open as long as the process may use it, and unlocked; a checkpoint is closed.
    assert wait_until(lambda: not [name for name in open_files(place.folder) if name != "limits"]), open_files(place.folder)
    if (place.folder / "limits").exists():
        assert not is_locked(place.folder / "limits")
    entered = threading.Event()

    def enter() -> None:
        with GATE:
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert entered.wait(PATIENCE), "the gate of SQLite is held"


def is_locked(path: Path) -> bool:
    """Return whether this process holds the lock of a file."""
    inode = f":{path.stat().st_ino} "
    return any(inode in line and f" {os.getpid()} " in line for line in Path("/proc/locks").read_text().splitlines())


def injections(kinds: list[str]) -> Iterator[tuple[int, int]]:
    """Yield steps and ways: all of them, or a part that holds each kind of step in each of its ways."""
    every = [(number, way) for number, kind in enumerate(kinds, 1) for way in range(len(WAYS[kind]))]
    if AT_LENGTH:
        yield from every
        return
    seen: set[tuple[str, int]] = set()
    for position, (number, way) in enumerate(every):
        is_new = (kinds[number - 1], way) not in seen
        seen.add((kinds[number - 1], way))
        if is_new or position % max(1, len(every) // SOME) == 0:
            yield number, way


# The command line takes ten times as many steps as the others: it has its turn with `make inject`.
IN_THE_SUITE = [run for run in RUNS if AT_LENGTH or run is not a_map_of_the_command_line]


@pytest.mark.parametrize("run", IN_THE_SUITE, ids=lambda run: run.__name__)
def test_whatever_step_fails_nothing_finished_is_lost_and_nothing_is_left(
    run: Callable[[Place], int], serve: Any, tmp_path: Path
) -> None:
    """For n = 1, 2, 3, ... the n-th step fails; the run ends with an error of ours or none, and the next one is as ever."""
    server = serve(always(RUNS[run]))
    with injected() as all_went_well:
        first = Place(server, tmp_path / "first")
        first.folder.mkdir()
        run(first)
    check_nothing_is_left(first, all_went_well)
    assert all_went_well.kinds
    whole = run(first)
    assert whole in (0, 1, len(PROMPTS))
    for number, way in injections(all_went_well.kinds):
        place = Place(server, tmp_path / f"{number}-{way}")
        place.folder.mkdir()
        forget_limits()
        forget_breakers()
        finished = 0
        with injected(number, way) as injection:
            try:
                finished = run(place)
            except (ResponderError, MemoryError) as error:
                outcome = f"{type(error).__name__}: {error}"
            else:
                outcome = "well"
        what = f"step {number}: {injection.failed}; {outcome}"
        try:
            check_nothing_is_left(place, injection)
            before = len(server.requests)
            forget_limits()
            forget_breakers()
            assert run(place) == whole, "the next run is not whole"
            # An answer that came when the file could not be written is in the caller's hands alone: one for each worker.
            in_hand = WORKERS if "database" in injection.failed else 0
            assert not whole or len(server.requests) - before <= whole - finished + in_hand, "something finished was asked again"
        except Exception as error:
            raise AssertionError(what) from error
