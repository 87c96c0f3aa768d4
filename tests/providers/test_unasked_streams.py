"""An event stream that nobody asked for is read as the answer that it is: it is paid for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from providers.contract import answered, chunks, documented, make, outcome, sse
from wire.player import Player

from responder import BlockedError, InvalidResponseError, RateLimitError, Usage

SSE = {"content-type": "text/event-stream"}


@pytest.mark.parametrize("provider", ["openai", "azure", "groq", "gemini", "vertex", "anthropic", "ollama"])
@pytest.mark.parametrize("headers", [SSE, {"content-type": "application/json"}])
def test_an_event_stream_is_read_as_the_whole_answer(player: Player, provider: str, headers: dict[str, str]) -> None:
    """With its usage and finish word, under any content type; in a map, too."""
    answer = answered(player, provider, chunks(provider, "A ", "game."), headers=headers)
    assert (answer.text, answer.finish_reason, answer.usage) == ("A game.", "stop", Usage(5, 7, 0, 0, True))
    player.play(200, headers, b": ping\n\n" + chunks(provider, "A ", "game."))
    with make(provider, player.url + ("/v1" if provider == "ollama" else "")) as responder:
        assert responder.map(["a", "b"], max_workers=2).texts() == ["A game.", "A game."]


def test_lines_of_ollamas_own_api_are_read_as_the_whole_answer(player: Player) -> None:
    """A proxy may forget `"stream": false`."""
    lines: list[dict[str, Any]] = [{"message": {"content": text}, "done": False} for text in ("A ", "game.")]
    end = {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}
    player.play(200, {}, "\n".join(json.dumps(line) for line in [*lines, end]).encode())
    with make("ollama", player.url) as ollama:
        answer = ollama.answer("Hi")
    assert (answer.text, answer.usage) == ("A game.", Usage(5, 7, 0, 0, True))


def test_googles_array_of_pieces_is_read_as_the_whole_answer(player: Player) -> None:
    """Its stream without `alt=sse`."""
    pieces = [documented("gemini", content={"parts": [{"text": text}]}) for text in ("A ", "game.")]
    assert answered(player, "gemini", pieces).text == "A game."


def test_what_the_events_say_counts(player: Player) -> None:
    """A block, an error, a cut."""
    error = outcome(player, "openai", chunks("openai", "A", word="content_filter"), headers=SSE)
    assert isinstance(error, BlockedError)
    error = outcome(player, "openai", sse({"error": {"code": 429, "message": "Slow down."}}), headers=SSE)
    assert isinstance(error, RateLimitError)
    error = outcome(player, "openai", chunks("openai", "A").partition(b"finish_reason")[0], headers=SSE)
    assert isinstance(error, InvalidResponseError)
    assert (error.retryable, error.status) == (True, 200)
