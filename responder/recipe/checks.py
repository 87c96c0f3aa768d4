"""Which keywords does a responder refuse before anything is sent? Those whose kind nothing else checks before the first call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from responder.call.keeping import AnswerStore
from responder.pace.prices import Price
from responder.values.answer import T as T  # of SchemaOption
from responder.values.deadline import Timeout, as_timeout
from responder.values.errors import ConfigurationError

if TYPE_CHECKING:
    from types import UnionType
    from typing import _SpecialForm

    from responder.values.options import AnswerOptions

# The last three are Literal, unions, and none, whose type no checker can tell yet.
SchemaOption: TypeAlias = "type[T] | Mapping[str, Any] | UnionType | _SpecialForm | None"


class _RespondersOwn:
    """The default of `schema=`: None takes a schema back."""

    def __repr__(self) -> str:
        return "the responder's"


RESPONDERS_OWN: Any = _RespondersOwn()

# None: left out.
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "base_url": ((str,), "a URL, such as 'https://host/v1'"),
    "system": ((str,), "a str"),
    "extra_headers": ((Mapping,), "a dict of header names and values"),
    "price": ((Price,), "a Price"),
    "cache": ((str, os.PathLike, AnswerStore), "the path of a file, or a store of answers"),
    "allow_http": ((bool,), "True or False"),
}


def check_kinds(**given: Any) -> None:
    """Refuse keywords of a constructor that are of the wrong kind.

    Args:
        **given: By the names of `_KINDS`; the first that is wrong is named.

    Raises:
        ConfigurationError: One is; the message says what it must be.
    """
    for name, value in given.items():
        kinds, words = _KINDS[name]
        if value is not None and not isinstance(value, kinds):
            raise ConfigurationError(f"{name} must be {words}, not {value!r}", fatal=True)


def check_embedding(dimensions: Any, purpose: Any, batch_size: Any = None) -> None:
    """Refuse keywords of `embed` that are of the wrong kind.

    Raises:
        ConfigurationError: One is.
    """
    for name, value in (("dimensions", dimensions), ("batch_size", batch_size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigurationError(f"{name} must be a whole number, 1 or more, or None, not {value!r}", fatal=True)
    if purpose not in (None, "query", "document"):
        raise ConfigurationError(f"purpose is 'query', 'document' or None, not {purpose!r}", fatal=True)


def checked_timeout(timeout: float | Timeout) -> Timeout:
    """Return the `timeout` of one call.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return as_timeout(timeout)
    except ValueError as error:
        raise ConfigurationError(str(error), fatal=True) from None


def with_schema(options: AnswerOptions, schema: Any) -> Mapping[str, Any]:
    """Return the options of one call with its schema among them, unless that is the responder's own."""
    return dict(options) if schema is RESPONDERS_OWN else {**options, "schema": schema}
