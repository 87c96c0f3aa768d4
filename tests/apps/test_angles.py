"""The page with four angles, in a browser: Gradio, and Django under both kinds of server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from apps.browser import Window
from apps.conftest import EXAMPLES, LEFT, LONG, App, load, run

from responder.simulator import Fault

prompts = load(EXAMPLES / "angles" / "angles.py").prompts
WORDS = ("Go deep", "Go wide", "Show the structure", "Tell it along time")


class Angles:
    """The application, and how to use its page."""

    def __init__(self, app: App, name: str) -> None:
        self.app = app
        self.provider = app.provider
        self.is_gradio = name == "gradio"
        self.boxes = ".block.answer" if self.is_gradio else "article .text"
        self._question = "#question textarea" if self.is_gradio else "input[name=question]"
        self.stop = "#stop"

    def ask(self, question: str) -> Window:
        """Open the page and ask."""
        window = self.app.open("/")
        window.type(self._question, question)
        return window

    def wait_for_growth(self, window: Window) -> list[str]:
        """Wait until every box shows the start of its own answer, and then for more in every box; return the texts."""

        def begun() -> bool:
            texts = window.texts(self.boxes)
            return len(texts) == 4 and all(words in text for text, words in zip(texts, WORDS, strict=True))

        window.wait(begun, "a start of every answer")
        before = window.texts(self.boxes)

        def grown() -> bool:
            return all(len(text) > len(was) for text, was in zip(window.texts(self.boxes), before, strict=True))

        window.wait(grown, "growth in every box")
        return window.texts(self.boxes)


@pytest.fixture(params=["gradio", "django under gunicorn", "django under uvicorn"])
def angles(request: pytest.FixtureRequest, launch: Callable[[str], App]) -> Angles:
    """Give the test each form of the application in turn."""
    return Angles(launch(request.param), request.param)


def test_all_boxes_grow_before_any_answer_is_complete(angles: Angles) -> None:
    """Text grows in four boxes while all four answers are still being written, each from its own angle."""
    window = angles.ask(f"Why do we sleep, {LONG}?")
    texts = angles.wait_for_growth(window)
    assert angles.provider.in_flight == 4
    assert all(text.startswith(f"Simulated answer to: Why do we sleep, {LONG}?") for text in texts)


def test_a_closed_tab_frees_the_provider(angles: Angles) -> None:
    """Closing the window ends the four answers long before they are complete."""
    window = angles.ask(f"Why do we dream, {LONG}?")
    angles.wait_for_growth(window)
    window.close()
    assert angles.provider.wait_until_idle(LEFT)
    assert [call.outcome for call in angles.provider.received] == ["client left"] * 4


def test_a_closed_tab_frees_a_silent_provider(angles: Angles) -> None:
    """It does so, too, while the provider says nothing more that could be sent to the page.

    The boxes show a text first. Gradio does not end an event whose page is closed between its question and its request for the
    stream of results, which a busy browser sends late. (Providers that are silent from the start: `integrations/test_web.py`.)
    """
    angles.provider.always(Fault.stall_stream(40))
    window = angles.ask("Is anybody there?")
    window.wait(lambda: len(texts := window.texts(angles.boxes)) == 4 and all(texts), "a text in every box")
    window.close()
    assert angles.provider.wait_until_idle(25)  # at 30 s the application would give up by itself
    assert [call.outcome for call in angles.provider.received] == ["client left"] * 4


def test_the_stop_button_frees_the_provider(angles: Angles) -> None:
    """Pressing Stop ends the answers, and leaves what has come on the page."""
    window = angles.ask(f"Why do we laugh, {LONG}?")
    angles.wait_for_growth(window)
    window.click(angles.stop)
    assert angles.provider.wait_until_idle(LEFT)
    assert all("Why do we laugh" in text for text in window.texts(angles.boxes))


def test_two_users_are_served_at_once(angles: Angles) -> None:
    """Two windows fill at the same time, each with the answers to its own question."""
    questions = (f"What is tea, {LONG}?", f"What is salt, {LONG}?")
    windows = [angles.ask(question) for question in questions]
    for window, question in zip(windows, questions, strict=True):
        assert all(question in text for text in angles.wait_for_growth(window))
    assert angles.provider.in_flight == 8


def test_complete_answers_are_asked_for_once(angles: Angles) -> None:
    """Each box ends with its whole answer, and a page that is done does not ask again by itself."""
    window = angles.ask("Why is the sky blue?")
    assert angles.provider.wait_for(4, 30)
    assert angles.provider.wait_until_idle(60)
    whole = [run.essay(prompt).split()[-1] for prompt in prompts("Why is the sky blue?")]
    window.wait(lambda: [text.split()[-1:] for text in window.texts(angles.boxes)] == [[word] for word in whole], "whole answers")
    if not angles.is_gradio:
        window.wait(lambda: window.texts(".state") == ["done"] * 4, "four times done")
    assert len(angles.provider.received) == 4


def test_one_failure_leaves_the_other_boxes_alone(angles: Angles) -> None:
    """The provider refuses one of the four; its box says so without details, and the others have their answers."""
    angles.provider.script_for("Go wide", Fault.status(400, "too wide"))
    window = angles.ask("Why is grass green?")
    shown = angles.boxes if angles.is_gradio else "article"
    window.wait(lambda: "could not be answered" in window.texts(shown)[1], "the failure")
    window.wait(lambda: all(window.texts(shown)), "text in the others")
    assert [("could not be answered" in text) for text in window.texts(shown)] == [False, True, False, False]
    assert angles.provider.wait_until_idle(30)


def test_what_has_come_stays_while_the_provider_pauses(angles: Angles, picture: Callable[[Window, str], None]) -> None:
    """Four answers that pause at different points are shown as far as they came."""
    for words, events in zip(WORDS, (110, 70, 90, 40), strict=True):
        angles.provider.script_for(words, Fault.stall_stream(events))
    window = angles.ask("Why did the Roman Republic fall?")
    window.wait(lambda: [len(text) > 120 for text in window.texts(angles.boxes)] == [True] * 4, "four pieces of answers")
    assert angles.provider.in_flight == 4
    picture(window, "angles-gradio" if angles.is_gradio else "angles-django")


def test_the_page_needs_nothing_from_elsewhere(angles: Angles) -> None:
    """Fonts, scripts and styles all come from the application's own server."""
    window = angles.app.open("/")
    window.wait_for(angles.stop)
    assert [url for url in window.loaded() if not url.startswith((angles.app.url, "data:", "blob:"))] == []
