"""Many prompts over other processes: shards of an executor, as one run to its user."""

from __future__ import annotations

import math
import os
import pickle
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import requests
from redis_server import RedisServer
from servers import PATIENCE

from responder import (
    BadRequestError,
    BudgetExceededError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    Limits,
    OpenAIResponder,
    Price,
    RetryPolicy,
    WorkerLostError,
)
from responder.many import pool, sharded, shards
from responder.many.journal import RedisJournal
from responder.simulator import Fault, Simulator

NUMBERS = [f"number {number}" for number in range(60)]


@pytest.fixture(scope="module")
def two_processes() -> Iterator[ProcessPoolExecutor]:
    """Two processes that share nothing with this one, and have a key of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "of-the-workers")
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
            while len(executor._processes) < 2:  # it starts the second one only when it sees no idle one
                executor.submit(abs, 0)
            yield executor


@pytest.fixture(autouse=True)
def no_slow_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a list may look like a slow input, whose shards are not filled; tests say how many calls there are."""
    monkeypatch.setattr(sharded, "_SLOW", math.inf)


@pytest.fixture
def gpt(simulator: Simulator) -> Iterator[OpenAIResponder]:
    """A responder that asks the simulator, and repeats nothing."""
    with OpenAIResponder("m", api_key="of-the-client", base_url=simulator.base_url("openai"), max_retries=0) as made:
        yield made


class Twice(ThreadPoolExecutor):
    """An engine that runs each task twice, as those do that lost what the first one returned."""

    def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
        super().submit(function, *arguments, **keywords)
        return super().submit(function, *arguments, **keywords)


def prompts_of(simulator: Simulator) -> Counter[str]:
    """Return how often each prompt arrived."""
    return Counter(request.prompt for request in simulator.received)


def said(results: Sequence[Any]) -> list[str]:
    return [result.text.removeprefix("Simulated answer to: ") for result in results]


def forked() -> ProcessPoolExecutor:
    """Make a pool whose processes can be killed."""
    return ProcessPoolExecutor(2, mp_context=get_context("fork"))


def test_answers_of_other_processes_come_in_order_with_one_summary(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """Shards of two processes are one batch, one summary and one page, with a line for each worker."""
    together = simulator.hold(8)
    batch = gpt.map(NUMBERS, executor=two_processes, max_workers=4, shard_size=6)
    assert together.wait(0), "both processes were asked at once, with four calls each"
    assert said(batch) == NUMBERS
    assert simulator.connections_opened <= 8
    summary = batch.summary()
    assert (summary.items, summary.ok, summary.attempts, summary.max_workers) == (60, 60, 60, 8)
    assert summary.usage.input_tokens == sum(result.usage.input_tokens for result in batch) > 0
    assert all(result.attempts == 1 and result.elapsed >= 0 for result in batch)
    history: Any = batch._history
    assert 5 <= history.record().lanes <= 8


def test_an_endless_input_is_read_as_far_as_needed(two_processes: ProcessPoolExecutor, gpt: OpenAIResponder) -> None:
    """`imap` pulls some shards ahead of what was taken, and leaving the loop ends it."""
    pulled = []

    def endless() -> Iterator[str]:
        while True:
            pulled.append(len(pulled))
            yield f"number {len(pulled) - 1}"

    seen = []
    with gpt.imap(endless(), executor=two_processes, max_workers=2, shard_size=5) as run:
        for result in run:
            seen.append(result)
            if len(seen) == 40:
                break
    assert said(seen) == [f"number {index}" for index in range(40)]
    assert len(pulled) <= 40 + 2 * 7 * 5


def test_a_slow_input_holds_no_answer_back(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is sent as it comes, although its shard is not full."""
    monkeypatch.setattr(sharded, "_SLOW", 0.05)
    allowed = []

    def slow() -> Iterator[str]:
        for number in range(3):
            if number:  # comes only once the one before it was answered
                allowed.append(simulator.wait_for(number) and simulator.wait_until_idle())
            time.sleep(0.06)  # what the run takes for slow
            yield f"number {number}"

    results = list(gpt.imap(slow(), executor=two_processes, max_workers=4))
    assert said(results) == NUMBERS[:3]
    assert allowed == [True, True]


def test_limits_that_hold_in_each_process_alone_are_told(simulator: Simulator) -> None:
    """Two processes would make twice as many requests."""
    url = simulator.base_url("openai")
    limits = Limits(requests_per_minute=60_000)
    with (
        OpenAIResponder("m", api_key="k", base_url=url, limits=limits) as gpt,
        ThreadPoolExecutor(1) as executor,
        pytest.warns(RuntimeWarning, match="each worker process"),
    ):
        gpt.map([], executor=executor)


def test_an_unordered_run_gives_every_index_once(two_processes: ProcessPoolExecutor, gpt: OpenAIResponder) -> None:
    """As shards end; `index` says which result is whose."""
    results = list(gpt.imap_unordered(NUMBERS, executor=two_processes, max_workers=3, shard_size=4))
    assert sorted(result.index for result in results) == list(range(60))
    assert all(said([result]) == [NUMBERS[result.index]] for result in results)


def test_a_failed_prompt_is_its_own_result(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """Errors travel whole."""
    simulator.script_for("number 7", Fault.status(400, "not this one"))
    batch = gpt.map(NUMBERS[:20], executor=two_processes, max_workers=2, shard_size=5)
    assert [result.index for result in batch.failures()] == [7]
    error = batch[7].error
    assert isinstance(error, BadRequestError)
    assert (error.status, error.provider, batch[7].attempts) == (400, "openai", 1)


@pytest.mark.parametrize("rule", ["raise", "stop", "fatal"])
def test_an_error_that_ends_the_run_ends_it_everywhere(
    rule: str, two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """Nothing new is sent in any process, and what is finished is kept."""
    simulator.script_for("number 3", Fault.status(401 if rule == "fatal" else 400, "no"))
    prompts = [f"number {number}" for number in range(400)]
    if rule == "raise":
        with pytest.raises(BadRequestError) as caught:
            gpt.map(prompts, executor=two_processes, max_workers=1, shard_size=10, on_error="raise")
        batch: Any = caught.value.batch  # type: ignore[attr-defined]  # the run that it ended put it there
    else:
        on_error: Any = "stop" if rule == "stop" else "collect"
        batch = gpt.map(prompts, executor=two_processes, max_workers=1, shard_size=10, on_error=on_error)
        assert len(batch) == 400
        assert isinstance(batch[399].error, CancelledError)
        assert "item 3" in str(batch[399].error)
    assert said([batch[0]]) == ["number 0"]
    assert simulator.wait_until_idle()
    assert len(simulator.received) < 400, "what was under way ends, and nothing else begins"


def test_a_cancel_reaches_the_workers(two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Calls in flight end, and nothing more is sent."""
    simulator.hold(1000)
    token = CancelToken()
    threading.Thread(target=lambda: simulator.wait_for(4, 100) and token.cancel("enough")).start()
    batch = gpt.map(NUMBERS, executor=two_processes, max_workers=2, shard_size=5, cancel=token)
    assert len(batch) == 60
    assert all(isinstance(result.error, CancelledError) for result in batch)
    assert simulator.wait_until_idle()
    assert len(simulator.received) == 4


def test_a_run_that_is_out_of_time_ends_with_what_it_has(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """`run_deadline` holds in the workers, too."""
    simulator.hold(1000)
    batch = gpt.map(NUMBERS, executor=two_processes, max_workers=2, shard_size=5, run_deadline=0.3)
    assert len(batch) == 60
    assert {type(result.error) for result in batch} == {DeadlineExceededError}
    assert simulator.wait_until_idle()


def test_max_errors_counts_the_failures_of_all_processes(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """The sixth failure ends the run, whoever had it: only what is in flight at that moment is sent beyond it."""
    simulator.always(Fault.status(400, "no"))
    prompts = [f"number {number}" for number in range(400)]
    batch = gpt.map(prompts, executor=two_processes, max_workers=2, shard_size=100, max_errors=6)
    assert len(batch) == 400
    assert 6 <= len(simulator.received) <= 6 + 3
    assert Counter(type(result.error) for result in batch)[BadRequestError] == len(simulator.received)
    assert "was stopped by item" in str(batch[399].error)


def test_a_stop_reaches_shards_that_are_at_work(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """The other process begins no more prompts, although its shard is long; the call that it was in is answered."""
    simulator.always(Fault.delay(0.03))
    simulator.script_for("number 0", Fault.status(400, "no"))
    prompts = [f"number {number}" for number in range(400)]
    batch = gpt.map(prompts, executor=two_processes, max_workers=1, shard_size=200, on_error="stop")
    assert isinstance(batch[0].error, BadRequestError)
    assert simulator.wait_until_idle()
    answered = sum(result.ok for result in batch)
    assert answered == len(simulator.received) - 1, "nothing that was sent is lost"
    assert answered < 190


def test_the_end_of_a_run_is_the_same_for_a_shard_that_had_to_wait(
    gpt: OpenAIResponder, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seconds were counted as it was sent; while it waited for a free process, the run's time went on."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    sent: list[tuple[Any, ...]] = []

    class Seen(ThreadPoolExecutor):
        def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
            sent.append(arguments)
            return super().submit(function, *arguments, **keywords)

    with Seen(1) as executor:
        gpt.map(["a"], executor=executor)
    _, order, _ = sent[0]
    prompts = pickle.dumps([(0, "b")])
    for seconds in (0.0, 1000.0):
        (row,) = pickle.loads(shards.ask("another run", order, shards.Shard("", prompts, seconds))).rows
        assert isinstance(row[2], DeadlineExceededError)
    assert len(simulator.received) == 1


def test_the_deadline_of_each_prompt_holds_in_the_workers(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """As it does in this process."""
    simulator.hold(1000)
    batch = gpt.map(NUMBERS[:8], executor=two_processes, max_workers=2, shard_size=2, deadline=0.1)
    assert {type(result.error) for result in batch} == {DeadlineExceededError}


def test_retries_are_a_share_of_the_whole_run(two_processes: ProcessPoolExecutor, simulator: Simulator) -> None:
    """An outage does not get more load than the share allows: two for each worker at first, and then a tenth."""
    for number in range(0, 60, 3):
        simulator.script_for(f"of {number:02}", Fault.status(500, times=4))
    prompts = [f"of {number:02}" for number in range(60)]
    policy = RetryPolicy(max_retries=3, first_backoff=0.001)
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), max_retries=policy) as gpt:
        gpt.map(prompts, executor=two_processes, max_workers=2, shard_size=5, retry_share=0.1)
    repeats = len(simulator.received) - 60
    assert 0 < repeats <= 2 * 4 + 60 / 9


def test_a_run_that_is_left_keeps_what_its_shards_have_got(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator, tmp_path: Path
) -> None:
    """With a checkpoint, answers that were paid for come home before the run ends: only the calls in flight are lost."""
    simulator.always(Fault.delay(0.005))
    checkpoint = tmp_path / "answers.db"
    prompts = [f"number {number}" for number in range(200)]
    with gpt.imap_unordered(prompts, executor=two_processes, max_workers=1, shard_size=20, checkpoint=checkpoint) as run:
        assert next(run).ok
    assert simulator.wait_until_idle()
    sent = len(simulator.received)
    again = gpt.map(prompts, checkpoint=checkpoint)
    assert again.ok
    assert sum(result.attempts == 0 for result in again) >= sent - 2


class Quits:
    """A journal whose store ends the program, as a tool with `sys.exit()` would."""

    def begin(self, shard: str) -> Any:
        return self

    def end(self, shard: str, seconds: float = 0) -> None:
        pass

    def take(self, *_: Any) -> Any:
        raise SystemExit("no more")

    find = store = take


def test_a_function_that_ends_its_thread_is_the_error_of_its_prompt(gpt: OpenAIResponder) -> None:
    """Its shard comes back, and the thread goes on with the next prompt."""
    with ThreadPoolExecutor(1) as executor:
        batch = gpt.map(NUMBERS[:3], executor=executor, max_workers=1, journal=Quits())
    assert ["SystemExit" in str(result.error) for result in batch] == [True] * 3


def test_a_thread_that_ends_for_want_of_work_leaves_no_task_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that comes as the last thread looks for the last time is done by a new one."""
    monkeypatch.setattr(pool, "_IDLE", 0.001)
    late: list[threading.Thread] = []

    class Late(queue.SimpleQueue[Any]):
        """Lets a task come just after a thread has found none."""

        def empty(self) -> bool:
            found = super().empty()
            if found and not late and threading.current_thread() is not threading.main_thread():
                late.append(threading.Thread(target=threads.put, args=([lambda _: second.set()],)))
                late[0].start()
                while super().empty():
                    time.sleep(0.001)
            return found

    first, second = threading.Event(), threading.Event()
    threads = pool.SharedPool(1)
    threads._tasks = Late()
    threads.put([lambda _: first.set()])
    assert first.wait(PATIENCE)
    assert second.wait(PATIENCE)
    late[0].join(PATIENCE)


def test_a_budget_holds_over_all_processes(two_processes: ProcessPoolExecutor, simulator: Simulator) -> None:
    """Each shard gets a part of the money; what is left over goes to others, and the end of it ends the run."""
    price = Price(input=1000.0, output=1000.0)
    url = simulator.base_url("openai")
    with OpenAIResponder("m", api_key="k", base_url=url, price=price, max_retries=0, max_tokens=10) as gpt:
        cost = gpt.answer("number 0").usage.total_tokens / 1000
        batch = gpt.map(NUMBERS, executor=two_processes, max_workers=2, shard_size=4, budget=30 * cost)
    spent = sum(result.cost or 0.0 for result in batch)
    answered = [result for result in batch if result.ok]
    assert spent <= 30 * cost * 1.001
    assert 15 <= len(answered) <= 30
    assert any(isinstance(result.error, BudgetExceededError) for result in batch)
    assert len(batch) == 60


def test_a_budget_that_is_enough_asks_all(two_processes: ProcessPoolExecutor, simulator: Simulator) -> None:
    """No prompt fails because its shard's part was too small."""
    price = Price(input=1000.0, output=1000.0)
    url = simulator.base_url("openai")
    with OpenAIResponder("m", api_key="k", base_url=url, price=price, max_retries=0, max_tokens=10) as gpt:
        cost = gpt.answer("number 10").usage.total_tokens / 1000
        batch = gpt.map(NUMBERS, executor=two_processes, max_workers=2, shard_size=4, budget=66 * cost)
    assert batch.ok, batch.failures()[0].error


def test_the_checkpoint_stays_with_the_client(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator, tmp_path: Path
) -> None:
    """A second run, with or without processes, asks only for the rest."""
    checkpoint = tmp_path / "answers.db"
    gpt.map(NUMBERS[:30], executor=two_processes, max_workers=2, shard_size=5, checkpoint=checkpoint)
    second = gpt.map(NUMBERS, executor=two_processes, max_workers=2, shard_size=5, checkpoint=checkpoint)
    assert [result.attempts for result in second] == [0] * 30 + [1] * 30
    assert said(second) == NUMBERS
    assert [result.attempts for result in gpt.map(NUMBERS, checkpoint=checkpoint)] == [0] * 60
    assert second.summary().reused == 30
    assert max(prompts_of(simulator).values()) == 1


def test_equal_prompts_are_sent_once_over_all_processes(
    two_processes: ProcessPoolExecutor, gpt: OpenAIResponder, simulator: Simulator
) -> None:
    """`dedupe` looks at all shards."""
    prompts = NUMBERS[:10] * 4
    batch = gpt.map(prompts, executor=two_processes, max_workers=2, shard_size=3, dedupe=True)
    assert said(batch) == prompts
    assert len(simulator.received) == 10
    assert sum(result.attempts for result in batch) == 10


def kill_one(simulator: Simulator, executors: list[ProcessPoolExecutor], number: int) -> None:
    """Kill a process of the first executor when so many requests have come."""
    assert simulator.wait_for(number, 100)
    os.kill(next(iter(executors[0]._processes)), signal.SIGKILL)


def killed_map(
    gpt: OpenAIResponder, simulator: Simulator, factory: bool, **keywords: Any
) -> tuple[Any, list[ProcessPoolExecutor]]:
    """Map over two processes, of which one is killed in the middle."""
    made: list[ProcessPoolExecutor] = []

    def make() -> ProcessPoolExecutor:
        made.append(forked())
        return made[-1]

    executor = make if factory else make()
    killer = threading.Thread(target=lambda: kill_one(simulator, made, 40))
    killer.start()
    prompts = [f"number {number}" for number in range(200)]
    batch = gpt.map(prompts, executor=executor, max_workers=2, shard_size=10, **keywords)
    killer.join(PATIENCE)
    return batch, made


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OpenAIResponder, Simulator]]:
    """A provider that takes a moment, so that a kill finds calls in flight, also where this process is held up."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with Simulator(latency=0.05) as simulator, OpenAIResponder("m", base_url=simulator.base_url("openai")) as gpt:
        yield gpt, simulator


def test_what_a_killed_worker_had_is_sent_again(slow: tuple[OpenAIResponder, Simulator]) -> None:
    """With a function that makes the executor nothing is lost, and only what was in flight is paid twice."""
    gpt, simulator = slow
    batch, made = killed_map(gpt, simulator, factory=True)
    assert batch.ok
    assert said(batch) == [f"number {number}" for number in range(200)]
    assert len(made) == 2
    assert sum(prompts_of(simulator).values()) - 200 <= 6 * 10, "three shards for each of two processes"


def test_a_pool_whose_processes_do_not_heed_their_end_is_replaced(slow: tuple[OpenAIResponder, Simulator]) -> None:
    """A web server's handler of SIGTERM goes into forked workers, and Python's pool waits for them for ever, with its lock."""
    gpt, _ = slow
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        batch, made = killed_map(gpt, slow[1], factory=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert batch.ok
    assert len(made) == 2


def test_a_journal_keeps_what_a_killed_worker_had_got(
    slow: tuple[OpenAIResponder, Simulator], redis_server: RedisServer, tmp_path: Path
) -> None:
    """The shard that is sent again asks only for what is missing: the calls that were in flight, two for each process.

    The pool ends its other process a moment after it has told the client, which may ask again for what that one still gets.
    """
    gpt, simulator = slow
    checkpoint = tmp_path / "answers.db"
    batch, _ = killed_map(gpt, simulator, factory=True, journal=redis_server.url, checkpoint=checkpoint)
    assert said(batch) == [f"number {number}" for number in range(200)]
    assert sum(prompts_of(simulator).values()) - 200 <= 4 + 6
    assert [result.attempts for result in gpt.map([result.prompt for result in batch], checkpoint=checkpoint)] == [0] * 200
    with redis_server.client() as redis:
        assert len(redis.keys("responder:journal:*")) <= 2, "what has come back is in the checkpoint"


def test_the_password_of_a_journal_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a pickle nor in a task's arguments; the worker has it in its environment."""
    journal = RedisJournal("redis://:secret-word@127.0.0.1:1/0")
    sent = pickle.dumps(journal)
    assert b"secret-word" not in sent
    assert "secret-word" not in repr(journal)
    with pytest.raises(ConfigurationError, match="export REDIS_PASSWORD"):
        pickle.loads(sent)
    monkeypatch.setenv("REDIS_PASSWORD", "other-word")
    arrived = pickle.loads(sent)
    assert arrived._client.connection_pool.connection_kwargs["password"] == "other-word"


def test_a_journal_that_is_away_costs_no_answer(
    gpt: OpenAIResponder, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls go on without it."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    redis_server.kill()
    with ThreadPoolExecutor(1) as executor:
        assert gpt.map(NUMBERS[:10], executor=executor, journal=redis_server.url).ok


def test_without_a_way_to_go_on_the_finished_shards_are_kept(slow: tuple[OpenAIResponder, Simulator], tmp_path: Path) -> None:
    """The rest says that its worker was lost; the same map with a new executor asks only for it."""
    gpt, simulator = slow
    checkpoint = tmp_path / "answers.db"
    batch, _ = killed_map(gpt, simulator, factory=False, checkpoint=checkpoint)
    finished = [result for result in batch if result.ok]
    lost = batch.failures()
    assert finished
    assert lost
    kinds = Counter(type(result.error) for result in lost)
    assert set(kinds) <= {WorkerLostError, CancelledError}
    assert 0 < kinds[WorkerLostError] <= 6 * 10, "what was with a worker, or on its way"
    assert "checkpoint=" in str(next(result.error for result in lost if isinstance(result.error, WorkerLostError)))
    with forked() as executor:
        again = gpt.map([result.prompt for result in batch], executor=executor, checkpoint=checkpoint, max_workers=2)
    assert again.ok
    assert sum(result.attempts == 0 for result in again) == len(finished)


def test_a_batch_job_goes_on_in_a_cluster_and_ends_in_a_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One file for all three: the job expires at half, the cluster loses a worker, and each prompt is paid once.

    The shards in flight at the kill are apart from that.
    """
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    prompts, file = [f"number {number}" for number in range(600)], tmp_path / "answers.db"
    with (
        Simulator(latency=0.02, batch_hours=48) as simulator,
        OpenAIResponder("m", base_url=simulator.base_url("openai")) as gpt,
        forked() as executor,
    ):
        job = gpt.submit(prompts, checkpoint=file)
        simulator.advance(hours=25)
        assert sum(result.ok for result in job.wait(deadline=PATIENCE, poll=0.005).results()) == 300
        batched = len(simulator.received)
        killer = threading.Thread(target=lambda: kill_one(simulator, [executor], batched + 60))
        killer.start()
        in_cluster = gpt.map(prompts, executor=executor, max_workers=2, shard_size=10, checkpoint=file)
        killer.join(PATIENCE)
        assert 300 < sum(result.ok for result in in_cluster) < 600
        finished = gpt.map(prompts, checkpoint=file)
        assert said(finished) == prompts
        paid = prompts_of(simulator) + Counter(prompt for batch in simulator.batches for prompt in batch.prompts)
    assert set(paid) - {None, ""} == set(prompts)
    assert sum(paid[prompt] for prompt in prompts) - 600 <= 6 * 10, "what the executor had"


def test_a_shard_that_kills_its_workers_is_given_up(slow: tuple[OpenAIResponder, Simulator]) -> None:
    """After three executors, its prompts have an error, and the run ends."""
    gpt, _ = slow
    made = []

    class Dying(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True) -> None:  # type: ignore[override]  # as loky has it
            super().shutdown(wait)

        def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
            from concurrent.futures import BrokenExecutor

            raise BrokenExecutor("a process was terminated abruptly")

    def make() -> Dying:
        made.append(1)
        return Dying(1)

    batch = gpt.map(["a"], executor=make)
    assert isinstance(batch[0].error, WorkerLostError)
    assert len(made) == 3


def test_what_cannot_travel_is_the_error_of_its_prompt(two_processes: ProcessPoolExecutor, gpt: OpenAIResponder) -> None:
    """The others are answered."""
    prompts: list[Any] = ["number 0", {"role": "user", "content": threading.Lock()}, "number 2"]
    batch = gpt.map(prompts, executor=two_processes, max_workers=2)
    assert [result.ok for result in batch] == [True, False, True]
    assert isinstance(batch[1].error, ConfigurationError)


def test_options_that_cannot_travel_are_refused(two_processes: ProcessPoolExecutor, gpt: OpenAIResponder) -> None:
    """Before anything is sent."""
    lock = threading.Lock()

    def weather(city: str) -> str:
        """Tell the weather."""
        with lock:
            return city

    with pytest.raises(ConfigurationError, match="cannot travel"):
        gpt.map(["a"], executor=two_processes, tools=[weather])


@pytest.mark.parametrize("stays", [{"session": requests.Session()}, {"extra_headers": {"X-Auth-Token": "secret"}}])
def test_what_would_be_missing_in_the_workers_is_refused(stays: dict[str, Any], simulator: Simulator) -> None:
    """They would send past a proxy, or without a header."""
    url = simulator.base_url("openai")
    with (
        OpenAIResponder("m", api_key="k", base_url=url, **stays) as gpt,
        ThreadPoolExecutor(1) as executor,
        pytest.raises(ConfigurationError, match=f"{next(iter(stays))}=.* does not travel"),
    ):
        gpt.map(["a"], executor=executor)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"executor": 3}, "executor must be"),
        ({"executor": ThreadPoolExecutor(1), "shard_size": 0}, "shard_size must be"),
        ({"shard_size": 5}, "belong to a run with executor"),
        ({"executor": ThreadPoolExecutor(1), "journal": 5}, "journal must be"),
        ({"executor": ThreadPoolExecutor(1), "journal": "http://x"}, "not the URL of a Redis"),
    ],
)
def test_keywords_that_make_no_sense_are_refused(gpt: OpenAIResponder, keywords: dict[str, Any], message: str) -> None:
    """The message says what is wanted."""
    with pytest.raises(ConfigurationError, match=message):
        gpt.map(["a"], **keywords)


def test_streams_stay_in_this_process(gpt: OpenAIResponder) -> None:
    """The message names what does travel."""
    with pytest.raises(ConfigurationError, match="imap"):
        gpt.stream_map(["a"], executor=ThreadPoolExecutor(1))  # type: ignore[call-arg]  # what the test is about


def test_an_engine_that_runs_a_task_twice_gives_each_result_once(
    gpt: OpenAIResponder, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is paid twice, and counted once."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with Twice(2) as executor:
        batch = gpt.map(NUMBERS, executor=executor, max_workers=2, shard_size=7, checkpoint=tmp_path / "answers.db")
    assert said(batch) == NUMBERS
    assert batch.summary().items == 60
    assert set(prompts_of(simulator).values()) <= {1, 2}
    assert [result.attempts for result in gpt.map(NUMBERS, checkpoint=tmp_path / "answers.db")] == [0] * 60


def test_shards_of_one_process_share_its_workers(
    gpt: OpenAIResponder, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine with many threads does not multiply the calls; shards overlap, so that no gap stands between them."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with ThreadPoolExecutor(8) as executor:
        together = simulator.hold(5)
        batch = gpt.map(NUMBERS, executor=executor, max_workers=5, shard_size=3)
    assert together.wait(0), "five calls at once from shards of three"
    assert said(batch) == NUMBERS
    assert simulator.most_in_flight == 5
