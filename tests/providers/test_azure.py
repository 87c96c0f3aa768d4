"""Azure OpenAI: whatever endpoint people paste, whatever key they have, and Azure's own errors."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from providers.contract import KEY, answered, documented, make, outcome
from wire.player import Player

from responder import AzureOpenAIResponder, BlockedError, ConfigurationError, File, NotFoundError, RateLimitError, user

HOST = "https://res.openai.azure.com"
DATED = "2024-10-21"
V1 = f"{HOST}/openai/v1/chat/completions"
DEPLOYED = f"{HOST}/openai/deployments/gpt/chat/completions?api-version={DATED}"


def azure(model: str | None = "gpt", **keywords: Any) -> AzureOpenAIResponder:
    return AzureOpenAIResponder(model, **{"api_key": KEY, **keywords})


# Endpoints


@pytest.mark.parametrize(
    ("endpoint", "version", "asked"),
    [
        (HOST, DATED, DEPLOYED),
        (f"{HOST}/", DATED, DEPLOYED),
        (f"{HOST}//", DATED, DEPLOYED),
        (f"{HOST}/openai", DATED, DEPLOYED),
        (f"{HOST}/openai/", DATED, DEPLOYED),
        (f"{HOST}?api-version={DATED}", None, DEPLOYED),
        ("res.openai.azure.com", DATED, DEPLOYED),
        ("res.openai.azure.com/", None, V1),
        (f"  {HOST}/ ", DATED, DEPLOYED),
        (HOST, None, V1),
        (f"{HOST}/openai", None, V1),
        (f"{HOST}/openai/v1", None, V1),
        (f"{HOST}/openai/v1/", None, V1),
        (f"{HOST}/openai/v1/chat/completions", None, V1),
        (f"{HOST}/openai/v1/responses", None, V1),
        (f"{HOST}/openai/v1", "preview", f"{V1}?api-version=preview"),
        (f"{HOST}/openai/v1/?api-version=preview", None, f"{V1}?api-version=preview"),
        (f"{HOST}/openai/deployments/gpt/chat/completions?api-version={DATED}", None, DEPLOYED),
        (f"{HOST}/openai/deployments/gpt/chat/completions", DATED, DEPLOYED),
        (f"{HOST}/openai/deployments/gpt/", DATED, DEPLOYED),
        (f"{HOST}/openai/deployments/gpt?api-version={DATED}", None, DEPLOYED),
        (f"{HOST}/openai/responses?api-version=2025-04-01-preview", None, DEPLOYED.replace(DATED, "2025-04-01-preview")),
        ("https://res.cognitiveservices.azure.com/", DATED, DEPLOYED.replace("openai.azure", "cognitiveservices.azure")),
        ("https://res.services.ai.azure.com/openai/v1", None, V1.replace("openai.azure", "services.ai.azure")),
        (
            "https://gw.example/team/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            None,
            "https://gw.example/team/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://gw.example/team",
            DATED,
            "https://gw.example/team/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
        ("https://gw.example/team/", None, "https://gw.example/team/openai/v1/chat/completions"),
    ],
)
@pytest.mark.pain(23)
def test_any_endpoint_that_people_paste_is_understood(endpoint: str, version: str | None, asked: str) -> None:
    """The resource, the v1 form, a full deployment URL, a gateway's prefix; with and without slashes, query and scheme."""
    with azure(endpoint=endpoint, api_version=version) as responder:
        assert responder.url() == asked


def test_a_deployment_url_names_the_deployment() -> None:
    """So `model` may be left out; percent signs are undone and made again."""
    with azure(None, endpoint=f"{HOST}/openai/deployments/my%20gpt/chat/completions?api-version={DATED}") as responder:
        assert responder.model == "my gpt"
        assert "/deployments/my%20gpt/" in responder.url()


def test_a_deployment_with_a_slash_stays_one_segment_of_the_path() -> None:
    """It must not name another path."""
    with azure("a/b", endpoint=HOST, api_version=DATED) as responder:
        assert "/deployments/a%2Fb/" in responder.url()


def test_the_endpoint_and_the_version_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of OpenAI's own SDK."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", HOST)
    monkeypatch.setenv("OPENAI_API_VERSION", DATED)
    with azure() as responder:
        assert responder.url() == DEPLOYED


def test_a_version_in_the_environment_does_not_spoil_a_v1_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The v1 form takes no dated version."""
    monkeypatch.setenv("OPENAI_API_VERSION", DATED)
    with azure(endpoint=f"{HOST}/openai/v1") as responder:
        assert responder.url() == V1


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, "export AZURE_OPENAI_ENDPOINT"),
        ({"endpoint": HOST, "base_url": HOST}, "not both"),
        ({"endpoint": f"{HOST}/openai/v1", "api_version": DATED}, "leave it out"),
        ({"endpoint": f"{HOST}/openai/deployments/other/chat/completions", "api_version": DATED}, "'other'"),
        ({"endpoint": f"{HOST}/openai/deployments/gpt/chat/completions"}, "api_version="),
        ({"model": None, "endpoint": HOST}, "deployment's name"),
        ({"endpoint": "ftp://res.openai.azure.com"}, "https://"),
        ({"endpoint": "https://["}, "https://"),
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused_with_words_that_help(keywords: dict[str, Any], words: str) -> None:
    """Before any request."""
    with pytest.raises(ConfigurationError, match=words):
        azure(**keywords)


# Keys and tokens


def test_a_key_goes_into_its_own_header(player: Player) -> None:
    """And into no other."""
    answered(player, "azure", documented("azure"))
    assert player.last.values("api-key") == [KEY]
    assert player.last.values("authorization") == []


def test_a_token_of_a_callable_goes_as_a_bearer_token_and_is_asked_for_each_time(player: Player) -> None:
    """Entra tokens last an hour."""
    tokens = iter(["entra-token-one", "entra-token-two"])
    player.play(200, {}, documented("azure"))
    with make("azure", player.url, api_key=lambda: next(tokens)) as responder:
        responder.answer("Hi")
        responder.answer("Hi")
    assert [sent.values("authorization") for sent in player.sent] == [["Bearer entra-token-one"], ["Bearer entra-token-two"]]
    assert player.last.values("api-key") == []


def test_a_key_of_a_callable_goes_as_a_key(player: Player) -> None:
    """Out of a vault, say: 32 hexadecimal digits are no token."""
    key = "0123456789abcdef" * 2
    answered(player, "azure", documented("azure"), api_key=lambda: key)
    assert player.last.values("api-key") == [key]


def test_a_token_of_the_environment_goes_as_a_bearer_token(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """AZURE_OPENAI_AD_TOKEN wins over the key, as in OpenAI's own SDK."""
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "entra-token")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    answered(player, "azure", documented("azure"), api_key=None)
    assert player.last.values("authorization") == ["Bearer entra-token"]
    assert player.last.values("api-key") == []


def test_a_pickled_responder_with_a_callable_uses_the_key_of_the_environment(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a key: the callable stayed behind."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    player.play(200, {}, documented("azure"))
    with make("azure", player.url, api_key=lambda: "entra-token") as responder, pickle.loads(pickle.dumps(responder)) as copy:
        copy.answer("Hi")
    assert player.last.values("api-key") == [KEY]


# Replies


@pytest.mark.parametrize("key", ["content_filter_result", "content_filter_results"])
def test_a_prompt_that_the_filter_refused_is_a_blocked_error(player: Player, key: str) -> None:
    """A 400, in both of the spellings that Azure documents."""
    inner = {"code": "ResponsibleAIPolicyViolation", key: {"violence": {"filtered": True, "severity": "medium"}}}
    body = {"error": {"message": "The prompt was filtered.", "param": "prompt", "code": "content_filter", "innererror": inner}}
    error = outcome(player, "azure", body, status=400)
    assert isinstance(error, BlockedError)
    assert (error.status, error.finish_reason, error.retryable, error.fatal) == (400, "content_filter", False, False)
    assert "violence" in str(error)
    assert "Change the prompt" in str(error)


@pytest.mark.pain(23)
def test_a_404_names_the_host_the_deployment_and_the_version(player: Player) -> None:
    """One of the three is wrong, and the user must see which."""
    body = {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}
    error = outcome(player, "azure", body, status=404, model="my-gpt")
    assert isinstance(error, NotFoundError)
    for word in (player.url, "my-gpt", "api-version=2024-10-21", "DeploymentNotFound"):
        assert word in str(error)


def test_a_wait_of_a_day_is_told(player: Player) -> None:
    """Whether it is waited for is the policy's business."""
    body = {"error": {"code": "429", "message": "Please retry after 86400 seconds."}}
    error = outcome(player, "azure", body, status=429, headers={"retry-after": "86400"}, max_retries=3)
    assert isinstance(error, RateLimitError)
    assert (error.retry_after, error.attempts, len(player.sent)) == (86400.0, 1, 1)


def test_a_body_of_api_management_is_read(player: Player) -> None:
    """Flat, with the status as `statusCode`."""
    body = {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 12 seconds."}
    error = outcome(player, "azure", body, status=429)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 12.0
    assert "Rate limit is exceeded" in str(error)


def test_files_are_refused(player: Player) -> None:
    """Azure's Chat Completions take none."""
    assert isinstance(outcome(player, "azure", documented("azure"), prompt=user(File(data=b"pdf"))), ConfigurationError)
    assert player.sent == []
