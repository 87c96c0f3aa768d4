"""Who we are: a key or token from an argument, a callable, the environment, or google-auth.

The only module that imports google.auth, and only when a token is needed. A credential never shows its secret: not in its
`repr`, and not in a pickle, where only the names of the environment variables travel.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import (
    APIConnectionError,
    AuthenticationError,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
)
from responder.values.sizes import default_sizes
from responder.wire.masking import Secret, masked
from responder.wire.oversize import too_large

GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Credential(Protocol):
    """What gives the secret for a request."""

    def secret(self, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> str:
        """Return the key or token to send now; a fetch ends at the call's deadline or its cancel."""

    def identity(self) -> str:
        """Return what distinguishes this credential from every other one, without showing it.

        The same key, callable or credentials object has the same identity in every responder; two different ones never have,
        not even one after the other. It is part of the key for limits and circuits.
        """

    def renew(self, refused: str, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> bool:
        """After a 401: try to get a different secret; True if there is one."""


class KeyCredential:
    """A key from an argument (a str, or a callable called for each request) or from the environment.

    Args:
        key: The key, a callable that returns one, or None for the environment.
        variables: Names of environment variables, the first that is set wins.
        provider: The provider's name, for messages.
        required: False for servers that need no key (Ollama); the secret is "" then.
    """

    def __init__(
        self, key: str | Callable[[], str] | None, variables: Sequence[str], provider: str, required: bool = True
    ) -> None:
        if key is not None and not callable(key) and not isinstance(key, str):
            raise ConfigurationError(f"api_key must be a str or a callable that returns one, not {type(key).__name__}")
        self._key = Secret(key) if isinstance(key, str) else key
        self._variables = tuple(variables)
        self._provider = provider
        self._required = required
        self._source = _identity_of(key) if callable(key) else ""
        self._left_behind = ""  # what a pickle of it did not take along

    def secret(self, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> Secret:  # noqa: ARG002 - nothing is fetched
        """Return the key to send now.

        Raises:
            ConfigurationError: There is none; the message says what to type.
            Exception: Whatever the callable raises, unchanged.
        """
        if callable(self._key):
            return _called(self._key, f"api_key callable for {self._provider}")
        key = self._key.strip() if self._key else _NO_SECRET
        if not key:
            key = Secret(next((os.environ[name] for name in self._variables if os.environ.get(name)), "")).strip()
        if not key and self._required:
            names = " or ".join(self._variables)
            if self._left_behind:
                raise ConfigurationError(
                    f"no API key for {self._provider}: {self._left_behind} given as an argument does not travel: "
                    + (f"export {self._variables[0]} on the workers" if names else "make the responder on the workers"),
                    fatal=True,
                )
            hint = f"export {self._variables[0]}=... in the shell" if names else "give api_key="
            raise ConfigurationError(
                f"no API key for {self._provider}: {hint}, or pass api_key= (looked for {names or 'no variable'})",
                fatal=True,
            )
        return key

    def identity(self) -> str:
        """Return a digest of the key, or the callable's identity, since what it returns may change."""
        return f"callable {self._source}" if self._source else _digest(self.secret())

    def renew(self, refused: str, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> bool:  # noqa: ARG002 - not fetched
        """Call the callable once more, if there is one."""
        return callable(self._key) and self.secret() != refused

    def __copy__(self) -> KeyCredential:
        return self  # it never changes, and a copy of a responder in this process keeps its key

    def __deepcopy__(self, memo: dict[int, Any]) -> KeyCredential:
        return self

    def __getstate__(self) -> dict[str, Any]:
        left = "a callable" if callable(self._key) else "a key" if self._key else self._left_behind
        return {**self.__dict__, "_key": None, "_source": "", "_left_behind": left}

    def __repr__(self) -> str:
        source = "callable" if callable(self._key) else "argument" if self._key else " or ".join(self._variables) or "none"
        return f"KeyCredential({source})"


class _Refresh:
    """A refresh under way; threads that need the token wait for `done`."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.failure: BaseException | None = None


class _InProcess:
    """What the threads of one process share of a Google credential: who refreshes, and the lock around that."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.refresh: _Refresh | None = None


class GoogleCredential:
    """An OAuth token of google-auth, refreshed by one thread while the others wait for it.

    google-auth itself checks and refreshes without a lock, so that 64 threads with an expired token would refresh 64 times.
    The refresh has a thread of its own, because a call must end at its deadline even if Google's token endpoint is silent.

    Args:
        source: google-auth credentials, a token, a callable that returns one, or None for Application Default
            Credentials.
        session: A `requests.Session` for token requests, so that its proxy and CA apply; None for google-auth's own.
    """

    def __init__(self, source: Any = None, session: Any = None) -> None:
        if source is not None and not isinstance(source, str) and not callable(source) and not hasattr(source, "refresh"):
            raise ConfigurationError(
                f"credentials must be google-auth credentials, a token or a callable, not {type(source).__name__}"
            )
        self._source: Any = Secret(source) if isinstance(source, str) else source
        self._session = session
        self._left_behind = False  # whether a pickle of it did not take its source along
        self._start()

    def _start(self) -> None:
        # By process, because the lock may be held, and the refresh be done, by a thread that a forked child does not have.
        # Compared by process id: a fork in C (uWSGI's) calls none of Python's hooks.
        self._of_process: dict[int, _InProcess] = {os.getpid(): _InProcess()}
        self._found: Any = None
        self._found_project: str | None = None
        self._identity = _identity_of(self._source) if self._source is not None and not isinstance(self._source, str) else ""
        _google_credentials.add(self)

    def _shared(self) -> _InProcess:
        process = os.getpid()
        found = self._of_process.get(process)
        if found is None:
            found = self._of_process.setdefault(process, _InProcess())  # atomic in the interpreter: all threads get the same
        return found

    def secret(self, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> Secret:
        """Return a token that is valid for a few minutes; refresh it if needed.

        Raises:
            ConfigurationError: No Application Default Credentials.
            AuthenticationError: Google refused to give a token.
            APIConnectionError: Google's token endpoint could not be reached.
            DeadlineExceededError, CancelledError: The call ended before there was a token.
            Exception: Whatever a callable raises, unchanged.
        """
        if isinstance(self._source, Secret):
            return self._source.strip()
        if callable(self._source) and not hasattr(self._source, "refresh"):
            return _called(self._source, "credentials callable")
        credentials = self._credentials()
        if not credentials.valid:
            self._refreshed(credentials, lambda: not credentials.valid, deadline, cancel)
        return Secret(credentials.token or "")

    def identity(self) -> str:
        """Return a digest of a token, or the identity of its source."""
        if isinstance(self._source, Secret):
            return _digest(self._source.strip())
        return f"source {self._identity}" if self._identity else "default"

    def renew(self, refused: str, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> bool:
        """Drop a token that Google has just refused; threads that were refused together cause one refresh."""
        if isinstance(self._source, str):
            return False
        if callable(self._source) and not hasattr(self._source, "refresh"):
            return self.secret() != refused
        credentials = self._credentials()
        self._refreshed(credentials, lambda: credentials.token == refused, deadline, cancel)
        return bool(credentials.token != refused)

    def project(self) -> str | None:
        """Return the project that Application Default Credentials belong to, if they name one."""
        if self._source is None:
            self._credentials()
        return self._found_project or getattr(self._source, "project_id", None)

    def quota_project(self) -> str | None:
        """Return the project to bill for quota, if the credentials name one."""
        found = self._found if self._source is None else self._source
        return getattr(found, "quota_project_id", None)

    def _credentials(self) -> Any:
        if self._source is not None:
            if getattr(self._source, "requires_scopes", False):
                with self._shared().lock:
                    if getattr(self._source, "requires_scopes", False):
                        self._source = self._source.with_scopes([GOOGLE_SCOPE])
            return self._source
        if self._found is None:
            with self._shared().lock:
                if self._found is None:
                    self._found, self._found_project = self._default()
        return self._found

    def _default(self) -> tuple[Any, str | None]:
        import google.auth
        import google.auth.exceptions

        try:
            credentials, project = google.auth.default(scopes=[GOOGLE_SCOPE])
        except google.auth.exceptions.DefaultCredentialsError as error:
            if self._left_behind:
                raise ConfigurationError(
                    "no Google credentials: those given as an argument do not travel: export GOOGLE_APPLICATION_CREDENTIALS on "
                    "the workers",
                    fatal=True,
                ) from error
            raise ConfigurationError(
                "no Google credentials: run 'gcloud auth application-default login', or export "
                "GOOGLE_APPLICATION_CREDENTIALS=/path/to/service-account.json, or pass credentials=",
                fatal=True,
            ) from error
        return credentials, project

    def _refreshed(self, credentials: Any, is_needed: Callable[[], bool], deadline: Deadline, cancel: CancelToken | None) -> None:
        """Wait for the refresh that is under way, or start one, where it is needed."""
        shared = self._shared()
        is_alone = False
        with shared.lock:
            if not is_needed():
                return
            refresh = shared.refresh
            if refresh is None:
                refresh = shared.refresh = _Refresh()
                arguments = (credentials, shared, refresh)
                try:
                    threading.Thread(target=self._fetch, args=arguments, name="responder-token", daemon=True).start()
                except (RuntimeError, MemoryError):  # the system has no more threads
                    is_alone = True
        if is_alone:
            self._fetch(credentials, shared, refresh)
        while not refresh.done.wait(max(0.0, min(_SLICE, deadline.remaining()))):
            if cancel is not None and cancel.cancelled:
                raise CancelledError(f"the call was stopped while it waited for a Google token: {cancel.reason}")
            if deadline.remaining() <= 0:
                raise DeadlineExceededError("the deadline passed while waiting for a Google token")
        if refresh.failure is not None:
            self._raise(refresh.failure)

    def _fetch(self, credentials: Any, shared: _InProcess, refresh: _Refresh) -> None:
        try:
            import google.auth.transport.requests

            request = google.auth.transport.requests.Request(session=self._session)
            hooks = {"response": _bound_body}
            credentials.refresh(functools.partial(request, timeout=_TOKEN_SECONDS, hooks=hooks))
        except BaseException as error:  # noqa: BLE001 - carried to those who wait
            refresh.failure = error
        with shared.lock:
            shared.refresh = None
        refresh.done.set()

    @staticmethod
    def _raise(failure: BaseException) -> None:
        """Raise what a failed refresh means: an error for each of those who waited."""
        import google.auth.exceptions

        try:
            raise failure
        except google.auth.exceptions.TransportError as error:
            raise APIConnectionError("Google's token endpoint could not be reached", provider="vertex", retryable=True) from error
        except google.auth.exceptions.GoogleAuthError as error:
            retryable = bool(getattr(error, "retryable", False))
            reason = masked(str(error.args[0] if error.args else error))[:300]
            raise AuthenticationError(
                f"Google gave no token: {reason}. Check the credentials: revoked, expired, or without the scope cloud-platform",
                provider="vertex",
                retryable=retryable,
                fatal=not retryable,
            ) from error

    def __copy__(self) -> GoogleCredential:
        return self  # a copy in this process shares the token, and who refreshes it

    def __deepcopy__(self, memo: dict[int, Any]) -> GoogleCredential:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"left_behind": self._source is not None or self._left_behind}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._source = self._session = None
        self._left_behind = state.get("left_behind", False)
        self._start()

    def __repr__(self) -> str:
        return f"GoogleCredential({'application default' if self._source is None else type(self._source).__name__})"


def _called(source: Callable[[], Any], what: str) -> Secret:
    """Return the secret from the user's callable; its exceptions pass through unchanged."""
    try:
        secret = source()
    except StopIteration as error:
        # It would silently end the iterator that asked for it (a stream, a map) (PEP 479).
        raise RuntimeError(f"the {what} raised StopIteration") from error
    if not isinstance(secret, str) or not secret.strip():
        raise ConfigurationError(f"the {what} returned {type(secret).__name__}, not a key or token", fatal=True)
    return Secret(secret.strip())


def _digest(secret: Secret) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()[:16]


def _bound_body(response: Any, *_: Any, **__: Any) -> None:
    """Read the body of a token server's reply, which requests would read without an end.

    Raises:
        InvalidResponseError: It is larger than the bound `decompressed` of `Sizes`.
    """
    most, body = default_sizes().decompressed, bytearray()
    for piece in response.iter_content(65536):
        body += piece
        if len(body) > most:
            response.close()
            raise too_large("the reply of Google's token server", "decompressed", most)
    response._content = bytes(body)  # where requests keeps what was read


# Identities of the living callables and credentials, by address; since an address is reused, a weak reference tells whether
# it is still the same object.
_known: dict[int, tuple[weakref.ref[Any], str]] = {}


def _identity_of(source: Any) -> str:
    """Return a name that this object keeps for life and that no other object ever gets.

    Random rather than counted, so that two processes that share a limits file never give two callables the same name.
    """
    owner, method = getattr(source, "__self__", None), getattr(source, "__name__", "")
    if owner is not None and method and not isinstance(owner, type(os)):
        return f"{_identity_of(owner)} {method}"  # a bound method is a new object each time it is accessed
    place = id(source)
    found = _known.get(place)
    if found is not None and found[0]() is source:
        return found[1]

    def forget(reference: weakref.ref[Any]) -> None:
        if place in _known and _known[place][0] is reference:
            del _known[place]

    new = uuid.uuid4().hex
    try:
        entry = (weakref.ref(source, forget), new)
    except TypeError:
        return new  # its class allows no weak references: every use gets a new name
    kept = _known.setdefault(place, entry)  # one step of the interpreter: two threads get the same
    if kept[0]() is not source:
        kept = _known[place] = entry
    return kept[1]


_NO_SECRET = Secret("")

# Seconds between two looks at the call's token, while it waits for Google's; and for one request to the token endpoint.
_SLICE = 0.1
_TOKEN_SECONDS = 30.0

_google_credentials: weakref.WeakSet[GoogleCredential] = weakref.WeakSet()


def _after_fork() -> None:
    for credential in list(_google_credentials):
        credential._of_process = {}  # process ids are reused


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
