"""Does each line of the table of hosts make a provider? The contract of those that depart in nothing but a column."""

from __future__ import annotations

import pickle
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from providers.contract import KEY, LINES

import responder
from responder import CompatibleResponder, ConfigurationError, Responder, for_model, register
from responder.providers import registry
from responder.providers.hosts import HOSTS
from responder.providers.registry import Registry
from responder.simulator import Simulator

every_line = pytest.mark.parametrize("name", LINES)
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in HOSTS.values():
        for variable in (*line.keys, *line.variables):
            monkeypatch.delenv(variable, raising=False)


@every_line
def test_a_line_answers_and_streams(simulator: Simulator, name: str) -> None:
    """At its URL, with the key in its header."""
    with for_model(f"{name}:m-1", api_key=KEY, base_url=simulator.base_url(name), max_retries=0) as host:
        answer = host.answer("What is baseball?", max_tokens=50)
        stream = host.stream("What is baseball?", max_tokens=50)
        text = "".join(stream)
    assert answer.text
    assert (answer.provider, answer.usage.known) == (name, True)
    assert stream.answer is not None
    assert stream.answer.text == text
    first, second = simulator.received
    assert first.provider == name
    assert first.body[HOSTS[name].max_tokens_field] == 50
    assert ("stream_options" in second.body) is (HOSTS[name].stream_options is not None)


@every_line
def test_a_line_takes_its_key_from_each_of_its_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says which one is missing."""
    line = HOSTS[name]
    for account in line.variables:
        monkeypatch.setenv(account, "https://mine.example")
    with pytest.raises(ConfigurationError, match=line.keys[0]):
        for_model(f"{name}:m-1")
    for variable in line.keys:
        with monkeypatch.context() as patch:
            patch.setenv(variable, KEY)
            assert for_model(f"{name}:m-1")._credential.secret() == KEY


@every_line
def test_a_schema_asks_for_what_the_host_has(simulator: Simulator, name: str) -> None:
    """A schema, or any JSON object."""
    with for_model(f"{name}:m-1", api_key=KEY, base_url=simulator.base_url(name)) as host:
        assert isinstance(host.answer("Who?", schema=SCHEMA).json(), dict)
    kind = simulator.received[-1].body["response_format"]["type"]
    assert kind == ("json_schema" if HOSTS[name].takes_schemas else "json_object")


@every_line
def test_a_line_is_a_class_that_can_be_imported_and_pickled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that its repr shows."""
    line = HOSTS[name]
    for account in line.variables:
        monkeypatch.setenv(account, "mine")
    monkeypatch.setenv(line.keys[0], KEY)
    host = for_model(f"{name}:m-1")
    assert type(host) is getattr(responder, type(host).__name__)
    assert line.docs in (type(host).__doc__ or "")
    assert repr(pickle.loads(pickle.dumps(host))) == repr(host)
    assert host.base_url.startswith("https://")


@pytest.mark.parametrize(
    ("name", "variable", "value", "url"),
    [
        (
            "cloudflare",
            "CLOUDFLARE_ACCOUNT_ID",
            "abc",
            "https://api.cloudflare.com/client/v4/accounts/abc/ai/v1/chat/completions",
        ),
        ("databricks", "DATABRICKS_HOST", "adb-1.azuredatabricks.net", "https://adb-1.azuredatabricks.net/serving-endpoints"),
        ("databricks", "DATABRICKS_HOST", "https://adb-1.net/", "https://adb-1.net/serving-endpoints/chat/completions"),
        ("snowflake", "SNOWFLAKE_ACCOUNT", "org-me", "https://org-me.snowflakecomputing.com/api/v2/cortex/v1/chat/completions"),
    ],
)
def test_an_account_in_the_url_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str, value: str, url: str
) -> None:
    """Or its lack is told with the variable's name."""
    with pytest.raises(ConfigurationError, match=variable):
        for_model(f"{name}:m", api_key=KEY)
    monkeypatch.setenv(variable, value)
    assert for_model(f"{name}:m", api_key=KEY).url().startswith(url)


def test_no_host_has_two_lines_and_every_line_is_whole() -> None:
    """A name, a URL without a slash at its end, a page."""
    for name, line in HOSTS.items():
        assert line.name == name
        assert line.base_url.startswith("http")
        assert not line.base_url.endswith("/")
        assert line.docs.startswith("https://")
        assert line.title


# Classes of others


class Example(CompatibleResponder):
    """A host of somebody's own."""

    provider, base_url = "example-of-mine", "https://api.example.com/v1"
    key_variables, key_required = ("EXAMPLE_OF_MINE_KEY",), True


@pytest.fixture
def _forgotten() -> Any:
    yield
    registry._others.pop("example-of-mine", None)


@pytest.mark.usefixtures("_forgotten")
def test_a_registered_class_is_known_to_for_model_and_to_the_command_line(simulator: Simulator) -> None:
    """Under its own name; the same class may be registered again, and a new one takes its place."""
    from click.testing import CliRunner

    from responder.cli import main

    assert register(Example) is Example
    register(Example)
    with for_model(" Example-of-Mine:m", api_key=KEY, base_url=simulator.base_url("openai")) as mine:
        assert type(mine) is Example
        assert mine.answer("Hi").text
    assert "example-of-mine" in CliRunner().invoke(main, ["models"]).stdout
    with pytest.raises(ConfigurationError, match="did you mean 'example-of-mine'"):
        for_model("example-of-min:m")

    class Newer(Example):
        provider = "example-of-mine"

    register(Newer)
    assert type(for_model("example-of-mine:m", api_key=KEY)) is Newer


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (object, "subclass of Responder"),
        ("example", "subclass of Responder"),
        (type("Nameless", (CompatibleResponder,), {}), "provider = 'example'"),
        (type("Colon", (CompatibleResponder,), {"provider": "a:b"}), "without a colon"),
        (type("Loud", (CompatibleResponder,), {"provider": "Loud"}), "small letters"),
        (type("Mine", (CompatibleResponder,), {"provider": "openai"}), "'openai' is OpenAIResponder"),
    ],
)
def test_a_class_that_cannot_be_registered_says_why(kind: Any, words: str) -> None:
    """And nothing is changed."""
    with pytest.raises(ConfigurationError, match=words):
        register(kind)


def test_a_package_brings_its_provider_by_an_entry_point(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Loaded when a name is asked for that is not ours; one that cannot be loaded is logged and left out."""
    found = [
        EntryPoint("example-of-mine", f"{__name__}:Example", "responder.providers"),
        EntryPoint("broken", "no_such_module_of_anybody:Thing", "responder.providers"),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)
    own: dict[str, type[Responder]] = {"openai": responder.OpenAIResponder}
    fresh = Registry(own)
    assert fresh.find("OpenAI ") is responder.OpenAIResponder
    assert not fresh._has_looked
    assert fresh.find("example-of-mine") is Example
    assert fresh.find("broken") is None
    assert "broken" in caplog.text
    assert list(fresh.all()) == ["openai", "example-of-mine"]
