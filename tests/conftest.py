"""What every test gets: an environment without keys and proxies, a home of its own, and a network that ends at loopback.

And how the tests are shared out when several processes run them (`pytest -n 4 --dist loadscope`).
"""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import freezegun
import pytest
import trustme
from hypothesis import settings
from redis_server import RedisServer
from servers import Handler, Server

from responder import OpenAIResponder, RetryPolicy
from responder.pace.breaker import forget_breakers
from responder.pace.registry import forget_limits

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_OTHERS = (
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NETRC",
    "HF_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "CLOUDSDK_CONFIG",
)

# Files whose tests share a browser, a site, a program or a large import, as all in tests/apps do: each runs in one process.
_TOGETHER = {
    "test_anthropic_sdk.py",
    "test_cli_demo.py",
    "test_cloud_sdks.py",
    "test_cluster.py",
    "test_dask.py",
    "test_docs_site.py",
    "test_embeddings_sdk.py",
    "test_google_sdk.py",
    "test_gradio.py",
    "test_openai_sdk.py",
    "test_redis_limits.py",
    "test_responses_sdk.py",
    "test_schema.py",
    "test_web.py",
}

# Files of long tests, which begin first, so that no process is left alone with one of them at the end.
_LONG = {"test_processes", "test_storms", "test_unkillable"}

# `make test-wheel` runs this one, where nothing but the wheel is installed.
collect_ignore = ["test_wheel.py"]
# Ray and Spark, with its Java, are no part of what the tests need.
if find_spec("ray") is None and find_spec("pyspark") is None:
    collect_ignore.append("integrations/test_recipes.py")

# freezegun looks at every attribute of every module, and cohere imports itself piece by piece as its attributes are looked at:
# with a false clock, which pydantic refuses.
freezegun.configure(extend_ignore_list=["cohere"])

# A case that is slow because the machine is busy is no fault. Where no number stands beside a test, this one holds.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests one by one, but those of a file that shares something together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            return str(file) if file.name in _TOGETHER or file.parent.name == "apps" else nodeid

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Begin with the long ones."""
    items.sort(key=lambda item: item.path.stem not in _LONG)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what the imports left: hundreds of thousands of objects, looked at in every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take out of the environment whatever would change a call, and give the test an empty home."""
    for name in list(os.environ):
        if name.upper() in _PROXIES or name in _OTHERS or name.endswith(("_API_KEY", "_BASE_URL", "_ENDPOINT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def no_memory_of_refusals() -> None:
    """Let no test wait because another one was told to, or found its server down."""
    forget_limits()
    forget_breakers()


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine, so that no test depends on a network."""
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def checked(address: Any) -> Any:
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            raise OSError(f"tests stay on this machine: {address[0]} is not loopback")
        return address

    def resolved(host: Any, *rest: Any, **more: Any) -> Any:
        if isinstance(host, str):
            host.encode("idna")  # refuses, as the true one does, what cannot be a name
        return resolve(checked((host,))[0], *rest, **more)

    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connect(self, checked(address)))
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: connect_ex(self, checked(address)))
    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def _is_loopback(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Give a function that starts servers, which stop with the test."""
    with ExitStack() as stack:
        yield lambda handler, context=None, **more: stack.enter_context(Server(handler, context, **more))


@pytest.fixture
def responder_for() -> Iterator[Callable[..., OpenAIResponder]]:
    """Give a function that makes responders for a server, which are closed with the test."""
    with ExitStack() as stack:

        def make(server: Any, **keywords: Any) -> OpenAIResponder:
            url = server.url if hasattr(server, "url") else server
            keywords = {"api_key": "test-key", "max_retries": 0, "timeout": 30.0, "base_url": f"{url}/v1", **keywords}
            if isinstance(keywords["max_retries"], int):  # the waits that are ours are tested where they are made
                keywords["max_retries"] = RetryPolicy(keywords["max_retries"], first_backoff=0.02)
            return stack.enter_context(OpenAIResponder("m", **keywords))

        yield make


@pytest.fixture
def ask(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> Callable[..., Any]:
    """Ask a server with this handler once: `ask(handler, timeout=1)`."""

    def once(handler: Handler, context: ssl.SSLContext | None = None, **keywords: Any) -> Any:
        return responder_for(serve(handler, context), **keywords).answer("Hi")

    return once


@pytest.fixture(scope="module")
def redis_of_module() -> Iterator[RedisServer]:
    """A Redis server for the tests of a module; see `redis_server`, which gives it to one of them."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def redis_server(redis_of_module: RedisServer) -> RedisServer:
    """A Redis server that runs and is empty."""
    redis_of_module.renew()
    return redis_of_module


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority of our own."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """What a TLS server of this machine's names speaks with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate as a PEM file."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, authority_file: Path) -> Path:
    """Make the authority the one that is trusted, the way a company does it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority_file))
    return authority_file
