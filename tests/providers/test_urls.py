"""No name that a configuration holds sends the key to another host, or to another path of the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from providers.contract import NAMES, make

from responder import (
    AnthropicBedrockResponder,
    AnthropicFoundryResponder,
    AnthropicVertexResponder,
    AzureOpenAIResponder,
    BedrockResponder,
    ConfigurationError,
    GeminiResponder,
    OpenAIResponder,
    VertexAIResponder,
    VertexPartnerResponder,
)
from responder.providers import PROVIDERS

ESCAPES = [
    "evil.example/",
    "evil.example/x",
    "evil.example#",
    "evil.example?",
    "evil.example:443",
    "user@evil.example",
    "evil.example\\",
    "../../v1/files",
    "..",
    ".",
    "a/../b",
    "a//b",
    "/a",
    "%2e%2e/a",
    "a?alt=media",
    "a#b",
    "a\r\nHost: evil.example",
    "a\0b",
    "a b",
    "a\tb",
    "a;b",
    "\uff41",
    "",
]


@pytest.mark.parametrize("location", [location for location in ESCAPES if location])
def test_a_location_cannot_change_vertexs_host(location: str) -> None:
    """It is a part of the host's name, and the token goes there: nothing but a location is taken."""
    with pytest.raises(ConfigurationError, match="location"):
        VertexAIResponder("m", project="p", location=location, credentials="token")


@pytest.mark.parametrize("project", [project for project in ESCAPES if project and project != "evil.example:443"])
def test_a_project_cannot_change_the_path(project: str) -> None:
    """Only what can be a project's id is taken."""
    with pytest.raises(ConfigurationError, match="project"):
        VertexAIResponder("m", project=project, location="us", credentials="token")


def test_a_project_of_a_domain_is_taken() -> None:
    """Older projects have the domain before their name."""
    with VertexAIResponder("m", project="example.com:p-1", location="us", credentials="token") as vertex:
        assert "/projects/example.com%3Ap-1/" in vertex.url()


HOSTS: dict[str, Callable[[str], Any]] = {
    "bedrock": lambda name: BedrockResponder("m", region=name, api_key="k"),
    "claude on bedrock": lambda name: AnthropicBedrockResponder("m", region=name, api_key="k"),
    "claude on vertex": lambda name: AnthropicVertexResponder("m", project="p", location=name, credentials="token"),
    "partners on vertex": lambda name: VertexPartnerResponder("m", project="p", location=name, credentials="token"),
    "claude in foundry": lambda name: AnthropicFoundryResponder("m", resource=name, api_key="k"),
}


@pytest.mark.parametrize("name", [name for name in ESCAPES if name])
@pytest.mark.parametrize("make_one", HOSTS.values(), ids=HOSTS)
def test_a_region_or_resource_cannot_change_the_host(make_one: Callable[[str], Any], name: str) -> None:
    """It is a part of the host's name, and the key goes there."""
    with pytest.raises(ConfigurationError, match="part of a host's name"):
        make_one(name)


@pytest.mark.parametrize("name", ["evil.example/", "a@b", "a#", "a?", "a:1"])
@pytest.mark.parametrize(
    ("provider", "variable"),
    [("cloudflare", "CLOUDFLARE_ACCOUNT_ID"), ("databricks", "DATABRICKS_HOST"), ("snowflake", "SNOWFLAKE_ACCOUNT")],
)
def test_an_account_in_the_environment_cannot_change_the_host(
    provider: str, variable: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable stands in the URL, and fills its own place there alone."""
    monkeypatch.setenv(variable, f"{name}x")
    with pytest.raises(ConfigurationError, match=variable):
        PROVIDERS[provider]("m", api_key="k")


def models(name: str) -> list[Any]:
    return [
        OpenAIResponder(name, api_key="k"),
        GeminiResponder(name, api_key="k"),
        VertexAIResponder(name, project="p", location="us", credentials="token"),
        AzureOpenAIResponder(name, endpoint="https://r.openai.azure.com", api_version="2024-10-21", api_key="k"),
        AzureOpenAIResponder(name, endpoint="https://r.openai.azure.com", api_key="k"),
        BedrockResponder(name, region="us-east-1", api_key="k"),
        AnthropicBedrockResponder(name, region="us-east-1", api_key="k"),
        AnthropicVertexResponder(name, project="p", location="us", credentials="token"),
    ]


@pytest.mark.parametrize("name", [name for name in ESCAPES if name])
def test_a_models_name_cannot_change_host_or_path(name: str) -> None:
    """It is refused, or stands percent-encoded where the model's name belongs; no step of the path leads up."""
    for model, usual in zip(models(name), models("m"), strict=True):
        for give in ("url", "stream_url"):
            try:
                given = urlsplit(getattr(model, give)())
            except ConfigurationError:
                continue
            expected = urlsplit(getattr(usual, give)())
            assert (given.scheme, given.netloc, given.query) == (expected.scheme, expected.netloc, expected.query)
            assert not given.fragment
            assert ".." not in given.path.split("/")
            assert given.path.isascii()
            assert given.path.isprintable()
            assert " " not in given.path


@pytest.mark.parametrize("name", ["../../v1/files", "..", "a//b", "a\nb", "models/../../upload"])
def test_a_models_name_that_leads_elsewhere_is_refused_with_what_it_is(name: str) -> None:
    """Gemini, Vertex AI and Azure have the model's name in their path."""
    for model in [*models(name)[1:4], *models(name)[5:]]:
        with pytest.raises(ConfigurationError, match="model name"):
            model.url()


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize(
    "url", ["https://host/v1#", "https://host/v1#x", "https://ho\tst/v1", "https://a\\@b/v1", "https://a b/v1"]
)
def test_a_base_url_that_is_read_in_two_ways_is_refused(provider: str, url: str) -> None:
    """Programs differ in which host such a URL names, or drop what is added to it."""
    with pytest.raises(ConfigurationError):
        make(provider, url)


def test_blanks_around_a_base_url_are_dropped() -> None:
    """A variable of the environment often ends with a line break."""
    with OpenAIResponder("m", api_key="k", base_url=" https://host/v1\n") as model:
        assert model.url() == "https://host/v1/chat/completions"
