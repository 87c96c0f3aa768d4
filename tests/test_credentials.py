"""Who we are: keys from arguments, callables and the environment, and tokens of Google's."""

from __future__ import annotations

import datetime
import json
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth.credentials
import google.auth.exceptions
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account
from servers import PATIENCE, always, one_by_one, reply

from responder import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    AzureOpenAIResponder,
    ConfigurationError,
    DeadlineExceededError,
    GeminiResponder,
    OpenAIResponder,
    VertexAIResponder,
)
from responder.simulator import Fault, Simulator
from responder.wire.credentials import GoogleCredential, KeyCredential

REFUSED = reply(b'{"error": {"message": "no"}}', "401 Unauthorized")


def bearer(server: Any) -> list[str]:
    return [request.headers.get("authorization", "") for request in server.requests]


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_an_argument_wins_over_the_environment(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the code was meant."""
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    server = serve(always())
    responder_for(server, api_key="from-argument").answer("Hi")
    responder_for(server, api_key=None).answer("Hi")
    assert bearer(server) == ["Bearer from-argument", "Bearer from-environment"]


def test_blanks_around_a_key_are_dropped(serve: Any, responder_for: Any) -> None:
    """A key that was read from a file ends in a line break."""
    server = serve(always())
    responder_for(server, api_key=" key-of-a-file \n").answer("Hi")
    responder_for(server, api_key=lambda: "key-of-a-callable\n").answer("Hi")
    assert bearer(server) == ["Bearer key-of-a-file", "Bearer key-of-a-callable"]


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_missing_key_is_told_at_once_with_what_to_type(key: str | None) -> None:
    """Before any work is done."""
    with pytest.raises(ConfigurationError, match=r"export OPENAI_API_KEY=.*api_key=") as caught:
        OpenAIResponder("m", api_key=key)
    assert caught.value.fatal


def test_the_first_variable_that_is_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemini has two names for one key; an empty variable is not set."""
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    assert GeminiResponder("m")._credential.secret() == "second"
    monkeypatch.setenv("GEMINI_API_KEY", "")
    assert GeminiResponder("m")._credential.secret() == "second"
    monkeypatch.setenv("GEMINI_API_KEY", "first")
    assert GeminiResponder("m")._credential.secret() == "first"


@pytest.mark.parametrize("key", [5, ["k"], b"k"])
def test_a_key_of_another_type_is_refused_without_showing_it(key: Any) -> None:
    """Bytes are a common slip."""
    with pytest.raises(ConfigurationError, match="api_key is a str"):
        OpenAIResponder("m", api_key=key)


@pytest.mark.pain(22)
def test_a_callable_is_asked_for_each_request(serve: Any, responder_for: Any) -> None:
    """Tokens that expire are fetched by whoever knows how."""
    tokens = iter(["one", "two"])
    server = serve(always())
    responder = responder_for(server, api_key=lambda: next(tokens))
    responder.answer("Hi")
    responder.answer("Hi")
    assert bearer(server) == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("returned", [None, "", "  ", 5])
def test_a_callable_that_returns_no_key_is_a_configuration_error(serve: Any, responder_for: Any, returned: Any) -> None:
    """Nothing is sent without a key."""
    server = serve(always())
    with pytest.raises(ConfigurationError, match="callable"):
        responder_for(server, api_key=lambda: returned).answer("Hi")
    assert server.requests == []


@pytest.mark.pain(22)
@pytest.mark.pain(10)
def test_a_refused_token_of_a_callable_is_renewed_once(serve: Any, responder_for: Any) -> None:
    """A 401 with a token that has just expired costs one more request, and no attempt; a second 401 is final."""
    tokens = iter(f"token-{number}" for number in range(100))
    current = [next(tokens)]
    server = serve(one_by_one(REFUSED, reply()))

    def key() -> str:
        if server.requests and len(server.requests) % 2:
            current[0] = next(tokens)
        return current[0]

    answer = responder_for(server, api_key=key).answer("Hi")
    assert answer.attempts == 1
    assert len(server.requests) == 2
    assert bearer(server)[0] != bearer(server)[1]

    refusing = serve(always(REFUSED))
    with pytest.raises(AuthenticationError) as caught:
        responder_for(refusing, api_key=lambda: next(tokens), max_retries=5).answer("Hi")
    assert len(refusing.requests) == 2
    assert caught.value.fatal


@pytest.mark.pain(10)
def test_a_refused_key_that_does_not_change_is_not_sent_again(serve: Any, responder_for: Any) -> None:
    """Neither a plain key nor a callable that returns the same one."""
    for key in ("same", lambda: "same"):
        server = serve(always(REFUSED))
        with pytest.raises(AuthenticationError):
            responder_for(server, api_key=key, max_retries=5).answer("Hi")
        assert len(server.requests) == 1


def test_an_error_of_the_callable_comes_out_as_it_is(serve: Any, responder_for: Any) -> None:
    """It is the user's own, and says more than we could; nothing is repeated."""
    calls = []

    def key() -> str:
        calls.append(1)
        raise PermissionError("no vault")

    with pytest.raises(PermissionError, match="no vault"):
        responder_for(serve(always()), api_key=key, max_retries=3).answer("Hi")
    assert len(calls) == 1


def test_azures_entra_tokens_come_from_a_callable(serve: Any) -> None:
    """A token provider, as azure-identity makes them, is sent as a bearer token."""
    server = serve(always())
    with AzureOpenAIResponder("d", endpoint=server.url, api_key=lambda: "entra-token", max_retries=0) as responder:
        responder.answer("Hi")
    assert bearer(server) == ["Bearer entra-token"]


@pytest.mark.pain(15)
def test_a_pickled_credential_reads_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither key nor callable travels."""
    for key in ("secret-key", lambda: "secret-key"):
        credential = KeyCredential(key, ("OPENAI_API_KEY",), "openai")
        data = pickle.dumps(credential)
        assert b"secret-key" not in data
        copy = pickle.loads(data)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigurationError):
            copy.secret()
        monkeypatch.setenv("OPENAI_API_KEY", "there")
        assert copy.secret() == "there"


@pytest.mark.parametrize("key", ["secret-key", lambda: "secret-key"])
def test_a_credential_does_not_show_its_secret(key: Any) -> None:
    """Its repr says where the key comes from."""
    assert "secret" not in repr(KeyCredential(key, ("OPENAI_API_KEY",), "openai"))
    assert "secret" not in repr(GoogleCredential(key))


# --- Google -----------------------------------------------------------------------------------------------------------


class Fake(google.auth.credentials.Credentials):
    """Credentials that count how often they are refreshed."""

    def __init__(self, seconds: float = 3600.0) -> None:
        super().__init__()
        self.refreshes = 0
        self.failure: Exception | None = None
        self.gate: threading.Barrier | None = None
        self._seconds = seconds

    def refresh(self, request: Any) -> None:
        self.refreshes += 1
        if self.failure is not None:
            raise self.failure
        self.token = f"token-{self.refreshes}"
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        self.expiry = now + datetime.timedelta(seconds=self._seconds)


@pytest.fixture
def vertex(simulator: Simulator) -> Iterator[Any]:
    """Make Vertex responders of the simulator."""
    made: list[VertexAIResponder] = []

    def make(**keywords: Any) -> VertexAIResponder:
        keywords = {"project": "p", "location": "us-central1", "max_retries": 0, "timeout": 20.0, **keywords}
        made.append(VertexAIResponder("gemini-2.5-flash", base_url=simulator.base_url("vertex"), **keywords))
        return made[-1]

    yield make
    for responder in made:
        responder.close()


@pytest.mark.acceptance(17)
@pytest.mark.pain(22)
def test_sixty_four_threads_with_an_expired_token_refresh_once(simulator: Simulator, vertex: Any) -> None:
    """One thread refreshes while the others wait for it."""
    credentials = Fake()
    batch = vertex(credentials=credentials).map(["Hi"] * 128, max_workers=64)
    assert batch.ok, batch.failures()
    assert credentials.refreshes == 1
    credentials.expiry = datetime.datetime(2000, 1, 1)
    assert vertex(credentials=credentials).map(["Hi"] * 64, max_workers=64).ok
    assert credentials.refreshes <= 2


@pytest.mark.pain(22)
def test_sixty_four_threads_whose_token_is_refused_renew_it_once(simulator: Simulator, vertex: Any) -> None:
    """A revoked token is replaced once for all, and every call is answered."""
    credentials = Fake()
    responder = vertex(credentials=credentials)
    responder.answer("Hi")
    hold = simulator.hold(32)
    simulator.script(Fault.status(401).repeated(32))
    batch = responder.map(["Hi"] * 32, max_workers=32)
    assert hold.wait(0)
    assert batch.ok, batch.failures()
    assert credentials.refreshes == 2


@pytest.mark.pain(22)
def test_a_token_that_stays_refused_is_a_fatal_error(simulator: Simulator, vertex: Any) -> None:
    """One renewal, then the provider's own 401."""
    simulator.always(Fault.status(401))
    credentials = Fake()
    with pytest.raises(AuthenticationError) as caught:
        vertex(credentials=credentials, max_retries=5).answer("Hi")
    assert caught.value.fatal
    assert len(simulator.received) == 2
    assert credentials.refreshes == 2


def test_a_refresh_that_google_refuses_is_an_authentication_error(simulator: Simulator, vertex: Any) -> None:
    """With advice, and nothing sent."""
    credentials = Fake()
    credentials.failure = google.auth.exceptions.RefreshError("invalid_grant: account not found", {"error": "invalid_grant"})
    with pytest.raises(AuthenticationError, match="invalid_grant") as caught:
        vertex(credentials=credentials, max_retries=3).answer("Hi")
    assert caught.value.fatal
    assert simulator.received == []
    assert credentials.refreshes == 1


def test_a_token_endpoint_that_cannot_be_reached_is_tried_again(simulator: Simulator, vertex: Any) -> None:
    """It is a connection like any other."""
    credentials = Fake()
    credentials.failure = google.auth.exceptions.TransportError("no route")
    with pytest.raises(APIConnectionError) as caught:
        vertex(credentials=credentials, max_retries=1).answer("Hi")
    assert caught.value.retryable
    assert credentials.refreshes == 2


@pytest.mark.parametrize("source", ["plain-token", lambda: "plain-token"])
def test_a_token_or_a_callable_takes_the_place_of_credentials(simulator: Simulator, vertex: Any, source: Any) -> None:
    """For whoever gets tokens elsewhere."""
    assert vertex(credentials=source).answer("Hi").text
    assert vertex(api_key=source).answer("Hi").text


def test_credentials_of_another_kind_are_refused() -> None:
    """A dict of a service account is a common slip."""
    with pytest.raises(ConfigurationError, match="credentials"):
        VertexAIResponder("m", project="p", credentials={"type": "service_account"})


@pytest.fixture(scope="session")
def private_key() -> str:
    """A service account's private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@pytest.fixture
def account_file(private_key: str, simulator: Simulator, tmp_path: Path) -> Path:
    """A service account's file whose token endpoint is the simulator's."""
    path = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "project_id": "project-of-the-file",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "robot@project-of-the-file.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{simulator.url}/token",
    }
    path.write_text(json.dumps(account))
    return path


def tokens_asked(simulator: Simulator) -> int:
    return sum(received.path == "/token" for received in simulator.received)


@pytest.mark.pain(22)
def test_default_credentials_are_found_by_the_environment(
    simulator: Simulator, vertex: Any, account_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOOGLE_APPLICATION_CREDENTIALS names the file; the project comes from it, and one token serves 64 threads."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))
    batch = vertex(project=None).map(["Hi"] * 64, max_workers=64)
    assert batch.ok, batch.failures()
    assert tokens_asked(simulator) == 1
    assert "/projects/project-of-the-file/" in simulator.received[-1].path


def test_a_service_account_is_given_the_scope_it_needs(simulator: Simulator, vertex: Any, account_file: Path) -> None:
    """`from_service_account_file` without scopes is enough."""
    credentials = service_account.Credentials.from_service_account_file(str(account_file))  # type: ignore[no-untyped-call]
    assert vertex(credentials=credentials).map(["Hi"] * 16, max_workers=16).ok
    assert tokens_asked(simulator) == 1


@pytest.mark.pain(24)
def test_tokens_are_asked_for_over_the_users_own_session(
    simulator: Simulator, vertex: Any, account_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its proxy and its CA apply to them as well."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))
    with requests.Session() as session:
        session.headers["X-From-Session"] = "yes"
        assert vertex(session=session).answer("Hi").text
    assert [received.headers.get("x-from-session") for received in simulator.received] == ["yes", "yes"]


def test_no_default_credentials_say_what_to_type(vertex: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The three ways to have some."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"gcloud auth application-default login.*credentials=") as caught:
        vertex().answer("Hi")
    assert caught.value.fatal


@pytest.mark.pain(2)
@pytest.mark.pain(22)
def test_a_silent_token_endpoint_does_not_hold_a_call_beyond_its_deadline(
    simulator: Simulator, vertex: Any, account_file: Path
) -> None:
    """Getting a token is part of the call."""
    simulator.script_for("/token", Fault.silence(times=100))
    credentials = service_account.Credentials.from_service_account_file(str(account_file))  # type: ignore[no-untyped-call]
    begin = time.monotonic()
    with pytest.raises(APIError) as caught:
        vertex(credentials=credentials).answer("Hi", deadline=1.0)
    assert time.monotonic() - begin < PATIENCE
    assert isinstance(caught.value, (DeadlineExceededError, APIConnectionError))


@pytest.mark.pain(15)
def test_pickled_google_credentials_are_the_default_ones() -> None:
    """A service account's private key does not travel."""
    credential = pickle.loads(pickle.dumps(GoogleCredential("token-that-is-secret")))
    assert b"secret" not in pickle.dumps(credential)
    assert "application default" in repr(credential)
