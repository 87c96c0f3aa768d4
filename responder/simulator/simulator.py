"""What do users work with? `Simulator`: started, asked, scripted and stopped from blocking code.

Behind it stands either a thread of this process (`embedded.py`) or a process of its own (`remote.py`); both do the same.
"""

from __future__ import annotations

import importlib.util
import ssl
import types
from collections.abc import Callable, Sequence
from typing import Any

from .batches import BatchSeen
from .dialects import base_path
from .embedded import Backend, EmbeddedBackend
from .engine import Engine, Settings
from .faults import Fault
from .journal import Received
from .pace import Distribution

_WAIT_S = 30.0
# Addresses that mean "listen on all"; they cannot be connected to.
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class Hold:
    """A barrier before the answers: made by `Simulator.hold`."""

    def __init__(self, backend: Backend, number: int) -> None:
        self._backend = backend
        self._number = number

    def wait(self, timeout: float = _WAIT_S) -> bool:
        """Block until enough requests were inside at once, and the barrier opened.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it opened in time.
        """
        return self._backend.wait_for_hold(self._number, timeout)

    def release(self) -> None:
        """Open the barrier, however many requests are inside."""
        self._backend.release(self._number)


class Simulator:
    """A local HTTP server that speaks the dialect of each provider, with latency, limits and faults on demand.

    Use it as a context manager, or call `start` and `stop`. Everything it answers says that it is simulated.

        with Simulator(latency=0.2) as simulator:
            simulator.script(Fault.status(429, retry_after=2))
            client = OpenAI(base_url=simulator.base_url("openai"), api_key="any")

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        ssl_context: Speak TLS with this server-side context. Only for the embedded form; `url` then says localhost.
        certfile: Path of a PEM file with the certificate chain: turns TLS on. For both forms.
        keyfile: Path of a PEM file with the private key; None if it is in `certfile`.
        latency: Seconds before the first byte of an answer: a number, "uniform:0.2:0.6", "lognormal:MEDIAN:P95", or
            "list:0.1,0.5" (taken in turn).
        tokens_per_second: Pace of streams, in output tokens a second, in the same forms (drawn once for each stream);
            None for as fast as possible. One token is four characters.
        seed: Makes chance repeatable: latency, random errors, spikes. None for a new run every time.
        requests_per_minute: Limit for each key and model, kept as a token bucket of one minute's size; None for none.
        tokens_per_minute: The same for tokens, input and output together; None for none.
        requests_per_day: Requests in 24 hours for each key and model; None for none.
        error_rate: Share of requests, 0 to 1, that randomly get a 500, a 503 or a reset connection.
        spike_rate: Share of requests, 0 to 1, that take `spike` seconds longer.
        spike: Length of a latency spike, in seconds.
        api_key: The key, or keys, that are accepted; others get the provider's own error. None accepts all (Vertex
            still needs some bearer token, and tokens given out by `/token` are always good).
        models: Names of the models that exist; others get the provider's own error. None: any model exists.
        reply: The text to answer with, or (embedded form) a quick function from the prompt to the text; None quotes
            the prompt.
        thinking: Whether the model thinks first: adds reasoning and its tokens, in each provider's way.
        log_size: How many requests the log remembers.
        batch_hours: How long a batch of prompts takes, in hours of the simulator's own clock, which `advance` winds on; 0: it is
            done at once. What is not answered after 24 hours expires.
        batch_tokens: How many tokens of batches may be under way; None for any number.
        allowed_hosts: Host names that it answers to besides "localhost" and its address; a request under any other name gets a
            421, since a page of another web site could have sent it.
        process: True: run in a process of its own (same interface; it ends with this one). False: in a thread of this one.

    Raises:
        ValueError: A setting is invalid.
        ImportError: aiohttp is not installed (`pip install "responder-sdk[simulator]"`).
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        latency: Distribution = 0.0,
        tokens_per_second: Distribution | None = None,
        seed: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        requests_per_day: int | None = None,
        error_rate: float = 0.0,
        spike_rate: float = 0.0,
        spike: float = 5.0,
        api_key: str | Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        reply: str | Callable[[str], str] | None = None,
        thinking: bool = False,
        log_size: int = 100_000,
        batch_hours: float = 0.0,
        batch_tokens: int | None = None,
        allowed_hosts: Sequence[str] = (),
        process: bool = False,
    ) -> None:
        settings = Settings(
            latency=latency,
            tokens_per_second=tokens_per_second,
            seed=seed,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            requests_per_day=requests_per_day,
            error_rate=error_rate,
            spike_rate=spike_rate,
            spike=spike,
            api_key=api_key if api_key is None or isinstance(api_key, str) else tuple(api_key),
            models=None if models is None else tuple(models),
            reply=reply,
            thinking=thinking,
            log_size=log_size,
            batch_hours=batch_hours,
            batch_tokens=batch_tokens,
            allowed_hosts=tuple(allowed_hosts),
        )
        require_aiohttp()
        self._host = host
        self._secure = ssl_context is not None or certfile is not None
        self._port: int | None = None
        self._backend: Backend
        if process:
            if ssl_context is not None or callable(reply):
                raise ValueError(
                    "A simulator in its own process cannot take an ssl_context or a function as "
                    "reply: pass certfile= and keyfile=, "
                    "a fixed text as reply=, or use the embedded form (process=False)."
                )
            from .remote import RemoteBackend

            Engine(settings)  # Invalid settings are refused here, not in the other process.
            self._backend = RemoteBackend(settings, host, port, certfile, keyfile)
        else:
            self._backend = EmbeddedBackend(settings, host, port, ssl_context, certfile, keyfile)

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> Simulator:
        """Start to listen, and return the simulator itself.

        Raises:
            OSError: The port is taken, or the address is not ours.
            RuntimeError: It is started already.
        """
        if self._port is not None:
            raise RuntimeError("This simulator is started already; make another one, or call stop() first.")
        self._port = self._backend.start()
        return self

    def stop(self) -> None:
        """Stop within about a second, whatever hangs; open connections are cut. A second call does nothing."""
        self._port = None
        self._backend.stop()

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Simulator {'stopped' if self._port is None else self.url}>"

    # Where it is ----------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._port is None:
            raise RuntimeError("This simulator is not running: use it as a context manager, or call start().")
        return self._port

    @property
    def url(self) -> str:
        """Where it listens: "http://127.0.0.1:PORT", or "https://localhost:PORT" with TLS."""
        port = self.port
        if self._secure:
            return f"https://localhost:{port}"
        host = "127.0.0.1" if self._host in _EVERYWHERE else self._host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def base_url(self, provider: str = "openai") -> str:
        """Return what the provider's own SDK takes as its base URL (for Azure: as its endpoint).

        Args:
            provider: "openai", "azure", "gemini", "vertex", "anthropic", "groq", ...; any other name is a host that
                speaks OpenAI's dialect, at `/hosts/NAME/v1`.
        """
        return self.url + base_path(provider)

    # What it saw ----------------------------------------------------------------------------------------------------

    @property
    def received(self) -> list[Received]:
        """What it received, in order of arrival. A copy: it does not change afterwards.

        The embedded form keeps its log when it is stopped; a process of its own takes the log with it.
        """
        return self._backend.received()

    @property
    def in_flight(self) -> int:
        """How many requests have arrived and are not answered yet."""
        return self._backend.counts()["in_flight"]

    @property
    def most_in_flight(self) -> int:
        """The most requests that were in flight at once."""
        return self._backend.counts()["most_in_flight"]

    @property
    def connections(self) -> int:
        """How many connections are open now, kept-alive ones included."""
        return self._backend.counts()["connections"]

    @property
    def connections_opened(self) -> int:
        """How many connections were opened in total."""
        return self._backend.counts()["connections_opened"]

    @property
    def pending_faults(self) -> int:
        """How many scripted faults still wait for their request."""
        return self._backend.counts()["pending_faults"]

    @property
    def batches(self) -> list[BatchSeen]:
        """The batches that were made, in order, with the prompts of those lines that are answered by now."""
        return self._backend.batches()

    # What it shall do -----------------------------------------------------------------------------------------------

    def script(self, *faults: Fault) -> None:
        """Let the next requests meet these faults, one each, in order."""
        self._backend.script(faults)

    def script_for(self, text: str, *faults: Fault) -> None:
        """Let requests whose last user text equals or contains `text` meet these faults, in order.

        A request without a user text is matched by its path: `script_for("/token", Fault.status(503))`.
        """
        self._backend.script_for(text, faults)

    def always(self, fault: Fault | None) -> None:
        """Let every request meet this fault, unless another one is scripted for it; None ends it."""
        self._backend.always(fault)

    def advance(self, hours: float) -> None:
        """Wind the clock on by which batches are worked at and expire.

        Args:
            hours: 0 or more.
        """
        self._backend.advance(hours)

    def hold(self, size: int) -> Hold:
        """Answer nothing until `size` requests are inside at once, which proves concurrency without a stopwatch.

        The barrier opens once and stays open. A new one releases the requests waiting in the previous one.

        Args:
            size: How many requests, 1 or more.
        """
        return Hold(self._backend, self._backend.hold(size))

    def wait_for(self, number: int, timeout: float = _WAIT_S) -> bool:
        """Block until `number` requests have arrived since the start or the last `clear`.

        Args:
            number: How many.
            timeout: Seconds to wait at most.

        Returns:
            Whether they have arrived.
        """
        return self._backend.wait_for(number, timeout)

    def wait_until_idle(self, timeout: float = _WAIT_S) -> bool:
        """Block until no request is in flight: each was answered, or its client has gone away.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether that came true.
        """
        return self._backend.wait_until_idle(timeout)

    def clear(self) -> None:
        """Forget the log, the scripted faults, the barriers and what the keys have used of their limits."""
        self._backend.clear()


def require_aiohttp() -> None:
    """Say what to install if the server's library is missing.

    Raises:
        ImportError: aiohttp is not installed.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise ImportError(
            'The simulated provider needs aiohttp. Install it with:  pip install "responder-sdk[simulator]"',
            name="aiohttp",
        )


def base_urls(url: str, providers: Sequence[str]) -> dict[str, Any]:
    """Return the base URL of each provider on a simulator at `url`."""
    return {provider: url + base_path(provider) for provider in providers}
