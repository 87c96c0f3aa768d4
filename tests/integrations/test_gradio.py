"""Answers side by side in Gradio: tuples for the boxes, live, and all streams freed when the event is cancelled."""

from __future__ import annotations

import http.client
import inspect
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integrations.browser import Page
from shell import environment

from responder import ConfigurationError, MergedStreams, OpenAIResponder
from responder.integrations.gradio import side_by_side
from responder.simulator import Fault, Simulator

TWO_PIECES = Fault.stall_stream(3)


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"))


def test_tuples_hold_the_latest_text_of_each(gpt: OpenAIResponder) -> None:
    """The last tuple holds every whole text, in the order of the prompts."""
    *_, last = side_by_side(gpt.stream_map(["a", "b"]))
    assert last == ("Simulated answer to: a", "Simulated answer to: b")


def test_boxes_without_a_stream_stay_empty(gpt: OpenAIResponder) -> None:
    """Gradio wants as many values as there are outputs."""
    assert {len(texts) for texts in side_by_side(gpt.stream_map(["a"]), boxes=3)} == {3}


def test_more_streams_than_boxes_are_refused(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """The message says what to give."""
    with pytest.raises(ConfigurationError, match="boxes="):
        list(side_by_side(gpt.stream_map(["a", "b"]), boxes=1))
    assert simulator.wait_until_idle()


def test_a_function_becomes_what_gradio_calls(gpt: OpenAIResponder) -> None:
    """Gradio looks for a generator function, and passes the inputs to it."""

    def angles(question: str, count: int) -> MergedStreams:
        return gpt.stream_map([f"{question} {number}" for number in range(count)])

    generate = side_by_side(angles, boxes=2)
    assert inspect.isgeneratorfunction(generate)
    assert list(inspect.signature(generate).parameters) == ["question", "count"]
    *_, last = generate("Why?", 2)
    assert last == ("Simulated answer to: Why? 0", "Simulated answer to: Why? 1")


def test_a_failed_stream_shows_its_error(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """The error stands below the text that came, and the others go on."""
    simulator.script_for("bad", Fault.cut_stream(3))
    *_, last = side_by_side(gpt.stream_map(["bad", "good"]))
    assert last[0].startswith("Simulate\n\n(The answer broke off.")
    assert last[1] == "Simulated answer to: good"


def test_closing_the_generator_frees_all_streams(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """What Gradio does with a cancelled event."""
    simulator.always(TWO_PIECES)
    tuples = side_by_side(gpt.stream_map(["a", "b", "c", "d"]))
    while next(tuples) != ("Simulate",) * 4:
        pass
    tuples.close()
    assert simulator.wait_until_idle()


def test_it_yields_again_while_the_providers_are_silent(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A generator can only be closed where it yields, so it does not stay inside for long."""
    simulator.always(TWO_PIECES)
    tuples = side_by_side(gpt.stream_map(["a"]))
    while next(tuples) != ("Simulate",):
        pass
    assert [next(tuples), next(tuples)] == [("Simulate",)] * 2
    tuples.close()


def test_boxes_are_emptied_before_the_first_piece(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """The answers of the question before go at once, and a silent provider can be left."""
    simulator.script(Fault.silence())
    tuples = side_by_side(gpt.stream_map(["a"]), boxes=2)
    assert [next(tuples), next(tuples)] == [("", "")] * 2
    tuples.close()
    assert simulator.wait_until_idle()


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Simulator, int]]:
    """Run a Gradio page with two boxes; give the provider behind it, and the page's port."""
    with Simulator() as provider:
        env = environment(OPENAI_BASE_URL=provider.base_url("openai"), GRADIO_ANALYTICS_ENABLED="False")
        site = Path(__file__).parent / "sites" / "gradio_site.py"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, str(site)], env=env, **pipes) as process:
            try:
                yield provider, int(process.stdout.readline())
            finally:
                process.kill()


@pytest.mark.parametrize("how", ["closed tab", "cancelled event"])
@pytest.mark.parametrize("fault", [TWO_PIECES, Fault.silence()], ids=["after some pieces", "before the first piece"])
def test_a_page_that_is_left_frees_the_providers(live: tuple[Simulator, int], how: str, fault: Fault) -> None:
    """Gradio ends the generator when its client goes, or asks it to; both streams end with it."""
    provider, port = live
    provider.clear()
    provider.always(fault)
    session = uuid.uuid4().hex
    event = _post(port, "/gradio_api/queue/join", data=["Hi"], fn_index=0, session_hash=session)["event_id"]
    with Page(port, "/gradio_api/queue/data", session_hash=session) as page:
        for heard in page.events():
            if heard.data["msg"] == "process_generating":
                break
        assert provider.wait_for(2)
        if how == "cancelled event":
            _post(port, "/gradio_api/cancel", session_hash=session, fn_index=0, event_id=event)
            assert provider.wait_until_idle(90)
    assert provider.wait_until_idle(90)
    assert {call.outcome for call in provider.received} == {"client left"}


def _post(port: int, path: str, **body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        found = json.loads(response.read())
    connection.close()
    return found
