"""Who we are: a key or token from an argument, a callable, the environment, or google-auth.

The only room that imports google.auth, and only once a token is wanted. A credential never shows its secret: not in its
`repr`, and not in a pickle, where only the names of the environment variables travel.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
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

GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Credential(Protocol):
    """What gives the secret for a request."""

    def secret(self, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> str:
        """Return the key or token to send now; where it has to be fetched, not beyond the call's deadline or its cancel."""

    def identity(self) -> str:
        """Return what tells this credential from another one, without showing it."""

    def renew(self, refused: str, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> bool:
        """After a 401: try to get another secret than the refused one; True when there is one."""


class KeyCredential:
    """A key from an argument (a str, or a callable asked for each request) or from the environment.

    Args:
        key: The key, a callable that returns one, or None for the environment.
        variables: Names of environment variables, the first that is set wins.
        provider: The provider's name, for messages.
        required: False for servers that take no key (Ollama); the secret is "" then.
    """

    def __init__(
        self, key: str | Callable[[], str] | None, variables: Sequence[str], provider: str, required: bool = True
    ) -> None:
        if key is not None and not callable(key) and not isinstance(key, str):
            raise ConfigurationError(f"api_key is a str or a callable that returns one, not {type(key).__name__}")
        self._key = key
        self._variables = tuple(variables)
        self._provider = provider
        self._required = required

    def secret(self, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> str:  # noqa: ARG002 - nothing is fetched
        """Return the key to send now.

        Raises:
            ConfigurationError: There is none; the message says what to type.
        """
        key: Any = self._key
        if callable(key):
            key = key()
            if not isinstance(key, str) or not key.strip():
                raise ConfigurationError(
                    f"the api_key callable for {self._provider} returned {type(key).__name__}, not a key", fatal=True
                )
        key = (key or "").strip()
        if not key:
            key = next((os.environ[name] for name in self._variables if os.environ.get(name)), "")
        if not key and self._required:
            names = " or ".join(self._variables)
            hint = f"export {self._variables[0]}=... in the shell" if names else "give api_key="
            raise ConfigurationError(
                f"no API key for {self._provider}: {hint}, or pass api_key= (looked for {names or 'no variable'})",
                fatal=True,
            )
        return str(key).strip()

    def identity(self) -> str:
        """Return a digest of the key, or the callable's own identity, since what it returns may change."""
        if callable(self._key):
            return f"callable {id(self._key)}"
        return hashlib.sha256(self.secret().encode()).hexdigest()[:16]

    def renew(self, refused: str, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> bool:  # noqa: ARG002 - not fetched
        """Ask the callable once more, where there is one."""
        return callable(self._key) and self.secret() != refused

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": None}

    def __repr__(self) -> str:
        source = "callable" if callable(self._key) else "argument" if self._key else " or ".join(self._variables) or "none"
        return f"KeyCredential({source})"


class _Refresh:
    """A refresh that is under way; whoever needs the token waits for `done`."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.failure: BaseException | None = None


class GoogleCredential:
    """An OAuth token of google-auth, refreshed by one thread while the others wait for it.

    google-auth itself checks and refreshes without a lock, so that 64 threads with an expired token would refresh 64 times.
    The refresh has a thread of its own, because a call must end at its deadline also where Google's token endpoint is silent.

    Args:
        source: google-auth credentials, a token, a callable that returns one, or None for Application Default
            Credentials.
        session: A `requests.Session` for token requests, so that its proxy and CA apply; None for google-auth's own.
    """

    def __init__(self, source: Any = None, session: Any = None) -> None:
        if source is not None and not isinstance(source, str) and not callable(source) and not hasattr(source, "refresh"):
            raise ConfigurationError(
                f"credentials are google-auth credentials, a token or a callable, not {type(source).__name__}"
            )
        self._source = source
        self._session = session
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._refresh: _Refresh | None = None
        self._found: Any = None
        self._found_project: str | None = None
        _google_credentials.add(self)

    def secret(self, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> str:
        """Return a token that is valid for some minutes; refreshes it when it is not.

        Raises:
            ConfigurationError: No Application Default Credentials.
            AuthenticationError: Google refused to give a token.
            APIConnectionError: Google's token endpoint could not be reached.
            DeadlineExceededError, CancelledError: The call ended before there was a token.
        """
        if isinstance(self._source, str):
            return self._source.strip()
        if callable(self._source) and not hasattr(self._source, "refresh"):
            return str(self._source()).strip()
        credentials = self._credentials()
        if not credentials.valid:
            self._refreshed(credentials, lambda: not credentials.valid, deadline, cancel)
        return str(credentials.token or "")

    def identity(self) -> str:
        """Return a digest of a token, or the identity of what gives it."""
        if isinstance(self._source, str):
            return hashlib.sha256(self._source.encode()).hexdigest()[:16]
        return "default" if self._source is None else f"source {id(self._source)}"

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
        """Return the project that Application Default Credentials belong to, where they say it."""
        if self._source is None:
            self._credentials()
        return self._found_project or getattr(self._source, "project_id", None)

    def quota_project(self) -> str | None:
        """Return the project that is to be billed for quota, where the credentials name one."""
        found = self._found if self._source is None else self._source
        return getattr(found, "quota_project_id", None)

    def _credentials(self) -> Any:
        if self._source is not None:
            if getattr(self._source, "requires_scopes", False):
                with self._lock:
                    if getattr(self._source, "requires_scopes", False):
                        self._source = self._source.with_scopes([GOOGLE_SCOPE])
            return self._source
        if self._found is None:
            with self._lock:
                if self._found is None:
                    self._found, self._found_project = self._default()
        return self._found

    def _default(self) -> tuple[Any, str | None]:
        import google.auth
        import google.auth.exceptions

        try:
            credentials, project = google.auth.default(scopes=[GOOGLE_SCOPE])
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise ConfigurationError(
                "no Google credentials: run 'gcloud auth application-default login', or export "
                "GOOGLE_APPLICATION_CREDENTIALS=/path/to/service-account.json, or pass credentials=",
                fatal=True,
            ) from error
        return credentials, project

    def _refreshed(self, credentials: Any, is_needed: Callable[[], bool], deadline: Deadline, cancel: CancelToken | None) -> None:
        """Wait for the refresh that is under way, or start one, where it is needed."""
        with self._lock:
            if not is_needed():
                return
            refresh = self._refresh
            if refresh is None:
                refresh = self._refresh = _Refresh()
                arguments = (credentials, refresh)
                threading.Thread(target=self._fetch, args=arguments, name="responder-token", daemon=True).start()
        while not refresh.done.wait(max(0.0, min(_SLICE, deadline.remaining()))):
            if cancel is not None and cancel.cancelled:
                raise CancelledError(f"the call was stopped while it waited for a Google token: {cancel.reason}")
            if deadline.remaining() <= 0:
                raise DeadlineExceededError("the deadline passed while waiting for a Google token")
        if refresh.failure is not None:
            self._raise(refresh.failure)

    def _fetch(self, credentials: Any, refresh: _Refresh) -> None:
        import google.auth.transport.requests

        request = google.auth.transport.requests.Request(session=self._session)
        try:
            credentials.refresh(functools.partial(request, timeout=_TOKEN_SECONDS))
        except BaseException as error:  # noqa: BLE001 - carried to those who wait
            refresh.failure = error
        with self._lock:
            self._refresh = None
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
            reason = str(error.args[0] if error.args else error)[:300]
            raise AuthenticationError(
                f"Google gave no token: {reason}. Look at the credentials: revoked, expired, or without the scope cloud-platform",
                provider="vertex",
                retryable=retryable,
                fatal=not retryable,
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, _state: dict[str, Any]) -> None:
        self._source = self._session = None
        self._start()

    def __repr__(self) -> str:
        return f"GoogleCredential({'application default' if self._source is None else type(self._source).__name__})"


# Seconds between two looks at the call's token, while it waits for Google's; and for one request to the token endpoint.
_SLICE = 0.1
_TOKEN_SECONDS = 30.0

_google_credentials: weakref.WeakSet[GoogleCredential] = weakref.WeakSet()


def _after_fork() -> None:
    for credential in list(_google_credentials):
        # The lock may be held, and the refresh be done, by a thread that the child does not have.
        credential._lock = threading.Lock()
        credential._refresh = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
