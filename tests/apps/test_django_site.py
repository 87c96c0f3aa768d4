"""The Django project, in a browser, under both kinds of server: several providers, a stream, and many prompts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from apps.browser import Window
from apps.conftest import EXAMPLES, LEFT, LONG, App
from shell import environment

from responder.simulator import Fault


@pytest.fixture(params=["site under gunicorn", "site under uvicorn"])
def site(request: pytest.FixtureRequest, launch: Callable[[str], App]) -> App:
    """Give the test the project under each server."""
    return launch(request.param)


@pytest.fixture
def plain_site(launch: Callable[[str], App]) -> App:
    """Give the test the project under one server, where the other would do the same."""
    return launch("site under gunicorn")


# Several providers


def test_a_provider_that_fails_costs_the_page_its_card_alone(plain_site: App, picture: Callable[[Window, str], None]) -> None:
    """Three providers answer, at the same time; the fourth has no such model, and its card says so."""
    plain_site.provider.hold(4)
    window = plain_site.open("/")
    window.type("input[name=question]", "Why is the sea salty?")
    window.wait_for("article")
    cards = window.texts("article")
    assert [card.split("\n")[0] for card in cards] == [
        "openai:simulated",
        "gemini:simulated",
        "anthropic:simulated",
        "azure:retired",
    ]
    assert ["Simulated answer to: Why is the sea salty?" in card for card in cards] == [True, True, True, False]
    assert "No answer" in cards[3]
    assert window.texts(".failed h2") == ["azure:retired"]
    assert window.fits_a_telephone()
    picture(window, "site-providers")


def test_a_silent_provider_is_left_out_after_the_deadline(plain_site: App) -> None:
    """One of the providers says nothing; the page comes all the same, with the answers of the others."""
    plain_site.provider.script_for("Why is the moon round?", Fault.silence())
    window = plain_site.open("/?question=Why is the moon round?")
    cards = window.texts("article")
    answered = [card for card in cards if "Simulated answer to: Why is the moon round?" in card]
    late = [card for card in cards if "took too long" in card]
    # The silent one may be the one that fails anyway.
    assert len(late) == 1
    assert len(answered) + len(window.texts(".failed")) == 4
    assert plain_site.provider.wait_until_idle(LEFT)


# A stream


def stream(site: App, question: str) -> Window:
    """Ask on the page with the stream, and wait until the answer grows."""
    window = site.open("/ask")
    window.type("input[name=question]", question)
    window.wait(lambda: question in window.text(".text"), "the answer's start")
    before = window.text(".text")
    window.wait(lambda: len(window.text(".text")) > len(before), "the answer's growth")
    return window


def test_an_answer_grows_while_it_is_written(site: App) -> None:
    """Text grows on the page before the provider has ended."""
    stream(site, f"What is tea, {LONG}?")
    assert site.provider.in_flight == 1


def test_a_closed_tab_frees_the_provider(site: App) -> None:
    """Closing the window ends the answer."""
    window = stream(site, f"What is salt, {LONG}?")
    window.close()
    assert site.provider.wait_until_idle(LEFT)
    assert [call.outcome for call in site.provider.received] == ["client left"]


def test_a_whole_answer_says_what_it_used(plain_site: App, picture: Callable[[Window, str], None]) -> None:
    """The page ends with the number of tokens, and does not ask again by itself."""
    window = stream(plain_site, "Why do leaves turn red?")
    window.wait(lambda: window.text(".state").endswith(" tokens"), "the end")
    picture(window, "site-stream")
    assert len(plain_site.provider.received) == 1


def test_a_failure_is_told(plain_site: App) -> None:
    """The page says that there is no answer, without the words of the provider."""
    plain_site.provider.script(Fault.status(400, "not today"))
    window = plain_site.open("/ask")
    window.type("input[name=question]", "What is ice?")
    window.wait(lambda: "could not be answered" in window.text(".state"), "the failure")


# Many prompts

# Each of the four workers meets one of these; until the last of them, nine other prompts are answered.
STUCK = ("clouds", "ice", "lighthouses", "harbours")


def begin_and_get_stuck(site: App) -> Window:
    """Start the map on its page, and wait until all its workers wait for a provider that says nothing."""
    for topic in STUCK:
        site.provider.script_for(f"Explain {topic} ", Fault.silence())
    window = site.open("/batch")
    window.click("#start")
    window.wait(lambda: window.text(".state") == "9 of 24 done, 0 failed.", "the ninth result")
    assert site.provider.in_flight == 4
    return window


def test_results_are_shown_while_the_map_is_at_work(site: App, picture: Callable[[Window, str], None]) -> None:
    """What is finished stands beside its prompt while four calls are still out."""
    window = begin_and_get_stuck(site)
    rows = window.texts("li")
    assert "Simulated answer to: Explain baseball in one sentence." in rows[0]
    assert "Simulated answer to: Explain honey in one sentence." in rows[9]
    assert rows[10] == "Explain ice in one sentence."
    assert window.fits_a_telephone()
    picture(window, "site-batch")


def test_cancel_ends_the_map(site: App) -> None:
    """The button ends the calls that are out; the page keeps what has come."""
    window = begin_and_get_stuck(site)
    window.click("#cancel")
    assert window.text(".state") == "Cancelled: 9 of 24 done, 0 failed."
    assert site.provider.wait_until_idle(LEFT)
    assert len(window.texts("li.done")) == 9


def test_a_closed_tab_ends_the_map(site: App) -> None:
    """Nobody looks any more: the calls that are out end, and no new one starts."""
    window = begin_and_get_stuck(site)
    window.close()
    assert site.provider.wait_until_idle(LEFT)
    assert len(site.provider.received) == 13


def test_two_users_map_at_once(site: App) -> None:
    """Each page gets its own results, to the last."""
    windows = [site.open("/batch") for _ in range(2)]
    for window in windows:
        window.click("#start")
    for window in windows:
        window.wait(lambda window=window: window.text(".state") == "Finished: 24 of 24 done, 0 failed.", "the end")  # type: ignore[misc]  # a default binds the loop's variable
    assert len(site.provider.received) == 48


def test_a_failed_prompt_is_told_beside_it(plain_site: App) -> None:
    """The other prompts have their answers."""
    plain_site.provider.script_for("Explain maps ", Fault.status(400, "no maps"))
    window = plain_site.open("/batch")
    window.click("#start")
    window.wait(lambda: window.text(".state") == "Finished: 24 of 24 done, 1 failed.", "the end")
    (failed,) = window.texts("li.failed")
    assert failed.startswith("Explain maps")
    assert "could not be answered" in failed


def test_the_pages_need_nothing_from_elsewhere(plain_site: App) -> None:
    """Fonts, scripts and styles all come from the application's own server."""
    for path in ("/", "/ask", "/batch"):
        window = plain_site.open(path)
        assert [url for url in window.loaded() if not url.startswith((plain_site.url, "data:"))] == []


def test_the_project_passes_djangos_checks() -> None:
    """`manage.py check` has nothing to say, not even a warning."""
    env = environment(RESPONDER_MODEL="simulated:demo", DJANGO_SECRET_KEY="for this test")
    command = [sys.executable, "manage.py", "check", "--fail-level", "WARNING"]
    found = subprocess.run(
        command, cwd=EXAMPLES / "django_site", env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
