"""Tool calls are never destroyed: however a host cuts, numbers and names their pieces, and whatever a model writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from providers.contract import answered, chunks, documented, make, said, sse, streamed
from wire.player import Player

from responder import ToolCall
from responder.providers.openai_reading import StreamedCalls

ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'


def piece(index: Any = None, identity: str | None = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    """Return a piece of a tool call; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "id": identity, "function": function}
    return {key: value for key, value in given.items() if value is not None}


def calls(player: Player, *pieces: dict[str, Any], word: str = "tool_calls") -> list[tuple[str, str, Any]]:
    """Return id, name and arguments of the calls that a stream of pieces makes."""
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [found]}}]} for found in pieces]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": word}]}
    _, answer = streamed(player, "compatible", sse(*events, end))
    return [(call.id, call.name, call.arguments_text if call.is_broken else dict(call.arguments)) for call in answer.tool_calls]


BOTH = [("a", "weather", {"city": "Rome"}), ("b", "weather", {"city": "Oslo"})]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([piece(0, "a", "weather", ROME), piece(0, "b", "weather", OSLO)], id="whole, all at index 0"),
        pytest.param(
            [
                piece(0, "a", "weather", ""),
                piece(0, None, None, ROME[:5]),
                piece(0, None, None, ROME[5:]),
                piece(0, "b", "weather", ""),
                piece(0, None, None, OSLO),
            ],
            id="in pieces, all at index 0",
        ),
        pytest.param(
            [
                piece(0, "a", "weather", ""),
                piece(0, "b", "weather", ""),
                piece(0, "a", None, ROME[:5]),
                piece(0, "b", None, OSLO[:5]),
                piece(0, "a", None, ROME[5:]),
                piece(0, "b", None, OSLO[5:]),
            ],
            id="by turns at index 0, told apart by id",
        ),
        pytest.param(
            [piece(None, "a", "weather", ROME[:5]), piece(None, None, None, ROME[5:]), piece(None, "b", "weather", OSLO)],
            id="no index",
        ),
        pytest.param([piece("0", "a", "weather", ROME), piece("1", "b", "weather", OSLO)], id="index as text"),
        pytest.param([piece(0.0, "a", "weather", ROME), piece(1.0, "b", "weather", OSLO)], id="index as float"),
        pytest.param([piece([], "a", "weather", ROME), piece({}, "b", "weather", OSLO)], id="index of no use"),
        pytest.param([piece(-1, "a", "weather", ROME), piece(-1, "b", "weather", OSLO)], id="negative index"),
        pytest.param(
            [
                piece(0, "a", "weather", ROME[:5]),
                piece(0, "x1", None, ROME[5:9]),
                piece(0, "x2", None, ROME[9:]),
                piece(1, "b", "weather", OSLO[:5]),
                piece(1, "x3", None, OSLO[5:]),
            ],
            id="a fresh id with each piece",
        ),
        pytest.param(
            [
                piece(0, "a", "weather", ROME[:5]),
                piece(0, "a", "weather", ROME[5:]),
                piece(1, "b", "weather", OSLO[:5]),
                piece(1, "b", "weather", OSLO[5:]),
            ],
            id="id and name with each piece",
        ),
        pytest.param(
            [piece(0, "a", "weather", {"city": "Rome"}), piece(0, "b", "weather", {"city": "Oslo"})], id="objects at index 0"
        ),
        pytest.param(
            [
                piece(0, "a", "weather", ""),
                piece(1, None, None, ROME[:5]),
                piece(2, None, None, ROME[5:]),
                piece(3, "b", "weather", OSLO),
            ],
            id="an index that counts pieces",
        ),
        pytest.param(
            [piece(0, "a", "weather", ROME), piece(1, "b", "weather", OSLO), piece(0, "a", "weather", ROME)],
            id="a call said again at the end",
        ),
        pytest.param(
            [
                piece(0, "a", "weather", ROME[:5]),
                piece(1, "b", "weather", OSLO[:5]),
                piece(0, None, None, ROME[5:]),
                piece(1, None, None, OSLO[5:]),
            ],
            id="as documented, by turns",
        ),
    ],
)
def test_each_parallel_call_comes_out_with_its_arguments(player: Player, pieces: list[dict[str, Any]]) -> None:
    """Whatever the host does with index and id."""
    assert calls(player, *pieces) == BOTH


def test_calls_without_ids_are_told_apart_by_their_beginnings(player: Player) -> None:
    """Google's compatible endpoint gave all of them index 0 and an empty id."""
    assert calls(player, piece(0, "", "f", ROME), piece(0, "", "f", OSLO), piece(0, "", "g", "{}")) == [
        *(("", "f", {"city": "Rome"}), ("", "f", {"city": "Oslo"}), ("", "g", {}))
    ]


def test_calls_with_the_same_id_are_told_apart_by_their_index(player: Player) -> None:
    """Ids are not unique everywhere."""
    pieces = [piece(0, "c", "f", ""), piece(1, "c", "g", ""), piece(0, "c", None, ROME), piece(1, "c", None, OSLO)]
    assert calls(player, *pieces) == [("c", "f", {"city": "Rome"}), ("c", "g", {"city": "Oslo"})]
    assert calls(player, piece(0, "c", "f", ROME), piece(0, "c", "f", OSLO)) == [
        *(("c", "f", {"city": "Rome"}), ("c", "f", {"city": "Oslo"}))
    ]


def test_a_broken_call_does_not_swallow_the_next_one(player: Player) -> None:
    """The model broke off in the first."""
    assert calls(player, piece(0, "a", "f", '{"city": "Ro'), piece(0, "b", "f", OSLO)) == [
        *(("a", "f", '{"city": "Ro'), ("b", "f", {"city": "Oslo"}))
    ]


def test_the_older_form_of_a_single_call_is_read(player: Player) -> None:
    """`function_call`, whole and in pieces."""
    body = said({"content": None, "function_call": {"name": "f", "arguments": ROME}}, finish_reason="function_call")
    assert answered(player, "compatible", body).tool_calls == (ToolCall("", "f", {"city": "Rome"}, ROME),)
    deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": ROME}}]
    events = [{"choices": [{"delta": delta}]} for delta in deltas]
    end = {"choices": [{"delta": {}, "finish_reason": "function_call"}]}
    assert streamed(player, "compatible", sse(*events, end))[1].tool_calls == (ToolCall("", "f", {"city": "Rome"}, ROME),)


def test_calls_that_are_no_list_are_read(player: Player) -> None:
    """A single one as it is, or several by their index."""
    one = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": ROME}}
    two = {"id": "b", "type": "function", "function": {"name": "weather", "arguments": OSLO}}
    for some, wanted in ((one, BOTH[:1]), ({"0": one, "1": two}, BOTH)):
        found = answered(player, "compatible", said({"content": None, "tool_calls": some})).tool_calls
        assert [(call.id, call.name, call.arguments) for call in found] == wanted
        body = sse({"choices": [{"delta": {"tool_calls": some}, "finish_reason": "tool_calls"}]})
        found = streamed(player, "compatible", body)[1].tool_calls
        assert [(call.id, call.name, call.arguments) for call in found] == wanted


def test_a_custom_call_is_put_together(player: Player) -> None:
    """Its input is no JSON."""
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "run", "input": "print("}}
    (call,) = calls(player, first, {"index": 0, "custom": {"input": "1)"}})
    assert call == ("a", "run", "print(1)")


@pytest.mark.parametrize("text", ['{"text": "a\nb"}', '{"text": "a\tb\x01"}', '"{\\"text\\": \\"a\\"}"', ' \n{"text": "a"}\n'])
def test_what_models_write_is_read_leniently(player: Player, text: str) -> None:
    """Raw line ends and control characters in strings, and JSON inside of JSON."""
    call = ToolCall.from_text("", "f", text)
    assert (call.is_broken, call.arguments["text"][0], call.arguments_text) == (False, "a", text)
    assert calls(player, piece(0, "a", "f", text))[0][2] == call.arguments
    assert answered(player, "openai", said({"tool_calls": [piece(0, "a", "f", text)]})).tool_calls[0].arguments == call.arguments


@pytest.mark.parametrize("text", ['{"city": ', "[1]", "Rome", "5", '{"city": "Rome"} and more', "{'city': 'Rome'}", "[" * 5000])
def test_what_cannot_be_read_is_kept_and_noticed(player: Player, text: str) -> None:
    """In every dialect, whole and streamed: never {} without a word."""
    delta = {"type": "input_json_delta", "partial_json": text}
    start = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    body = chunks("anthropic", word="tool_use").replace(b'{"type": "text", "text": ""}', json.dumps(start).encode())
    body = body.replace(
        b"event: content_block_stop",
        f"data: {json.dumps({'type': 'content_block_delta', 'index': 0, 'delta': delta})}\n\nevent: content_block_stop".encode(),
    )
    found = [
        *answered(player, "openai", said({"tool_calls": [piece(0, "a", "f", text)]})).tool_calls,
        *streamed(player, "anthropic", body)[1].tool_calls,
        *answered(player, "anthropic", documented("anthropic", content=[{**start, "input": text}])).tool_calls,
    ]
    parts = [{"functionCall": {"id": "a", "name": "f", "args": text}}]
    found += answered(player, "gemini", documented("gemini", content={"parts": parts})).tool_calls
    player.play(200, {}, {"message": {"content": "", "tool_calls": [piece(0, "a", "f", text)]}, "done": True})
    with make("ollama", player.url) as ollama:
        found += ollama.answer("Hi").tool_calls
    assert [(call.id, call.is_broken, call.arguments_text, dict(call.arguments)) for call in found] == [("a", True, text, {})] * 5
    assert calls(player, piece(0, "a", "f", text)) == [("a", "f", text)]


@pytest.mark.parametrize("arguments", [["Rome"], 5, 1.5, True])
def test_arguments_of_another_type_are_kept_as_text(player: Player, arguments: Any) -> None:
    """An object is the only form that a tool can be called with."""
    (call,) = answered(player, "openai", said({"tool_calls": [piece(0, "a", "f", arguments)]})).tool_calls
    assert (call.is_broken, call.arguments_text) == (True, json.dumps(arguments))
    (call,) = answered(
        player, "anthropic", documented("anthropic", content=[{"type": "tool_use", "input": arguments}])
    ).tool_calls
    assert (call.is_broken, call.arguments_text) == (True, json.dumps(arguments))


def test_a_broken_call_goes_back_as_the_model_wrote_it(player: Player) -> None:
    """As text where the dialect has text, else under a key that says what it is (as Anthropic recommends)."""
    from responder import Message, ToolResult, assistant, user

    prompt = [user("Hi"), assistant(ToolCall.from_text("a", "f", '{"x": ')), Message("tool", ToolResult("a", "No JSON", "f"))]
    for provider in ("openai", "anthropic", "gemini"):
        answered(player, provider, documented(provider), prompt=prompt)
        sent = json.dumps(player.last.json)
        assert json.dumps('{"x": ') in sent, provider


def test_anthropics_blocks_with_the_same_index_stay_apart(player: Player) -> None:
    """Some gateways give each the index 0; a start that is said twice is one."""

    def start(identity: str) -> dict[str, Any]:
        block = {"type": "tool_use", "id": identity, "name": "weather", "input": {}}
        return {"type": "content_block_start", "index": 0, "content_block": block}

    def delta(text: str, index: Any = 0) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": text}}

    events = [start("a"), start("a"), delta(ROME[:5]), delta(ROME[5:], None), start("b"), delta(OSLO)]
    message = {"type": "message_start", "message": documented("anthropic", content=[], stop_reason=None)}
    end = [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    _, answer = streamed(player, "anthropic", sse(message, *events, *end, done=False))
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == BOTH
    assert answer.text == ""


def test_arguments_of_a_block_that_never_began_are_no_text(player: Player) -> None:
    """A gateway lost its start."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ROME}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hm."}}
    message = {"type": "message_start", "message": documented("anthropic", content=[], stop_reason=None)}
    end = [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    _, answer = streamed(player, "anthropic", sse(message, text, delta, *end, done=False))
    assert (answer.text, [call.arguments for call in answer.tool_calls]) == ("Hm.", [{"city": "Rome"}])


def test_what_a_host_needs_back_with_a_call_is_kept(player: Player) -> None:
    """Google's compatible endpoint signs each call."""
    signed = {**piece(0, "a", "f", ROME), "type": "function", "extra_content": {"google": {"thought_signature": "s"}}}
    (call,) = answered(player, "compatible", said({"tool_calls": [signed]})).tool_calls
    from responder import assistant, user

    answered(player, "compatible", documented("openai"), prompt=[user("Hi"), assistant(call), user("And?")])
    assert player.last.json["messages"][1]["tool_calls"][0]["extra_content"] == signed["extra_content"]
    events = sse({"choices": [{"delta": {"tool_calls": [signed]}, "finish_reason": "tool_calls"}]})
    assert streamed(player, "compatible", events)[1].tool_calls[0].extra == call.extra


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arguments=st.lists(
        st.dictionaries(
            st.text(max_size=4), st.integers() | st.text(max_size=6) | st.dictionaries(st.text(max_size=2), st.none())
        ),
        min_size=1,
        max_size=4,
    ),
    style=st.sampled_from(["documented", "index 0", "no index", "fresh ids", "repeated"]),
    data=st.data(),
)
def test_calls_cut_anywhere_come_out_whole(arguments: list[dict[str, Any]], style: str, data: st.DataObject) -> None:
    """In each of the styles that hosts have."""
    reader = StreamedCalls()
    for number, found in enumerate(arguments):
        text = json.dumps(found)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        texts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        index = {"index 0": 0, "no index": None}.get(style, number)
        for place, cut in enumerate(texts):
            is_first = place == 0 or style == "repeated"
            identity = f"{number}-{place}" if style == "fresh ids" else f"id{number}" if is_first else None
            reader.add(piece(index, identity, f"f{number}" if is_first else None, cut))
    assert [json.loads(call["function"]["arguments"]) for call in reader.whole()] == arguments
    assert [call["function"]["name"] for call in reader.whole()] == [f"f{number}" for number in range(len(arguments))]
