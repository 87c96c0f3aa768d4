"""What is a responder made of, and what of it goes into a copy or a pickle? Its settings, and its way to the provider."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from responder.call.asker import Source
from responder.call.dialect import Dialect
from responder.call.keeping import AnswerStore
from responder.call.replies import shown_url
from responder.call.retry import Retrier, RetryPolicy
from responder.many.runs import open_file
from responder.pace.limits import Limits
from responder.pace.prices import Price
from responder.recipe.checks import checked_timeout
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout
from responder.values.errors import ConfigurationError
from responder.values.options import Options
from responder.wire.credentials import Credential, KeyCredential
from responder.wire.masking import Secret

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint
    from responder.wire.transport import Transport

Self = TypeVar("Self", bound="Recipe")


class Recipe(Dialect):
    """The settings of a `Responder`, whose constructor sets them, and what sends with them."""

    system: str | None
    timeout: Timeout
    deadline: float | None
    options: Options
    extra_headers: dict[str, Any]
    cache: str | AnswerStore | None
    _price: Price | None
    _limits: Limits
    _session: Any
    _credential: Credential
    _policy: RetryPolicy

    def _start(self, transport: Transport | None = None) -> None:
        """Make what can neither be pickled nor shared with another process; reuse the given transport, if any."""
        # Imported with the first responder: `requests` alone is half of the time that importing all of this would take.
        from responder.call.endpoint import Access
        from responder.wire.copies import let_copies_share
        from responder.wire.transport import Transport

        if transport is None:
            transport = Transport(self._session)
            if self._session is None:
                let_copies_share(self._identity(), transport)
        retrier = Retrier(self._policy)
        self._access = Access(transport, self._credential, self._limits, retrier, self.extra_headers, self._price)
        self._answers: AnswerStore | None = None

    def _identity(self) -> tuple[str, ...]:
        """Return what copies that share connections have in common."""
        try:
            key = self._credential.identity()
        except ConfigurationError:  # none here: the error is that of the first call
            key = ""
        return (type(self).__module__, type(self).__qualname__, self.base_url, key)

    def _make_credential(self, api_key: str | Callable[[], str] | None) -> Credential:
        credential = KeyCredential(api_key, self.key_variables, self.provider, self.key_required)
        if not callable(api_key):
            credential.secret()  # a missing key is an error here, before any work is done
        return credential

    def _base_url_of_environment(self) -> str | None:
        return first_set(self.base_url_variables)

    @property
    def _endpoint(self) -> Endpoint:
        from responder.call.endpoint import Endpoint

        return Endpoint(self, self._access)

    def _ends(self, deadline: float | None) -> Deadline:
        return Deadline.after(self.deadline if deadline is None else deadline)

    def _source(
        self,
        timeout: float | Timeout | None,
        options: Mapping[str, Any],
        beside: Callable[..., object],
        deadline: Deadline,
        cancel: CancelToken | None,
    ) -> Source:
        """Return what is asked, with the options, the time and the file of one call."""
        return Source(
            self._endpoint,
            self.options.merged(options, beside),
            self.timeout if timeout is None else checked_timeout(timeout),
            self.system,
            self._cached_answers(deadline, cancel),
        )

    def _cached_answers(self, deadline: Deadline, cancel: CancelToken | None) -> AnswerStore | None:
        """Return the opened `cache`; None without one."""
        if self._answers is None and self.cache is not None:
            self._answers = open_file(self.cache, deadline, cancel) if isinstance(self.cache, str) else self.cache
        return self._answers

    def close(self) -> None:
        """Close the idle connections; the responder opens new ones when it is used again."""
        self._access.transport.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={shown_url(self.base_url)!r})"

    def __copy__(self: Self) -> Self:
        # A copy stays in this process, so it keeps what a pickle leaves behind: key, session, headers, and the connections.
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.extra_headers = dict(self.extra_headers)
        made._start(self._access.transport)
        return made

    def __deepcopy__(self: Self, _memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_access", "_session", "_answers")}
        state["extra_headers"] = {name: value for name, value in self.extra_headers.items() if not _is_secret(name)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from responder.wire.copies import transport_of_copy

        self.__dict__.update(state)
        self._session = None
        self._start(transport_of_copy(self._identity()))


def first_set(variables: tuple[str, ...]) -> str | None:
    """Return the value of the first environment variable that has one; None without any."""
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


# Header names that hold secrets; their values are neither shown nor pickled.
_SECRET_WORDS = ("auth", "key", "token", "secret", "cookie", "password")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def hidden(name: str, value: Any) -> Any:
    """Return a header's value; one that may be a key as a secret, which no debugger or crash report shows.

    Raises:
        ConfigurationError: The name cannot be a header's, or would change where the request ends.
    """
    if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None or name.lower() == "transfer-encoding":
        raise ConfigurationError(f"extra_headers cannot hold {name!r}")
    return Secret(value) if isinstance(value, str) and _is_secret(name) else value
