"""A run's money: set aside before each request, booked by what the provider counted, never passed by more than is in flight."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import PATIENCE, Peer, Server, always, one_by_one, reply, reply_body

from responder import (
    AzureOpenAIResponder,
    BudgetExceededError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    OpenAIResponder,
    Price,
    Progress,
    Usage,
)
from responder.pace.budget import Reservation, Spending
from responder.pace.prices import listed_price, price_later
from responder.values.deadline import NEVER

CENT_A_TOKEN = Price(input=10_000, output=10_000)
"""3 tokens in and 2 out, as the servers here count them, are 5 cents."""


def test_a_price_is_dollars_for_a_million_tokens() -> None:
    """Cached input has a price of its own."""
    price = Price(input=2.0, output=8.0, cached_input=0.5)
    assert price.cost(Usage(1_000_000, 0)) == 2.0
    assert price.cost(Usage(0, 1_000_000)) == 8.0
    assert price.cost(Usage(1_000_000, 0, cached_input_tokens=400_000)) == pytest.approx(0.6 * 2.0 + 0.4 * 0.5)
    assert Price(2.0, 8.0).cost(Usage(1_000_000, 0, cached_input_tokens=400_000)) == 2.0


def test_what_is_written_to_the_cache_costs_more() -> None:
    """A quarter more, as Anthropic bills it, unless you say otherwise."""
    usage = Usage(1_000_000, 0, cached_input_tokens=500_000, cache_write_tokens=400_000)
    assert Price(2.0, 8.0, cached_input=0.2).cost(usage) == pytest.approx(0.1 * 2.0 + 0.5 * 0.2 + 0.4 * 2.5)
    assert Price(2.0, 8.0, cached_input=0.2, cache_write=4.0).cost(usage) == pytest.approx(0.1 * 2.0 + 0.5 * 0.2 + 0.4 * 4.0)
    assert Price(2.0, 8.0).cost(Usage(10, 0, cached_input_tokens=10, cache_write_tokens=10**9)) == pytest.approx(20e-6)
    assert sum((usage, usage), Usage()).cache_write_tokens == 800_000


def test_the_list_of_prices_knows_what_a_cache_costs() -> None:
    """Anthropic's."""
    pytest.importorskip("genai_prices")
    from responder.pace.prices import listed_price

    price = listed_price("anthropic", "claude-sonnet-4-5")
    assert price is not None
    assert price.cost(Usage(1000, 0, known=True, cache_write_tokens=1000)) == pytest.approx(
        1.25 * price.cost(Usage(1000, 0, known=True))
    )


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", None, True])
def test_a_price_that_is_none_is_refused(value: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        Price(input=value, output=1.0)


@pytest.mark.parametrize("budget", [0, -1, math.inf, math.nan, "1", True])
def test_a_budget_that_is_none_is_refused(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], budget: Any
) -> None:
    """Before anything is sent."""
    server = serve(always())
    with pytest.raises(ConfigurationError, match="budget"):
        responder_for(server, price=CENT_A_TOKEN).map(["Hi"], budget=budget)
    assert not server.requests


@pytest.mark.acceptance(14)
def test_a_budget_without_a_price_is_an_error(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """An unknown model costs something unknown, and never nothing."""
    server = serve(always())
    with pytest.raises(ConfigurationError, match=r"price=Price\(input=") as caught:
        responder_for(server).map(["Hi"], budget=1.0)
    assert "openai:m" in str(caught.value)
    assert not server.requests
    azure = AzureOpenAIResponder("my-deployment", api_key="k", endpoint="https://x.openai.azure.com")
    with pytest.raises(ConfigurationError, match="price="):
        azure.imap(["Hi"], budget=1.0)


def test_without_the_list_of_prices_the_error_says_how_to_get_it() -> None:
    """The extra is named as one would type it."""
    code = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from responder import OpenAIResponder\n"
        "OpenAIResponder('gpt-4o-mini', api_key='k').map(['Hi'], budget=1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert 'pip install "responder-sdk[prices]"' in done.stderr


def test_the_list_of_prices_knows_the_usual_models() -> None:
    """Under our names for the providers, also for a dated model."""
    pytest.importorskip("genai_prices")
    million = Usage(100_000, 100_000, known=True)
    for provider, model in (
        ("openai", "gpt-4o-mini"),
        ("gemini", "gemini-2.5-flash"),
        ("vertex", "gemini-2.5-flash"),
        ("anthropic", "claude-sonnet-4-5"),
        ("groq", "llama-3.3-70b-versatile"),
    ):
        price = listed_price(provider, model)
        assert price is not None, (provider, model)
        assert 0 < price.cost(million) < 100
    assert listed_price("openai", "no-such-model") is None
    assert listed_price("no-such-provider", "gpt-4o-mini") is None


def test_prices_are_imported_when_a_cost_is_wanted_and_not_before() -> None:
    """Importing the list takes a tenth of a second, in which hundreds of calls could be sent."""
    pytest.importorskip("genai_prices")
    code = (
        "import sys\n"
        "from responder import Usage\n"
        "from responder.pace.prices import price_later\n"
        "price = price_later('openai', 'gpt-4o-mini')\n"
        "assert 'genai_prices' not in sys.modules\n"
        "assert price.cost(Usage(1_000_000, 0, known=True)) == 0.15\n"
        "assert 'genai_prices' in sys.modules\n"
        "assert price_later('openai', 'no-such-model').cost(Usage(1, 1, known=True)) is None\n"
        "assert price_later('no-such-provider', 'gpt-4o-mini').look_up() is False\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_list_a_later_price_is_unknown() -> None:
    """Never 0."""
    code = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from responder import Usage\n"
        "from responder.pace.prices import listed_price, price_later\n"
        "assert price_later('openai', 'gpt-4o-mini').cost(Usage(1, 1, known=True)) is None\n"
        "assert listed_price('openai', 'gpt-4o-mini') is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("provider", "model", "listed"),
    [
        ("openai", "gpt-4o-mini", "openai"),
        ("anthropic", "claude-sonnet-4-5", "anthropic"),  # dearer above 200,000 tokens, as the next one
        ("gemini", "gemini-2.5-pro", "google"),
        ("groq", "llama-3.3-70b-versatile", "groq"),  # no price for cached input
        ("deepseek", "deepseek-chat", "deepseek"),
    ],
)
def test_a_listed_price_is_the_lists_own(provider: str, model: str, listed: str) -> None:
    """Also where it is worked out once, and not by the list for each call."""
    genai_prices = pytest.importorskip("genai_prices")
    price = price_later(provider, model)
    for tokens in [
        (0, 0, 0),
        (1, 1, 0),
        (1234, 77, 1000),
        (32_000, 200_000, 7),
        (199_999, 10, 0),
        (200_001, 5000, 3),
        (999_999, 65_536, 999_999),
    ]:
        usage = Usage(tokens[0], tokens[1], tokens[2], known=True)
        counts = genai_prices.Usage(input_tokens=tokens[0], output_tokens=tokens[1], cache_read_tokens=tokens[2])
        expected = float(genai_prices.calc_price(counts, model_ref=model, provider_id=listed).total_price)
        assert price.cost(usage) == pytest.approx(expected, rel=1e-9, abs=1e-12)


FORK = """
import ctypes, os, sys, threading, time
from responder import Usage
from responder.pace import prices
from responder.pace.prices import price_later

inside, release = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "genai_prices":
            inside.set()
            release.wait(60)

sys.meta_path.insert(0, Slow())
price = price_later("openai", "gpt-4o-mini")
usage = Usage(1_000_000, 0, known=True)
worker = threading.Thread(target=price.cost, args=(usage,), daemon=True)
worker.start()
inside.wait(60)
if sys.argv[1] == "os":
    prices._LONGEST_IMPORT = 60.0  # however busy the machine is
    threading.Timer(0.2, release.set).start()
    child = os.fork()
else:
    time.sleep(0.2)  # until the thread rests: one that just wakes up may hold what the interpreter's own lock needs
    child = ctypes.PyDLL(None).fork()
if child == 0:
    try:
        assert price.cost(usage) == (0.15 if sys.argv[1] == "os" else None)
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
release.set()
worker.join(60)
assert price.cost(usage) == 0.15
for _ in range(3000):
    found, status = os.waitpid(child, os.WNOHANG)
    if found:
        sys.exit(os.waitstatus_to_exitcode(status))
    threading.Event().wait(0.01)
os.kill(child, 9)
sys.exit("the child hangs")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["os", "c"])
def test_a_fork_while_prices_are_imported_leaves_no_child_hanging(how: str) -> None:
    """It waits for the import; a child of C code, which nobody announces, does without prices."""
    pytest.importorskip("genai_prices")
    program = [sys.executable, "-W", "ignore", "-c", FORK, how]
    done = subprocess.run(program, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_results_and_batch_tell_what_was_spent(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """By the tokens that the provider counted."""
    batch = responder_for(serve(always()), price=CENT_A_TOKEN).map(["a", "b", "c"])
    assert [result.usage for result in batch] == [Usage(3, 2, known=True)] * 3
    assert [result.cost for result in batch] == [pytest.approx(0.05)] * 3
    assert batch.cost == pytest.approx(0.15)
    assert batch.usage == Usage(9, 6, known=True)


def test_failed_attempts_are_counted_in(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """An answer that the filter blocked is billed; so is an empty one that is asked again."""
    blocked = reply(
        reply_body(choices=[{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "content_filter"}])
    )
    gpt = responder_for(serve(one_by_one(blocked, reply())), price=CENT_A_TOKEN)
    batch = gpt.map(["a", "b"], max_workers=1)
    assert [result.ok for result in batch] == [False, True]
    assert batch.usage == Usage(6, 4, known=True)
    assert batch.cost == pytest.approx(0.10)


def test_the_model_that_answered_is_priced(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """A router, a deployment or an alias may stand for another one than its name says."""
    pytest.importorskip("genai_prices")
    server = serve(always(reply(reply_body(model="gpt-4o-2024-08-06"))))
    result = responder_for(server).map(["Hi"])[0]
    listed = listed_price("openai", "gpt-4o-2024-08-06")
    assert listed is not None
    assert result.cost == listed.cost(result.usage)
    given = responder_for(server, price=Price(1, 1)).map(["Hi"])[0]
    assert given.cost == pytest.approx(5e-6)  # a price that was given holds for every model behind the name


def test_without_a_price_the_cost_is_unknown_and_not_zero(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """None says so."""
    batch = responder_for(serve(always())).map(["a"])
    assert batch[0].cost is None
    assert batch.cost is None


def test_progress_tells_tokens_and_cost(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """So far, failed attempts included."""
    seen: list[Progress] = []
    responder_for(serve(always()), price=CENT_A_TOKEN).map(["a", "b"], max_workers=1, progress=seen.append)
    assert [(each.input_tokens, each.output_tokens) for each in seen] == [(3, 2), (6, 4)]
    assert [each.cost for each in seen] == [pytest.approx(0.05), pytest.approx(0.10)]


@pytest.mark.acceptance(14)
@pytest.mark.parametrize("workers", [1, 8])
def test_a_budget_is_not_passed(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], workers: int
) -> None:
    """Requests of 5 cents each and a dollar: twenty are asked at most, and the rest is not sent and says why."""
    server = serve(always())
    gpt = responder_for(server, price=CENT_A_TOKEN, max_tokens=2)
    batch = gpt.map([f"prompt {number}" for number in range(60)], max_workers=workers, budget=1.0)
    assert batch.cost is not None
    assert batch.cost <= 1.0
    answered = [result for result in batch if result.ok]
    assert 10 <= len(answered) == len(server.requests) <= 20
    assert any(isinstance(result.error, BudgetExceededError) for result in batch)
    unsent = [result for result in batch if not result.ok]
    assert all(result.attempts == 0 and "budget" in str(result.error) for result in unsent)
    assert all(isinstance(result.error, (BudgetExceededError, CancelledError)) for result in unsent)


def test_calls_in_flight_are_not_ended_by_the_budget(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """They are paid for; what waits for them learns from their real cost whether there is room."""

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.server.released.wait(PATIENCE)
            peer.send(reply())

    server = serve(handler)
    gpt = responder_for(server, price=CENT_A_TOKEN, max_tokens=20)  # about 50 cents are set aside, 5 are spent
    threading.Thread(target=lambda: (server.wait_for(2), server.released.set()), daemon=True).start()
    batch = gpt.map([f"prompt {number}" for number in range(6)], max_workers=6, budget=1.4)
    assert batch.ok, [str(result.error) for result in batch]
    assert batch.cost == pytest.approx(0.30)


def test_a_run_that_is_ended_waits_for_no_money() -> None:
    """The token wakes who waits for others to settle."""
    spending = Spending(1.0)
    held = spending.reserve(CENT_A_TOKEN, 40, 80, NEVER, None)
    token = CancelToken()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            spending.reserve(CENT_A_TOKEN, 40, 80, NEVER, token)
        except CancelledError as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    token.cancel("enough")
    waiter.join(PATIENCE)
    assert not waiter.is_alive()
    assert "enough" in str(errors[0])
    held.settle(0.0)


@given(
    budget=st.floats(0.01, 100),
    requests=st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 500), st.floats(0, 1)), max_size=60),
)
def test_what_is_set_aside_and_spent_stays_within_the_budget(budget: float, requests: list[tuple[int, int, float]]) -> None:
    """Whatever is asked and billed, as long as no bill is above its estimate."""
    spending = Spending(budget)
    spent = 0.0
    aside = []
    for size, max_tokens, part in requests:
        reservation = spending.try_reserve(CENT_A_TOKEN, size, max_tokens)
        if reservation is not None:
            aside.append((reservation, part))
        assert spent + sum(held.dollars for held, _ in aside) <= budget * (1 + 1e-9)
        if len(aside) > 3:
            held, part = aside.pop(0)
            held.settle(held.dollars * part)
            spent += held.dollars * part
    assert spent <= budget * (1 + 1e-9)


@pytest.mark.parametrize("count", [10**17, 10**4000, -5, math.nan, math.inf])
def test_an_absurd_reply_uses_up_no_budget(count: Any) -> None:
    """Neither what it says that it cost, nor what it says how long prompts and answers are."""
    price = Price(1.0, 1.0)
    spending = Spending(1.0)
    for usage in (Usage(count, 1, known=True), Usage(1, count, known=True)):
        held = spending.reserve(price, 40, None, NEVER, None)
        spending.learn(40, usage)
        held.settle(price.cost(usage))
    for _ in range(10):
        spending.reserve(price, 40, None, NEVER, None).settle(0.0)


def test_one_reply_that_may_be_true_does_not_spoil_the_estimates() -> None:
    """A hundred million tokens for forty bytes: the next requests are still asked."""
    spending = Spending(1.0)
    spending.learn(40, Usage(90_000_000, 90_000_000, known=True))
    spending.reserve(Price(1.0, 1.0), 40, None, NEVER, None).settle(0.0)


def test_the_estimates_follow_what_was_counted() -> None:
    """Requests of few bytes and many tokens (a file that the provider has) cost what they cost, within a few of them."""
    spending = Spending(1_000.0)
    for _ in range(4):
        spending.learn(100, Usage(100_000, 50_000, known=True))
    held = spending.reserve(Price(1.0, 1.0), 100, None, NEVER, None)
    assert held.dollars > 0.05


class Collecting(Price):
    """Settles reservations whenever it is asked for a cost, as the garbage collector may between any two steps of a thread."""

    dropped: ClassVar[list[Reservation]] = []

    def cost(self, usage: Usage) -> float:
        if Collecting.dropped:
            Collecting.dropped.pop().settle(0.25)
        return super().cost(usage)


def test_a_reservation_may_be_settled_by_the_garbage_collector() -> None:
    """It ends a dropped stream in any thread, also in one that counts the money: that must neither lock up nor be lost."""
    spending = Spending(1.0)
    price = Collecting(1.0, 1.0)
    Collecting.dropped = [spending.reserve(price, 4, 249_999, NEVER, None) for _ in range(3)]
    done = threading.Event()

    def work() -> None:
        for _ in range(3):
            spending.reserve(price, 4, 249_999, NEVER, None).settle(0.0)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(PATIENCE)
    assert spending.try_reserve(price, 4, 249_999) is not None  # three quarters are spent
    assert spending.try_reserve(price, 4, 249_999) is None


def test_a_reservation_counts_once() -> None:
    """Settling a second time changes nothing."""
    spending = Spending(1.0)
    held = spending.reserve(Price(1.0, 1.0), 4, 499_999, NEVER, None)
    for _ in range(5):
        held.settle(0.5)
    assert spending.try_reserve(Price(1.0, 1.0), 4, 499_999) is not None


def test_the_error_pickles() -> None:
    """As all of them do."""
    assert str(pickle.loads(pickle.dumps(BudgetExceededError("used up")))) == "used up"
