"""One contract for every provider's responder: what `answer` sends, returns, raises, and never shows."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from providers.contract import (
    KEY,
    KEY_VARIABLES,
    KEYED,
    KEYLESS,
    NAMES,
    OF_AMAZON,
    OF_GOOGLE_CLOUD,
    URL_VARIABLES,
    answered,
    dialect,
    documented,
    documented_json,
    make,
    outcome,
)
from wire.player import Player

from responder import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    ConfigurationError,
    EmptyAnswerError,
    Image,
    InternalServerError,
    InvalidResponseError,
    Message,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    Responder,
    ResponderError,
    Text,
    Tool,
    ToolResult,
    assistant,
    system,
    user,
)
from responder.providers import PROVIDERS
from responder.simulator import Fault, Simulator

every_provider = pytest.mark.parametrize("provider", NAMES)
WEATHER = Tool(
    "weather", "Tells the weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
# Something documented that has no option of ours.
EXTRA: dict[str, dict[str, Any]] = {
    "openai": {"logprobs": False},
    "gemini": {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
    "anthropic": {"metadata": {"user_id": "u"}},
    "bedrock": {"requestMetadata": {"team": "blue"}},
    "cohere": {"safety_mode": "NONE"},
}
# Hosts whose error bodies hold no word that tells an empty account from a rate limit.
WORDLESS = ("mistral", "openrouter", "huggingface", "vllm", "vertex-partner")
# Keys of the requests that each provider's reference lists, as far as our options can fill them.
DOCUMENTED_KEYS = {
    "openai": {
        "model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "random_seed", "n",
        "tools", "tool_choice", "response_format", "reasoning_effort",
    },
    "gemini": {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"},
    "bedrock": {"messages", "system", "inferenceConfig", "toolConfig", "outputConfig"},
    "cohere": {
        "model", "messages", "temperature", "p", "max_tokens", "stop_sequences", "seed", "tools", "tool_choice",
        "response_format", "thinking",
    },
    "anthropic": {
        "model", "anthropic_version", "messages", "max_tokens", "system", "temperature", "top_p", "stop_sequences", "tools",
        "tool_choice", "output_config",
    },
}  # fmt: skip
DOCUMENTED_CONFIG = {
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed", "responseMimeType",
    "responseJsonSchema", "thinkingConfig",
}  # fmt: skip


@pytest.fixture
def ask(simulator: Simulator, provider: str) -> Iterator[Responder]:
    """The provider's responder, pointed at its simulated provider."""
    with make(provider, simulator.base_url(provider)) as responder:
        yield responder


def fails(responder: Responder, prompt: Any = "What is baseball?", **options: Any) -> ResponderError:
    with pytest.raises(ResponderError) as caught:
        responder.answer(prompt, **options)
    return caught.value


def supported(provider: str) -> dict[str, Any]:
    """Return options for every call, those that the provider has."""
    options: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 300, "stop": ["END"], "seed": 7}
    if dialect(provider) == "anthropic":
        del options["seed"], options["top_p"]  # the newer models take one of the two, temperature or top_p
    if dialect(provider) == "bedrock":
        del options["seed"]
    return options


# What goes out


@every_provider
def test_a_payload_is_json_and_leaves_what_it_was_made_of_alone(simulator: Simulator, ask: Responder, provider: str) -> None:
    """The same call sends the same bytes, however often."""
    prompt = [system("Be kind."), user("Hi"), assistant("Hello."), user("What is ", Text("baseball?"))]
    options = {**supported(provider), "tools": [WEATHER], "schema": SCHEMA, "extra": EXTRA[dialect(provider)]}
    before = copy.deepcopy((prompt, options))
    for _ in range(2):
        ask.answer(prompt, **options)
    assert (prompt, options) == before
    first, second = (request.body for request in simulator.received)
    assert first == second
    assert json.loads(json.dumps(first)) == first


@every_provider
def test_only_documented_keys_are_sent(simulator: Simulator, ask: Responder, provider: str) -> None:
    """With every option that the provider has."""
    more = {"tools": [WEATHER], "tool_choice": "auto", "schema": SCHEMA, "reasoning_effort": "low"}
    ask.answer([system("Be kind."), user("Hi")], **supported(provider), **more)
    body = simulator.received[-1].body
    assert set(body) <= DOCUMENTED_KEYS[dialect(provider)]
    assert set(body.get("generationConfig", {})) <= DOCUMENTED_CONFIG


@every_provider
def test_the_request_is_json_with_the_key_in_one_header(player: Player, provider: str) -> None:
    """And the User-Agent says who asks."""
    answered(player, provider, documented(provider))
    sent = player.last
    assert sent.values("content-type") == ["application/json"]
    assert sent.values("user-agent")[0].startswith("responder-sdk/")
    assert len([value for _, value in sent.headers if KEY in value]) == 1
    assert KEY not in sent.path
    assert KEY.encode() not in sent.body


@every_provider
def test_the_system_text_goes_before_the_prompt(simulator: Simulator, provider: str) -> None:
    """In the place where the provider has it."""
    with make(provider, simulator.base_url(provider), system="Be terse.") as responder:
        responder.answer("Hi")
    body = simulator.received[-1].body
    place = {
        "openai": lambda: body["messages"][0],
        "gemini": lambda: body["systemInstruction"],
        "anthropic": lambda: body["system"],
        "bedrock": lambda: body["system"],
        "cohere": lambda: body["messages"][0],
    }[dialect(provider)]()
    expected = {
        "openai": {"role": "system", "content": "Be terse."},
        "gemini": {"parts": [{"text": "Be terse."}]},
        "anthropic": "Be terse.",
        "bedrock": [{"text": "Be terse."}],
        "cohere": {"role": "system", "content": "Be terse."},
    }[dialect(provider)]
    assert place == expected


@every_provider
def test_several_turns_go_out_in_order(simulator: Simulator, ask: Responder, provider: str) -> None:
    """Messages of ours and dicts alike."""
    ask.answer([user("One"), {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}])
    body = simulator.received[-1].body
    if dialect(provider) == "gemini":
        turns = [(turn["role"], turn["parts"][0]["text"]) for turn in body["contents"]]
    elif dialect(provider) == "bedrock":
        turns = [(turn["role"], turn["content"][0]["text"]) for turn in body["messages"]]
    else:
        turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
    model = "model" if dialect(provider) == "gemini" else "assistant"
    assert turns == [("user", "One"), (model, "Two"), ("user", "Three")]


@every_provider
def test_an_image_goes_out_in_the_documented_shape(simulator: Simulator, ask: Responder, provider: str) -> None:
    """Its bytes in base64, without line breaks."""
    ask.answer(user("Look", Image(data=b"\xff" * 100, media_type="image/jpeg")))
    body = simulator.received[-1].body
    encoded = "/" * 132 + "/w=="
    image = body["contents"][0]["parts"][1] if dialect(provider) == "gemini" else body["messages"][0]["content"][1]
    assert (
        image
        == {
            "openai": {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}},
            "cohere": {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}},
            "bedrock": {"image": {"format": "jpeg", "source": {"bytes": encoded}}},
            "gemini": {"inlineData": {"mimeType": "image/jpeg", "data": encoded}},
            "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": encoded}},
        }[dialect(provider)]
    )


@every_provider
def test_a_tool_is_called_and_its_result_answered(simulator: Simulator, ask: Responder, provider: str) -> None:
    """The whole round: tools out, a call back, its result out, an answer back."""
    question = user("Weather in Rome?")
    first = ask.answer(question, tools=[WEATHER], tool_choice="required")
    assert (first.finish_reason, first.tool_calls[0].name) == ("tool_calls", "weather")
    assert set(first.tool_calls[0].arguments) == {"city"}
    call = first.tool_calls[0]
    second = ask.answer([question, assistant(call), Message("tool", ToolResult(call.id, "sun", call.name))], tools=[WEATHER])
    assert second.text
    assert [request.outcome for request in simulator.received] == ["answered", "answered"]


@every_provider
def test_a_schema_gives_json(ask: Responder, provider: str) -> None:
    """The text fits, also from hosts that are told of the schema in words."""
    answer = ask.answer("Who?", schema=SCHEMA)
    assert set(answer.json()) == {"name"}
    assert answer.parsed == answer.json()


@every_provider
def test_max_tokens_and_stop_reach_the_provider(ask: Responder, provider: str) -> None:
    """A cut answer says that it was cut."""
    cut = ask.answer("Tell me all about baseball, at length", max_tokens=3)
    assert (cut.finish_reason, cut.truncated) == ("length", True)
    assert cut.usage.output_tokens <= 3


@every_provider
def test_several_candidates_are_given_or_refused(ask: Responder, provider: str) -> None:
    """Anthropic, Amazon and Cohere have none."""
    if dialect(provider) in ("anthropic", "bedrock", "cohere"):
        assert isinstance(fails(ask, candidates=2), ConfigurationError)
    else:
        assert len(ask.answer("Hi", candidates=2).candidates) == 2


@every_provider
def test_extra_is_merged_into_the_payload(player: Player, provider: str) -> None:
    """On top, objects into objects; the call's over the responder's."""
    key, ours = {
        "openai": ("response_format", "type"),
        "gemini": ("generationConfig", "responseMimeType"),
        "anthropic": ("output_config", "format"),
        "bedrock": ("outputConfig", "textFormat"),
        "cohere": ("response_format", "type"),
    }[dialect(provider)]
    player.play(200, {}, documented_json(provider))
    path = "/v1" if provider == "ollama" else ""
    with make(provider, player.url + path, extra={"a": 1, key: {"x": 1, "y": 1}}) as responder:
        responder.answer("Hi", schema=SCHEMA, extra={"b": 2, key: {"y": 2}})
    body = player.last.json
    assert (body["a"], body["b"]) == (1, 2)
    assert (body[key]["x"], body[key]["y"], ours in body[key]) == (1, 2, True)


@every_provider
def test_an_unknown_option_is_refused_with_the_known_ones(provider: str) -> None:
    """When the responder is made, and when it is called."""
    with pytest.raises(ConfigurationError, match="temperture") as caught:
        make(provider, "http://127.0.0.1:9", temperture=1)
    assert "temperature" in str(caught.value)
    assert "extra=" in str(caught.value)
    with make(provider, "http://127.0.0.1:9") as responder:
        assert isinstance(fails(responder, temperture=1), ConfigurationError)


@every_provider
def test_extra_headers_are_sent_over_ours_and_each_once(player: Player, provider: str) -> None:
    """Whatever the case of their letters."""
    headers = {"X-Team": "blue", "user-agent": "mine/1", "AUTHORIZATION": "Basic abc"}
    answered(player, provider, documented(provider), extra_headers=headers)
    assert player.last.values("x-team") == ["blue"]
    assert player.last.values("user-agent") == ["mine/1"]
    assert player.last.values("authorization") == ["Basic abc"]


@every_provider
@pytest.mark.parametrize("prompt", [None, 5, [], [None], [{"content": "Hi"}], {"role": "boss", "content": "Hi"}, b"Hi", [5]])
def test_a_prompt_that_makes_no_sense_is_refused_before_anything_is_sent(player: Player, provider: str, prompt: Any) -> None:
    """As one prompt's problem, not the run's."""
    error = outcome(player, provider, documented(provider), prompt=prompt)
    assert isinstance(error, ConfigurationError)
    assert (error.fatal, error.attempts, player.sent) == (False, 0, [])


@every_provider
@pytest.mark.parametrize("calls", [[{"id": "c"}], [5], [{"function": "x"}], 5])
def test_broken_tool_calls_in_a_dict_are_refused(player: Player, provider: str, calls: Any) -> None:
    """They come from whatever the user has stored."""
    prompt = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    assert isinstance(outcome(player, provider, documented(provider), prompt=prompt), ConfigurationError)


@every_provider
def test_a_tool_message_without_a_result_is_refused(player: Player, provider: str) -> None:
    """There is no call that a bare text could answer."""
    prompt = [user("Hi", Image(data=b"x")), Message("tool", "sun")]
    assert isinstance(outcome(player, provider, documented(provider), prompt=prompt), ConfigurationError)


# What comes back


@every_provider
def test_a_documented_reply_becomes_a_whole_answer(player: Player, provider: str) -> None:
    """Every field of it."""
    answer = answered(player, provider, documented(provider))
    assert (answer.text, str(answer), answer.finish_reason) == ("A bat-and-ball game.", "A bat-and-ball game.", "stop")
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.known) == (5, 7, True)
    names_its_model = dialect(provider) not in ("bedrock", "cohere")
    assert (answer.model, answer.provider) == ("m-1-0001" if names_its_model else "m-1", provider)
    assert (answer.attempts, answer.truncated, answer.candidates) == (1, False, ("A bat-and-ball game.",))
    assert answer.elapsed > 0
    assert answer.raw == documented(provider)


@every_provider
def test_the_simulated_provider_answers(ask: Responder, provider: str) -> None:
    """In the provider's own dialect, with its usage."""
    answer = ask.answer("What is baseball?")
    assert "baseball" in answer.text
    assert answer.finish_reason == "stop"
    assert answer.usage.known
    assert min(answer.usage.input_tokens, answer.usage.output_tokens) > 0


@every_provider
def test_fields_that_nobody_knows_yet_are_ignored(player: Player, provider: str) -> None:
    """At every depth."""

    def strange(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{key: strange(part) for key, part in value.items()}, "a_new_field": {"deep": [1, None]}}
        return [strange(part) for part in value] if isinstance(value, list) else value

    answer = answered(player, provider, strange(documented(provider)))
    assert (answer.text, answer.usage.output_tokens) == ("A bat-and-ball game.", 7)


@every_provider
def test_a_finish_reason_that_nobody_knows_yet_is_other(player: Player, provider: str) -> None:
    """The provider's own word stays in `raw`."""
    name = {
        "openai": "finish_reason",
        "cohere": "finish_reason",
        "gemini": "finishReason",
        "anthropic": "stop_reason",
        "bedrock": "stopReason",
    }[dialect(provider)]
    answer = answered(player, provider, documented(provider, **{name: "a_new_reason"}))
    assert answer.finish_reason == "other"
    assert "a_new_reason" in json.dumps(answer.raw)


@every_provider
@pytest.mark.parametrize(
    ("status", "kind", "retryable", "fatal"),
    [
        (400, BadRequestError, False, False),
        (401, AuthenticationError, False, True),
        (403, PermissionDeniedError, False, False),
        (404, NotFoundError, False, False),
        (429, RateLimitError, True, False),
        (500, InternalServerError, True, False),
        (503, InternalServerError, True, False),
    ],
)
def test_each_status_gives_its_error(
    simulator: Simulator, ask: Responder, provider: str, status: int, kind: Any, retryable: bool, fatal: bool
) -> None:
    """In the provider's own words."""
    simulator.script(Fault.status(status, "Broken here"))
    error = fails(ask)
    assert type(error) is kind
    assert isinstance(error, APIStatusError)
    has_said_whose = provider in OF_AMAZON and status in (403, 404)  # the name of the error stands in a header
    assert (error.status, error.retryable, error.fatal) == (status, retryable, fatal or has_said_whose)
    assert error.suspect is (status in (403, 404) and not has_said_whose)  # these words do not say whose fault it is
    assert (error.provider, error.model, error.attempts) == (provider, "m-1", 1)
    assert "Broken here" in str(error) or "Broken here" not in json.dumps(error.body)  # some always say the same


@every_provider
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.insufficient_quota(), QuotaExceededError),
        (Fault.blocked_prompt(), BlockedError),
        (Fault.blocked_answer(), BlockedError),
        (Fault.null_content(), EmptyAnswerError),
        (Fault.cut_json(), InvalidResponseError),
        (Fault.not_json(), InvalidResponseError),
        (Fault.empty_body(), InvalidResponseError),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_fault_gives_its_error(simulator: Simulator, ask: Responder, provider: str, fault: Fault, kind: Any) -> None:
    """Never an answer with nothing in it; Anthropic has no filter that blocks, its models refuse in words."""
    if dialect(provider) == "anthropic" and fault.name in ("blocked_prompt", "blocked_answer"):
        simulator.script(fault)
        assert ask.answer("What is baseball?").finish_reason == "refusal"
        return
    if provider in WORDLESS and fault.name == "insufficient_quota":
        kind = RateLimitError
    simulator.script(fault)
    assert type(fails(ask)) is kind


def test_a_block_at_anthropic_is_a_refusal(simulator: Simulator) -> None:
    """It has no filter that blocks without words."""
    with make("anthropic", simulator.base_url("anthropic")) as claude:
        simulator.script(Fault.blocked_answer())
        assert claude.answer("Hi").finish_reason == "refusal"


@every_provider
def test_empty_candidates_are_an_error(simulator: Simulator, ask: Responder, provider: str) -> None:
    """Of one of the two kinds that say "nothing in it"."""
    simulator.script(Fault.empty_candidates())
    assert isinstance(fails(ask), (EmptyAnswerError, InvalidResponseError))


# Keys


@pytest.mark.acceptance(11)
@every_provider
def test_a_key_is_shown_nowhere(simulator: Simulator, provider: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the repr, errors, logs or pickles, nor in what hangs on them."""
    caplog.set_level(logging.DEBUG)
    headers = {"X-Api-Secret": KEY, "Cookie": KEY}
    with make(provider, simulator.base_url(provider), extra_headers=headers) as responder:
        simulator.script(Fault.status(401), Fault.status(500), Fault.not_json(), Fault.reset(after_bytes=5))
        errors = [fails(responder) for _ in range(4)]
        responder.answer("Hi")
        shown = [repr(responder), str(responder), caplog.text]
        for error in errors:
            shown += [repr(error), str(error), repr(vars(error)), repr(error.__cause__), repr(error.__context__)]
        pickled = [pickle.dumps(thing) for thing in (responder, *errors)]
    assert all(KEY not in text for text in shown)
    assert all(KEY.encode() not in data for data in pickled)


@every_provider
@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_that_the_server_sends_back_is_in_no_error(player: Player, provider: str, status: int) -> None:
    """Some quote the key that they refuse."""
    for body in ({"error": {"message": f"Bad key {KEY}", "code": f"bad_{KEY}", "details": [KEY]}}, {"headers": {"k": KEY}}, KEY):
        error = outcome(player, provider, body, status=status)
        assert isinstance(error, ResponderError)
        assert KEY not in f"{error!s} {error!r} {vars(error)!r}"
        assert KEY.encode() not in pickle.dumps(error)


@pytest.mark.parametrize("provider", KEYED)
def test_a_missing_key_says_what_to_type(provider: str) -> None:
    """When the responder is made, before any work is done."""
    with pytest.raises(ConfigurationError) as caught:
        make(provider, "http://127.0.0.1:9", api_key=None)
    assert caught.value.fatal
    assert f"export {KEY_VARIABLES[provider][0]}=" in str(caught.value)
    assert all(name in str(caught.value) for name in KEY_VARIABLES[provider])


@pytest.mark.parametrize("provider", KEYLESS)
def test_a_server_without_a_key_is_asked_without_one(player: Player, provider: str) -> None:
    """And without an empty header."""
    answered(player, provider, documented(provider), api_key=None)
    assert player.last.values("authorization") == []


@pytest.mark.parametrize(("provider", "name"), [(provider, name) for provider, names in KEY_VARIABLES.items() for name in names])
def test_a_key_comes_from_the_environment(player: Player, monkeypatch: pytest.MonkeyPatch, provider: str, name: str) -> None:
    """From each variable that the provider's documents name; blanks around it are cut."""
    monkeypatch.setenv(name, f"  {KEY}\n")
    answered(player, provider, documented(provider), api_key=None)
    assert any(KEY in value and value == value.strip() for _, value in player.last.headers)


@pytest.mark.parametrize("provider", [name for name in NAMES if name not in OF_GOOGLE_CLOUD])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(player: Player, provider: str) -> None:
    """A copied "…" in it, say, or a line break."""
    for key in ("sécret-ключ-key…", "not-a\r\nX-Evil: real-key"):
        error = outcome(player, provider, documented(provider), api_key=key)
        assert isinstance(error, ResponderError)
        assert key not in str(error)
        assert player.sent == []


@pytest.mark.parametrize("provider", [name for name in NAMES if name in KEY_VARIABLES])
def test_a_pickled_responder_reads_the_environment_where_it_arrives(
    player: Player, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Everything else travels along."""
    player.play(200, {}, documented(provider))
    path = "/v1" if provider == "ollama" else ""
    with make(provider, player.url + path, system="Be kind.", temperature=0.5, extra_headers={"X-Team": "blue"}) as responder:
        data = pickle.dumps(responder)
        responder.answer("Hi")
    before = player.last
    monkeypatch.setenv(KEY_VARIABLES[provider][-1], "another-key")
    with pickle.loads(data) as received:
        assert repr(received) == repr(responder)
        assert received.answer("Hi").text == "A bat-and-ball game."
    assert (player.last.path, player.last.body) == (before.path, before.body)
    assert player.last.values("x-team") == ["blue"]
    assert any("another-key" in value for _, value in player.last.headers)
    assert not any(KEY in value for _, value in player.last.headers)


@pytest.mark.parametrize("provider", KEYED)
def test_a_pickled_responder_without_a_key_where_it_arrives_says_what_to_type(provider: str) -> None:
    """When it is asked."""
    with make(provider, "http://127.0.0.1:9") as responder, pickle.loads(pickle.dumps(responder)) as received:
        error = fails(received)
    assert isinstance(error, ConfigurationError)
    assert "export " in str(error)


# Base URLs


@every_provider
def test_a_base_url_is_taken_with_and_without_a_slash_at_its_end(player: Player, provider: str) -> None:
    """As people paste it."""
    player.play(200, {}, documented(provider))
    path = "/v1" if provider == "ollama" else ""
    for end in ("", "/"):
        with make(provider, f"{player.url}/proxy{path}{end}") as responder:
            responder.answer("Hi")
    first, second = player.sent
    assert first.path == second.path
    assert first.path.startswith("/proxy/")
    assert "//" not in first.path


@pytest.mark.parametrize(("provider", "name"), list(URL_VARIABLES.items()))
def test_a_base_url_comes_from_the_environment(player: Player, monkeypatch: pytest.MonkeyPatch, provider: str, name: str) -> None:
    """From the variable of the provider's own SDK; an argument wins."""
    monkeypatch.setenv(name, f"{player.url}/env")
    with make(provider, "", base_url=None) as responder:
        assert responder.url().startswith(f"{player.url}/env")
    with make(provider, "http://127.0.0.1:9/argument") as responder:
        assert responder.url().startswith("http://127.0.0.1:9/argument")


@every_provider
@pytest.mark.parametrize("url", ["localhost", "ftp://host/v1", "http://", "http://host:port/v1", "http://[half", "/v1"])
def test_a_base_url_that_is_none_is_refused(provider: str, url: str) -> None:
    """Azure alone adds a scheme, since the portal shows bare host names: with one that is none it is refused, too."""
    if provider == "azure" and url == "localhost":
        url = "//localhost"
    with pytest.raises(ConfigurationError):
        make(provider, url)


@every_provider
def test_a_base_url_hides_its_password_and_its_query(provider: str) -> None:
    """In the repr."""
    with make(provider, f"https://me:{KEY}@host.example/v1") as responder:
        assert KEY not in repr(responder)
        assert "host.example" in repr(responder)


# The class


@every_provider
def test_a_provider_names_itself_and_its_model(provider: str) -> None:
    """In `provider`, `model` and the repr, and in a docstring."""
    with make(provider, "http://127.0.0.1:9", "some/model@1") as responder:
        assert (responder.provider, responder.model) == (provider, "some/model@1")
        assert repr(responder).startswith(f"{PROVIDERS[provider].__name__}('some/model@1'")
        assert PROVIDERS[provider].__doc__


@every_provider
@pytest.mark.parametrize("model", ["", "  ", 5])
def test_a_responder_needs_a_model(provider: str, model: Any) -> None:
    """A name, and not nothing."""
    with pytest.raises(ConfigurationError):
        make(provider, "http://127.0.0.1:9", model)
