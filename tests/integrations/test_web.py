"""What every web framework does with a stream: the same tests against real servers, with clients that come and go."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from integrations.conftest import Site

from responder.simulator import Fault

# After the first chunk, which holds the role alone, two pieces; then silence.
TWO_PIECES = Fault.stall_stream(3)


@pytest.mark.pain(25)
def test_shows_pieces_while_the_provider_still_speaks(site: Site) -> None:
    """Each piece reaches the client although the provider has not ended, and a compressing middleware looks on."""
    site.provider.script(TWO_PIECES)
    with site.open(prompt="Hi", headers={"Accept-Encoding": "gzip"}) as page:
        assert [page.next(), page.next()] == [{"piece": "Simu"}, {"piece": "late"}]
        assert site.provider.in_flight == 1


def test_an_answer_ends_with_done_and_its_facts(site: Site) -> None:
    """The last event says why the model stopped and what it used."""
    with site.open(prompt="Hi") as page:
        *pieces, end = page.events()
    assert "".join(heard.data["piece"] for heard in pieces) == "Simulated answer to: Hi"
    assert end.name == "done"
    assert (end.data["finish_reason"], end.data["usage"]["output_tokens"]) == ("stop", 6)


def test_the_headers_keep_proxies_from_buffering(site: Site) -> None:
    """What nginx, caches and compressors look at is set; nothing that WSGI forbids is."""
    with site.open(prompt="Hi", headers={"Accept-Encoding": "gzip"}) as page:
        assert page.status == 200
        assert page.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert page.headers["Cache-Control"] == "no-cache"
        assert page.headers["X-Accel-Buffering"] == "no"
        assert page.headers["Content-Encoding"] == "identity"
        assert page.rest().endswith(b"\n\n")


@pytest.mark.pain(25)
@pytest.mark.parametrize("fault", [TWO_PIECES, Fault.silence()], ids=["after some pieces", "before the first piece"])
def test_a_closed_tab_frees_the_provider(site: Site, fault: Fault) -> None:
    """A client that leaves while the provider is silent ends the provider's stream, long before the heartbeat is due."""
    site.provider.script(fault)
    page = site.open(prompt="Hi")
    assert site.provider.wait_for(1)
    page.close()
    assert site.provider.wait_until_idle(90)
    assert site.provider.received[0].outcome == "client left"


def test_a_closed_tab_frees_all_merged_streams(site: Site) -> None:
    """Leaving a page with four answers ends all four."""
    site.provider.script(TWO_PIECES.repeated(4))
    page = site.open(prompt=["a", "b", "c", "d"])
    assert {page.next()["index"] for _ in range(8)} == {0, 1, 2, 3}
    page.close()
    assert site.provider.wait_until_idle(90)


def test_answers_grow_side_by_side(site: Site) -> None:
    """Pieces of every stream arrive before any of them is complete; a failed one harms no other."""
    site.provider.hold(3)
    site.provider.script_for("bad", Fault.status(400, "no"))
    with site.open(prompt=["good", "bad", "fine"]) as page:
        heard = list(page.events())
    texts = {0: "", 1: "", 2: ""}
    ends = {}
    for event in heard[:-1]:
        if event.data.get("done"):
            ends[event.data["index"]] = event.data["error"]
        else:
            texts[event.data["index"]] += event.data["piece"]
    assert texts == {0: "Simulated answer to: good", 1: "", 2: "Simulated answer to: fine"}
    assert (ends[0], ends[2]) == (None, None)
    assert ends[1] == "The question could not be answered."
    assert (heard[-1].name, heard[-1].data["parts"], heard[-1].data["failed"]) == ("done", 3, 1)


def test_a_failure_is_an_event_of_its_own(site: Site) -> None:
    """A refused call ends the stream with `failed`, which an EventSource does not take for a broken connection."""
    site.provider.script(Fault.status(429, "too fast"))
    with site.open(prompt="Hi") as page:
        (heard,) = page.events()
    assert (heard.name, heard.data["type"]) == ("failed", "RateLimitError")
    assert "try again" in heard.data["error"]
    assert "too fast" not in heard.data["error"]


def test_a_failure_after_some_pieces_keeps_them(site: Site) -> None:
    """A stream that breaks off tells it after the pieces that came."""
    site.provider.script(Fault.cut_stream(3))
    with site.open(prompt="Hi") as page:
        heard = list(page.events())
    assert [event.data["piece"] for event in heard[:-1]] == ["Simu", "late"]
    assert (heard[-1].name, heard[-1].data["type"]) == ("failed", "StreamInterruptedError")


def test_a_silent_provider_is_bridged_by_heartbeats(site: Site) -> None:
    """Comments go out while nothing comes in."""
    site.provider.script(Fault.silence())
    with site.open(prompt="Hi", heartbeat=0.05) as page:
        events = page.events()
        assert [next(events).name for _ in range(3)] == ["ping"] * 3


def test_plain_text_arrives_as_it_comes(site: Site) -> None:
    """`format="text"` sends the bare text, piece by piece."""
    site.provider.script(TWO_PIECES)
    with site.open(prompt="Hi", format="text") as page:
        assert page.headers["Content-Type"] == "text/plain; charset=utf-8"
        text = page.some()
        while len(text) < len(b"Simulate"):
            text += page.some()
    assert text == b"Simulate"


def test_plain_text_that_fails_is_not_complete(site: Site) -> None:
    """A failure in mid-text breaks the response off, so that nobody takes the half for the whole."""
    site.provider.script(Fault.cut_stream(3))
    with site.open(prompt="Hi", format="text") as page, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        page.rest()


def test_a_closed_tab_frees_the_provider_of_plain_text(site: Site) -> None:
    """Plain text has no heartbeat, and its client is watched all the same."""
    site.provider.script(TWO_PIECES)
    page = site.open(prompt="Hi", format="text")
    page.some()
    page.close()
    assert site.provider.wait_until_idle(90)


def test_two_users_are_served_at_once(site: Site) -> None:
    """The provider answers only when both questions are inside, and each user gets the own answer."""
    site.provider.hold(2)
    with site.open(prompt="one") as first, site.open(prompt="two") as second:
        texts = ["".join(heard.data["piece"] for heard in list(page.events())[:-1]) for page in (first, second)]
    assert texts == ["Simulated answer to: one", "Simulated answer to: two"]


def test_only_the_headers_cost_nothing(site: Site) -> None:
    """A HEAD request does not ask the provider."""
    with site.open(method="HEAD", prompt="Hi") as page:
        assert page.status == 200
    with site.open(prompt="after") as page:
        page.rest()
    assert [call.prompt for call in site.provider.received] == ["after"]


@pytest.fixture(params=["django under uvicorn", "fastapi under uvicorn"])
def asgi_site(request: pytest.FixtureRequest, running: Callable[[str], Site]) -> Site:
    """Give the test each framework on an event loop."""
    return running(request.param)


@pytest.mark.parametrize("path", ["/ask", "/ask-async"])
def test_sixty_streams_are_not_throttled(asgi_site: Site, path: str) -> None:
    """On an event loop, all of 60 streams show a piece before any of them ends, and all are freed when their tabs close."""
    asgi_site.provider.hold(60)
    asgi_site.provider.always(TWO_PIECES)
    try:
        with ExitStack() as stack:
            pages = [stack.enter_context(asgi_site.open(path, prompt=str(number))) for number in range(60)]
            assert [page.next() for page in pages] == [{"piece": "Simu"}] * 60
            assert asgi_site.provider.in_flight == 60
        assert asgi_site.provider.wait_until_idle(90)
    finally:
        asgi_site.provider.always(None)
        asgi_site.provider.clear()
