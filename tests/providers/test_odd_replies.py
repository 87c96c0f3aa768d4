"""What providers send when things go wrong, inside a 200: one verdict, for whole answers and streams alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from providers.contract import answered, chunks, dialect, documented, make, outcome, said, sse, streamed
from wire.player import Player

from responder import (
    Answer,
    BlockedError,
    EmptyAnswerError,
    InvalidResponseError,
    ResponderError,
    Usage,
)
from responder.simulator import Fault, Simulator

DIALECTS = pytest.mark.parametrize("provider", ["openai", "azure", "zai", "mistral", "gemini", "vertex", "anthropic"])


def finished(provider: str, word: Any) -> dict[str, Any]:
    """Return a reply that ends with a word."""
    name = {"gemini": "finishReason", "anthropic": "stop_reason"}.get(dialect(provider), "finish_reason")
    return documented(provider, **{name: word})


def native(word: Any, content: str = "A bat-and-ball game.") -> dict[str, Any]:
    """Return a reply of Ollama's own API."""
    message = {"role": "assistant", "content": content}
    return {"model": "m-1", "message": message, "done": True, "done_reason": word, "prompt_eval_count": 5, "eval_count": 7}


def of_ollama(player: Player, *lines: Any, stream: bool = False) -> Any:
    """Return what Ollama's own API makes of a reply, or of the lines of a stream."""
    player.play(200, {"content-type": "application/x-ndjson"}, "".join(json.dumps(line) + "\n" for line in lines).encode())
    with make("ollama", player.url) as ollama:
        try:
            if not stream:
                return ollama.answer("Hi")
            asked = ollama.stream("Hi")
            assert "".join(asked) == (asked.answer.text if asked.answer else None)
            return asked.answer
        except ResponderError as error:
            return error


# Finish words


@DIALECTS
@pytest.mark.parametrize("word", ["max_tokens", "MAX_TOKENS", "max_output_tokens", "LENGTH", "token_limit"])
def test_a_cut_is_a_cut_in_every_dialects_words(player: Player, provider: str, word: str) -> None:
    """An answer that was cut never looks whole."""
    assert answered(player, provider, finished(provider, word)).truncated
    _, answer = streamed(player, provider, chunks(provider, "A bat", word=word))
    assert answer.truncated


@DIALECTS
@pytest.mark.parametrize("word", ["content_filter", "sensitive", "SAFETY", "PROHIBITED_CONTENT", "recitation", "guardrail"])
def test_a_filter_is_a_block_in_every_dialects_words(player: Player, provider: str, word: str) -> None:
    """With the text before it, and after one request."""
    error = outcome(player, provider, finished(provider, word), max_retries=2)
    assert isinstance(error, BlockedError)
    assert (error.text, error.finish_reason, error.usage.output_tokens) == ("A bat-and-ball game.", "content_filter", 7)
    assert len(player.sent) == 1
    pieces, error = streamed(player, provider, chunks(provider, "A ", "bat", word=word), max_retries=2)
    assert isinstance(error, BlockedError)
    assert (pieces, error.text, len(player.sent)) == (["A ", "bat"], "A bat", 1)


@DIALECTS
@pytest.mark.parametrize("word", ["network_error", "insufficient_system_resource", "abort", "server_error"])
def test_an_answer_that_was_broken_off_is_asked_for_again(player: Player, provider: str, word: str) -> None:
    """Half an answer with status 200 is no success; once pieces were handed out, the error says that a repeat may help."""
    player.play(200, {}, finished(provider, word), documented(provider))
    with make(provider, player.url, max_retries=1) as responder:
        answer = responder.answer("Hi")
    assert (answer.text, answer.attempts) == ("A bat-and-ball game.", 2)
    error = outcome(player, provider, finished(provider, word))
    assert isinstance(error, InvalidResponseError)
    assert error.retryable
    assert error.usage == Usage(5, 7, 0, 0, True)  # it is billed
    assert word in str(error)
    pieces, error = streamed(player, provider, chunks(provider, "A bat", word=word), max_retries=2)
    assert isinstance(error, InvalidResponseError)
    assert (pieces, error.retryable, len(player.sent)) == (["A bat"], True, 1)


@DIALECTS
def test_an_unknown_word_is_other(player: Player, provider: str) -> None:
    """Providers invent new ones."""
    assert answered(player, provider, finished(provider, "a_new_one")).finish_reason == "other"
    assert streamed(player, provider, chunks(provider, "A bat", word="a_new_one"))[1].finish_reason == "other"


def test_ollamas_own_words_are_read_by_family(player: Player) -> None:
    """By the same table."""
    for word, kind in (("max_tokens", Answer), ("sensitive", BlockedError), ("network_error", InvalidResponseError)):
        for stream in (False, True):
            found = of_ollama(player, native(word), stream=stream)
            assert isinstance(found, kind), (word, stream)
    assert of_ollama(player, native("LENGTH")).truncated


@pytest.mark.parametrize(
    "choice",
    [
        {"index": 0, "finish_reason": "content_filter"},
        {"index": 0, "finish_reason": "content_filter", "message": None},
        {"index": 0, "finish_reason": "sensitive", "message": {}},
        {"index": 0, "finish_reason": "stop", "message": {"content": ""}, "content_filter_results": {"hate": {"filtered": True}}},
    ],
)
@pytest.mark.parametrize("provider", ["openai", "azure", "zai", "compatible"])
def test_a_filtered_choice_without_a_message_is_a_block(player: Player, provider: str, choice: dict[str, Any]) -> None:
    """Whole, in a stream, and in a map, where the others go on."""
    reply = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}
    error = outcome(player, provider, reply, max_retries=2)
    assert isinstance(error, BlockedError)
    assert (error.retryable, error.fatal, len(player.sent)) == (False, False, 1)
    pieces, error = streamed(player, provider, sse(reply), max_retries=2)
    assert (pieces, type(error), len(player.sent)) == ([], BlockedError, 1)
    player.play(200, {}, reply, documented(provider))
    with make(provider, player.url) as responder:
        batch = responder.map(["a", "b"], max_workers=1)
    assert [type(result.error) for result in batch] == [BlockedError, type(None)]


def test_a_prompt_that_azure_filtered_without_any_choice_is_a_block(player: Player) -> None:
    """The filter's results stand beside the choices then; MiniMax has a word of its own."""
    filtered = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": True}}}]}
    for more in (filtered, {"input_sensitive": True}):
        error = outcome(player, "azure", {"choices": [], **more})
        assert isinstance(error, BlockedError)
        assert ("hate" in str(error)) is (more is filtered)


def test_a_cut_without_a_message_says_to_raise_max_tokens(player: Player) -> None:
    """There is no text, but a reason."""
    error = outcome(player, "openai", {"choices": [{"index": 0, "finish_reason": "length"}]})
    assert isinstance(error, EmptyAnswerError)
    assert "raise max_tokens" in str(error)


def test_an_error_word_alone_without_any_text_is_asked_for_again(player: Player) -> None:
    """With a text before it the word is "other", as its providers' documents leave it open."""
    assert outcome(player, "mistral", said({"content": ""}, finish_reason="error")).retryable
    assert answered(player, "mistral", said({"content": "A game."}, finish_reason="error")).finish_reason == "other"


def test_the_word_of_the_model_behind_a_router_is_read_where_the_routers_says_nothing(player: Player) -> None:
    """OpenRouter repeats it."""
    for word in (None, "a_new_one"):
        choice = {"finish_reason": word, "native_finish_reason": "MAX_TOKENS"}
        assert answered(player, "openrouter", said({"content": "A bat"}, **choice)).truncated
    stop = {"finish_reason": "stop", "native_finish_reason": "a_new_one"}
    assert answered(player, "openrouter", said({"content": "A bat"}, **stop)).finish_reason == "stop"


def test_a_word_that_comes_after_a_cut_or_a_block_takes_nothing_back(player: Player) -> None:
    """Some hosts send two."""

    def stream(*words: str) -> Any:
        events = [{"choices": [{"index": 0, "delta": {"content": "A"}, "finish_reason": word}]} for word in words]
        return streamed(player, "openrouter", sse(*events))[1]

    assert stream("length", "stop").truncated
    assert isinstance(stream("content_filter", "stop"), BlockedError)
    assert stream("stop", "length").truncated
    assert stream("stop", "a_new_one").finish_reason == "stop"


def test_a_block_in_the_middle_of_a_stream_is_no_success(player: Player) -> None:
    """Google says it beside a candidate that did not finish."""
    begun = {"candidates": [{"content": {"parts": [{"text": "A bat"}]}, "index": 0}]}
    body = sse(begun, {"promptFeedback": {"blockReason": "SAFETY"}}, done=False)
    pieces, error = streamed(player, "gemini", body)
    assert isinstance(error, BlockedError)
    assert (pieces, error.text) == (["A bat"], "A bat")


# Usage


@pytest.mark.parametrize("provider", ["openai", "xai", "compatible", "groq"])
@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}, Usage(10, 30, 0, 0, True)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Usage(10, 5, 0, 0, True)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 0}, Usage(10, 5, 0, 0, True)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": None}, Usage(10, 5, 0, 0, True)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 12}, Usage(10, 5, 0, 0, True)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 20}},
            Usage(10, 25, 0, 20, True),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1015, "cache_read_input_tokens": 1000},
            Usage(1010, 5, 1000, 0, True),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "total_tokens": 105,
                "prompt_tokens_details": {"cache_write_tokens": 40},
            },
            Usage(100, 5, 0, 0, True, 40),
        ),
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4, 0, 0, True)),
    ],
)
def test_whatever_the_total_has_beyond_is_output(player: Player, provider: str, usage: dict[str, Any], counted: Usage) -> None:
    """It is billed, whoever sends it; what a host counts beside its input is input."""
    assert answered(player, provider, {**said({"content": "A game."}), "usage": usage}).usage == counted
    body = sse({"choices": [{"delta": {"content": "A"}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage})
    assert streamed(player, provider, body)[1].usage == counted


def test_googles_total_is_billed_too(player: Player) -> None:
    """Where it names no thoughts; what tools put into the prompt is input."""
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 40}
    assert answered(player, "gemini", {**documented("gemini"), "usageMetadata": usage}).usage == Usage(10, 30, 0, 0, True)
    usage |= {"toolUsePromptTokenCount": 20, "thoughtsTokenCount": 5}
    assert answered(player, "gemini", {**documented("gemini"), "usageMetadata": usage}).usage == Usage(30, 10, 0, 5, True)


@pytest.mark.parametrize(
    "later",
    [
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": None, "completion_tokens": None},
        {},
        {"prompt_tokens": 5, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}},
    ],
)
def test_a_later_zero_or_null_takes_no_count_back(player: Player, later: dict[str, Any]) -> None:
    """In the chunks of OpenAI's dialect."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
    first = {"choices": [{"delta": {"content": "A"}, "finish_reason": "stop"}], "usage": usage}
    assert streamed(player, "compatible", sse(first, {"choices": [], "usage": later}))[1].usage == Usage(5, 7, 3, 0, True)


def test_a_later_zero_takes_no_count_back_elsewhere(player: Player) -> None:
    """Anthropic's, Google's and Ollama's streams."""
    event = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"input_tokens": 0, "output_tokens": 0}}
    body = chunks("anthropic", "A").replace(b"event: message_stop", f"data: {json.dumps(event)}\n\nevent: message_stop".encode())
    answer = streamed(player, "anthropic", body)[1]
    assert (answer.usage, answer.finish_reason) == (Usage(5, 7, 0, 0, True), "stop")
    body = chunks("gemini", "A") + sse({"usageMetadata": {"promptTokenCount": 0, "trafficType": "ON_DEMAND"}}, done=False)
    assert streamed(player, "gemini", body)[1].usage == Usage(5, 7, 0, 0, True)
    line = {**native(None), "done": False}
    assert of_ollama(
        player, line, {**native("stop", ""), "eval_count": 0, "prompt_eval_count": None}, stream=True
    ).usage == Usage(5, 7, 0, 0, True)


def test_usage_inside_the_choice_is_found(player: Player) -> None:
    """Moonshot puts it there."""
    choice = {"delta": {"content": "A"}, "finish_reason": "stop", "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    assert streamed(player, "compatible", sse({"choices": [choice]}))[1].usage == Usage(5, 7, 0, 0, True)


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 10, "output_tokens": 7, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1000},
        {
            "input_tokens": 10,
            "output_tokens": 7,
            "cache_read_input_tokens": 1000,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        },
    ],
)
def test_what_anthropic_writes_to_its_cache_is_counted(player: Player, usage: dict[str, Any]) -> None:
    """In both of its forms, and in streams."""
    assert answered(player, "anthropic", documented("anthropic", usage=usage)).usage == Usage(1110, 7, 1000, 0, True, 100)
    body = chunks("anthropic", "A").replace(b'{"input_tokens": 5, "output_tokens": 7}', json.dumps(usage).encode())
    assert streamed(player, "anthropic", body)[1].usage == Usage(1110, 7, 1000, 0, True, 100)


@pytest.mark.parametrize(
    "count", [10**17, 1e17, int("9" * 4000), -5, float("nan"), float("inf"), "12 tokens", [1], {"a": 1}, True]
)
def test_an_absurd_count_is_one_that_was_not_told(player: Player, count: Any) -> None:
    """It must not use up a budget, or hold back what comes after."""
    usages = {
        "openai": {"usage": {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}},
        "anthropic": {"usage": {"input_tokens": count, "output_tokens": count, "cache_read_input_tokens": count}},
        "gemini": {"usageMetadata": {"promptTokenCount": count, "candidatesTokenCount": count, "totalTokenCount": count}},
    }
    for provider, usage in usages.items():
        body = json.dumps({**documented(provider), **usage}).encode()
        assert answered(player, provider, body).usage == Usage(), provider
    found = of_ollama(player, {**native("stop"), "prompt_eval_count": count, "eval_count": count})
    assert found.usage == Usage()


# Text


@pytest.mark.parametrize("provider", ["openai", "gemini", "anthropic"])
def test_half_a_character_waits_for_its_other_half(player: Player, provider: str) -> None:
    """Each piece can be encoded; a half that stays alone is replaced."""
    pieces, answer = streamed(player, provider, chunks(provider, "a\ud83d", "\ude00b", "\ud83d", "c", "d\ud83d"))
    assert "".join(pieces) == answer.text == "a\U0001f600b\ufffdcd\ufffd"
    assert [piece.encode() for piece in pieces]
    assert pieces[0] == "a"


def test_half_a_character_waits_in_a_refusal_too(player: Player) -> None:
    """Its pieces are the stream's."""
    events = [{"choices": [{"delta": {"refusal": text}}]} for text in ("No\ud83d", "\ude00", "\ud83d")]
    pieces, answer = streamed(player, "openai", sse(*events, {"choices": [{"delta": {}, "finish_reason": "stop"}]}))
    assert ("".join(pieces), answer.finish_reason) == ("No\U0001f600\ufffd", "refusal")
    assert answer.text == "".join(pieces)


def test_half_a_character_waits_in_ollamas_lines_too(player: Player) -> None:
    """And in reasoning."""
    first, second = native(None, "a\ud83d"), native("stop", "\ude00")
    first["message"]["thinking"], second["message"]["thinking"] = "\ud83d", "\ude00"
    answer = of_ollama(player, {**first, "done": False}, second, stream=True)
    assert (answer.text, answer.reasoning) == ("a\U0001f600", "\U0001f600")


@pytest.mark.parametrize("provider", ["openai", "gemini", "anthropic"])
def test_a_whole_answer_can_be_encoded_too(player: Player, provider: str) -> None:
    """Half of a pair alone becomes U+FFFD, as it does in a stream."""
    body = json.dumps(documented(provider)).replace("A bat-and-ball game.", "a\\ud83d").encode()
    assert answered(player, provider, body).text == "a\ufffd"


# Several candidates


def test_two_candidates_of_google_do_not_mix(player: Player) -> None:
    """They come by turns, each with its index."""

    def event(index: int, text: str, **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": [{"text": text}]}, "index": index, **more}]}

    one, two = event(0, "One", finishReason="STOP"), event(1, "Two", finishReason="MAX_TOKENS")
    both = {"candidates": [event(0, "a")["candidates"][0], event(1, "b")["candidates"][0]]}
    pieces, answer = streamed(player, "gemini", sse(event(1, "x"), both, two, one, done=False))
    assert (pieces, answer.candidates, answer.finish_reason) == (["a", "One"], ("aOne", "xbTwo"), "stop")
    assert [candidate["finishReason"] for candidate in answer.raw["candidates"]] == ["STOP", "MAX_TOKENS"]


def test_a_stream_is_whole_when_all_its_candidates_are(player: Player) -> None:
    """A second one that was cut makes the stream broken off."""
    for provider, events in {
        "gemini": [
            {"candidates": [{"content": {"parts": [{"text": "One"}]}, "finishReason": "STOP", "index": 0}]},
            {"candidates": [{"content": {"parts": [{"text": "Tw"}]}, "index": 1}]},
        ],
        "openai": [
            {"choices": [{"index": 0, "delta": {"content": "One"}, "finish_reason": "stop"}]},
            {"choices": [{"index": 1, "delta": {"content": "Tw"}}]},
        ],
    }.items():
        pieces, error = streamed(player, provider, sse(*events, done=False))
        assert (pieces, type(error).__name__) == (["One"], "StreamInterruptedError"), provider


def test_the_pieces_are_the_first_candidates_whoever_speaks_first(player: Player) -> None:
    """Also where a host counts from 1."""

    def event(index: Any, text: str, **more: Any) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": text}, **more}]}

    late = [event(1, "B"), event(0, "A"), event(1, "", finish_reason="stop"), event(0, "", finish_reason="stop")]
    pieces, answer = streamed(player, "openai", sse(*late))
    assert ("".join(pieces), answer.text, answer.candidates) == ("A", "A", ("A", "B"))
    pieces, answer = streamed(player, "openai", sse(event(1, "A"), event(1, "B", finish_reason="stop")))
    assert ("".join(pieces), answer.text) == ("AB", "AB")
    for index in ("0", 0.0, None, [], {}, -1, True):
        pieces, answer = streamed(player, "openai", sse(event(index, "A"), event(index, "B", finish_reason="stop")))
        assert ("".join(pieces), answer.text) == ("AB", "AB"), index


def test_candidates_that_come_in_another_order_are_put_in_theirs(player: Player) -> None:
    """The first is the one with index 0."""
    reply = said({"content": "Two."}, index=1)
    reply["choices"].append({"index": 0, "message": {"role": "assistant", "content": "One."}, "finish_reason": "stop"})
    assert answered(player, "openai", reply).candidates == ("One.", "Two.")


# Events after the end, and unknown ones


@pytest.mark.parametrize(
    "after",
    [
        {"candidates": [{"index": 0}], "usageMetadata": {"promptTokenCount": 5}},
        {"candidates": [{"content": {}, "index": 0}]},
        {"candidates": [{"content": {"parts": []}, "safetyRatings": [], "index": 0}]},
        {"candidates": []},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
        {"candidates": [{"content": {"parts": [{}]}, "finishReason": "FINISH_REASON_UNSPECIFIED"}]},
    ],
)
def test_events_after_the_finish_that_bring_nothing_change_nothing(player: Player, after: dict[str, Any]) -> None:
    """Google's, whose streams have no end marker."""
    pieces, answer = streamed(player, "gemini", chunks("gemini", "A ", "game.") + sse(after, done=False))
    assert (pieces, answer.text, answer.finish_reason, answer.usage.output_tokens) == (["A ", "game."], "A game.", "stop", 7)


@DIALECTS
def test_unknown_events_are_passed_over(player: Player, provider: str) -> None:
    """Anywhere in the stream."""
    strange = b'event: metrics\ndata: {"type": "metrics", "value": 5}\n\ndata: {"ping": true}\n\ndata: 5\n\n'
    body = strange + chunks(provider, "A ", "game.").replace(b"\n\n", b"\n\n" + strange, 2)
    pieces, answer = streamed(player, provider, body)
    assert (pieces, answer.text) == (["A ", "game."], "A game.")


def test_a_whole_message_at_the_end_of_a_stream_is_not_said_twice(player: Player) -> None:
    """Perplexity and some proxies repeat it."""
    last = {"delta": {}, "message": {"role": "assistant", "content": "A game."}, "finish_reason": "stop"}
    body = sse({"choices": [{"delta": {"content": "A "}}]}, {"choices": [last]})
    assert streamed(player, "compatible", body)[0] == ["A ", "game."]


def test_the_parts_of_a_streamed_answer_of_google_stay_in_their_order(player: Player) -> None:
    """As a whole answer has them: texts that follow each other are one."""
    call = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s"}
    parts = [
        *({"text": "H", "thought": True}, {"text": "m", "thought": True}, {"text": "A "}, {"text": "b"}, call),
        *({"text": "c"}, {"text": "", "thoughtSignature": "t"}),
    ]
    events = [{"candidates": [{"content": {"parts": [part]}, "index": 0}]} for part in parts]
    end = {"candidates": [{"finishReason": "STOP", "index": 0}]}
    _, answer = streamed(player, "gemini", sse(*events, end, done=False))
    assert answer.raw["candidates"][0]["content"]["parts"] == [
        *({"text": "Hm", "thought": True}, {"text": "A b"}, call, {"text": "c"}, {"text": "", "thoughtSignature": "t"})
    ]
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("A bc", "Hm", "tool_calls")


# The simulator says these things, too, for the tests of our users


@pytest.mark.parametrize("provider", ["openai", "azure", "gemini", "vertex", "anthropic", "groq"])
def test_the_simulator_ends_an_answer_with_any_word(simulator: Simulator, provider: str) -> None:
    """In the dialect that is asked."""
    with make(provider, simulator.base_url(provider), "gpt-4o-mini" if dialect(provider) == "openai" else "m-1") as responder:
        for word, kind in (("sensitive", BlockedError), ("network_error", InvalidResponseError)):
            simulator.script(Fault.finish_word(word), Fault.finish_word(word))
            with pytest.raises(kind):
                responder.answer("Hi")
            with pytest.raises(kind):
                list(responder.stream("Hi"))
        simulator.script(Fault.finish_word("MAX_OUTPUT_TOKENS"))
        assert responder.answer("Hi").truncated
        simulator.script(Fault.reply({"error": {"code": 503, "message": "Overloaded"}}))
        with pytest.raises(ResponderError, match="Overloaded"):
            responder.answer("Hi")
