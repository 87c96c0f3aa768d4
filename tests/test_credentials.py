"""Who we are: keys from arguments, callables and the environment, and tokens of Google's."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import datetime
import functools
import gc
import json
import os
import pickle
import subprocess
import sys
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
from servers import PATIENCE, Peer, always, one_by_one, reply

from responder import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    AzureOpenAIResponder,
    ConfigurationError,
    DeadlineExceededError,
    GeminiResponder,
    InvalidResponseError,
    OpenAIResponder,
    Sizes,
    VertexAIResponder,
    set_default_sizes,
)
from responder.simulator import Fault, Simulator
from responder.wire.credentials import GoogleCredential, KeyCredential, _known

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
    with pytest.raises(ConfigurationError, match="api_key must be a str"):
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
    credentials = service_account.Credentials.from_service_account_file(str(account_file))  # type: ignore[no-untyped-call]  # google-auth has no types for it
    assert vertex(credentials=credentials).map(["Hi"] * 16, max_workers=16).ok
    assert tokens_asked(simulator) == 1


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize("own_session", [False, True])
def test_a_token_server_that_never_stops_talking_is_left(
    serve: Any, simulator: Simulator, vertex: Any, account_file: Path, status: str, own_session: bool
) -> None:
    """The reply is bound as a provider's is: 64 MB for a token would be kept, and more without end."""
    sent = []

    def endless(peer: Peer) -> None:
        peer.receive()
        peer.send(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n".encode())
        with contextlib.suppress(OSError):  # the client has left
            for _ in range(2000):
                peer.sock.sendall(b" " * 65536)
                sent.append(65536)

    account = json.loads(account_file.read_text())
    account["token_uri"] = serve(endless).url + "/token"
    credentials = service_account.Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]  # google-auth has no types for it
    with requests.Session() as session:
        session.trust_env = False
        set_default_sizes(Sizes(decompressed=100_000))
        try:
            with pytest.raises(InvalidResponseError, match="Google's token"):
                vertex(credentials=credentials, **({"session": session} if own_session else {})).answer("Hi")
        finally:
            set_default_sizes(Sizes())
    assert len(sent) < 2000
    assert simulator.received == []


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
    credentials = service_account.Credentials.from_service_account_file(str(account_file))  # type: ignore[no-untyped-call]  # google-auth has no types for it
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


# --- Who is who -------------------------------------------------------------------------------------------------------


class Vault:
    """A source of keys whose instances cannot be told apart by what they are equal to."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vault)

    __hash__ = None  # type: ignore[assignment]  # cannot be a key of a dict

    def __call__(self) -> str:
        return "key-of-a-vault"

    def key(self) -> str:
        return "key-of-a-vault"


class Slotted:
    """A callable without weak references."""

    __slots__ = ()

    def __call__(self) -> str:
        return "key-of-a-slot"


def identity(source: Any) -> str:
    return KeyCredential(source, (), "openai").identity()


@pytest.mark.parametrize(
    "make", [lambda: lambda: "a-key", Vault, Slotted, lambda: Vault().key, lambda: functools.partial(str, "key")]
)
def test_callables_made_one_after_another_are_never_taken_for_one_another(make: Any) -> None:
    """A new one gets the address of a dead one, but not its limits, pauses and circuits."""
    assert len({identity(make()) for _ in range(300)}) == 300
    assert len({GoogleCredential(make()).identity() for _ in range(300)}) == 300


def test_google_credentials_made_one_after_another_are_never_taken_for_one_another() -> None:
    """A service that keeps a key for each of its customers."""
    assert len({GoogleCredential(Fake()).identity() for _ in range(300)}) == 300


def test_the_same_callable_is_the_same_for_every_responder() -> None:
    """Limits belong to the key, not to the responder."""
    vault, other = Vault(), Vault()
    function, part = (lambda: "a-key"), functools.partial(str, "a-key")
    credentials = Fake()
    for source in (vault, function, part, vault.key, str):
        assert identity(source) == identity(source)
    assert identity(vault.key) == identity(vault.key) != identity(other.key)
    assert identity(vault) != identity(other)
    assert identity(vault.key) != identity(vault)
    assert GoogleCredential(credentials).identity() == GoogleCredential(credentials).identity()
    assert identity("a-key") == identity(" a-key\n") != identity("b-key")
    assert GoogleCredential("a-key").identity() == GoogleCredential("a-key\n").identity()


def test_threads_that_meet_a_callable_at_once_give_it_one_name() -> None:
    """Two names would be two limits."""
    for _ in range(50):
        source, barrier = Vault(), threading.Barrier(4)

        def name(source: Vault = source, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(PATIENCE)
            return identity(source)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert len({future.result() for future in [pool.submit(name) for _ in range(4)]}) == 1


def test_callables_that_are_gone_are_forgotten() -> None:
    """A service that runs for years makes millions of them."""
    before = len(_known)
    for _ in range(100):
        identity(Vault())
    gc.collect()
    assert len(_known) <= before


def test_tenants_with_a_callable_each_do_not_share_a_limit(serve: Any, responder_for: Any) -> None:
    """One that was told to wait does not hold the next one, which stands at its address."""
    server = serve(always())
    shared = [responder_for(server, api_key=lambda number=number: f"tenant-{number}")._endpoint.shared for number in range(50)]
    assert len({id(part) for parts in shared for part in parts}) == 100


def test_a_copy_in_this_process_keeps_its_key() -> None:
    """Only a pickle leaves it behind."""
    for credential in (
        KeyCredential("a-key", (), "openai"),
        KeyCredential(lambda: "a-key", (), "openai"),
        GoogleCredential("a-key"),
    ):
        for copied in (copy.copy(credential), copy.deepcopy(credential), copy.deepcopy([credential])[0]):
            assert copied.secret() == "a-key"  # type: ignore[attr-defined]  # a copy of the same kind
            assert copied.identity() == credential.identity()  # type: ignore[attr-defined]  # a copy of the same kind


def test_a_secret_shows_in_no_frame(serve: Any, responder_for: Any) -> None:
    """Whatever a crash reporter prints of a credential and its secret."""
    for credential in (
        KeyCredential("a-key-to-hide", (), "openai"),
        KeyCredential(lambda: "a-key-to-hide", (), "x"),
        GoogleCredential("a-key-to-hide"),
    ):
        assert "hide" not in repr((credential.secret(), vars(credential)))
        assert f"Bearer {credential.secret()}" == "Bearer a-key-to-hide"
    server = serve(always())
    responder_for(server, api_key="a-key-to-hide").answer("Hi")
    assert bearer(server) == ["Bearer a-key-to-hide"]


# --- Callables that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["answer", "stream", "map", "imap", "stream_map"])
def test_a_callable_that_has_no_more_keys_is_no_end_of_an_answer(serve: Any, responder_for: Any, way: str) -> None:
    """StopIteration would end the stream or the map that asked for the key, without a word."""
    responder = responder_for(serve(always()), api_key=iter([]).__next__)

    def ask() -> None:
        if way == "answer":
            responder.answer("Hi")
        elif way == "stream":
            list(responder.stream("Hi"))
        elif way == "stream_map":
            raise next(event.error for event in responder.stream_map(["Hi"]) if event.done)
        else:
            raise next(iter(getattr(responder, way)(["Hi", "Hi"]))).error

    with pytest.raises(RuntimeError, match="StopIteration"):
        ask()


@pytest.mark.parametrize(
    "failure", [PermissionError("no vault"), TimeoutError("vault"), KeyError("k"), OSError(5, "x"), ConnectionResetError("x")]
)
@pytest.mark.parametrize("way", ["answer", "stream"])
def test_an_error_of_the_callable_is_never_taken_for_one_of_the_network(
    serve: Any, responder_for: Any, failure: Exception, way: str
) -> None:
    """It comes out as it is, once, and nothing is sent."""
    calls = []

    def key() -> str:
        calls.append(1)
        raise failure

    server = serve(always())
    responder = responder_for(server, api_key=key, max_retries=3)
    with pytest.raises(type(failure)) as caught:
        responder.answer("Hi") if way == "answer" else list(responder.stream("Hi"))
    assert caught.value is failure
    assert (len(calls), server.requests) == (1, [])


@pytest.mark.parametrize("returned", [None, "", "  ", 5, b"token"])
def test_a_callable_that_returns_no_token_of_googles_is_a_configuration_error(
    vertex: Any, simulator: Simulator, returned: Any
) -> None:
    """`None` is not sent as a token of four letters."""
    with pytest.raises(ConfigurationError, match="callable"):
        vertex(credentials=lambda: returned).answer("Hi")
    assert simulator.received == []


# --- Forks ------------------------------------------------------------------------------------------------------------


# In a program of its own, whose only other thread rests at the fork: a fork in C copies the interpreter's own lock as it is, and
# a thread that just wakes up may hold what is behind it.
REFRESH_IN_A_CHILD = """
import ctypes, os, sys, threading
import google.auth.credentials
from responder import DeadlineExceededError
from responder.values.deadline import Deadline
from responder.wire.credentials import GoogleCredential

parent, began, let_go = os.getpid(), threading.Event(), threading.Event()

class Slow(google.auth.credentials.Credentials):
    def refresh(self, request):
        if os.getpid() == parent:
            began.set()
            let_go.wait(20)
        self.token = f"token of {os.getpid()}"
        self.expiry = None

credential = GoogleCredential(Slow())
try:
    credential.secret(Deadline.after(0.3))
except DeadlineExceededError:
    pass
assert began.wait(20)
with credential._shared().lock:
    child = os.fork() if sys.argv[1] == "python" else ctypes.PyDLL(None).fork()
    if child == 0:
        os._exit(0 if credential.secret(Deadline.after(10.0)) == f"token of {os.getpid()}" else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
let_go.set()
print(code, credential.secret() == f"token of {parent}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("fork", ["python", "c"])
def test_a_child_that_was_forked_in_the_middle_of_a_refresh_refreshes_itself(fork: str) -> None:
    """The thread that refreshes, and the lock that it holds, are the parent's; a fork in C calls no hook of Python's."""
    command = [sys.executable, "-W", "ignore", "-c", REFRESH_IN_A_CHILD, fork]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr) == ("0 True\n", "")


@pytest.mark.parametrize("way", ["answer", "stream"])
@pytest.mark.parametrize(
    "answered",
    [
        reply(b"", "403 a-key-to-hide-42 is refused"),
        reply(b"", "200 a-key-to-hide-42", x_request_id="a-key-to-hide-42"),
        b"HTTP/9.9 a-key-to-hide-42\r\n\r\n",
        b"a-key-to-hide-42 is no HTTP\r\n\r\n",
        reply(b"<html>a-key-to-hide-42</html>", x_request_id="a-key-to-hide-42"),
    ],
)
def test_a_key_in_a_status_line_or_a_page_is_hidden(serve: Any, responder_for: Any, way: str, answered: bytes) -> None:
    """Whatever the error is, neither it nor what is behind it shows the key."""
    responder = responder_for(serve(always(answered, last=True)), api_key="a-key-to-hide-42", max_retries=0)
    with pytest.raises(APIError) as caught:
        responder.answer("Hi") if way == "answer" else list(responder.stream("Hi"))
    error: Any = caught.value
    while error is not None:
        assert "to-hide" not in repr((str(error), error.args, vars(error)))
        error = error.__cause__ or error.__context__
