"""What may a browser be told about a failure? A sentence without details; the details go to the log `responder.integrations`.

An error's own message names URLs, accounts, settings and quotes the provider: right for a log, wrong for a visitor of a page.
"""

from __future__ import annotations

import logging

from responder.values.errors import (
    APIConnectionError,
    APITimeoutError,
    BlockedError,
    CancelledError,
    CircuitOpenError,
    DeadlineExceededError,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    ResponderError,
    StreamInterruptedError,
)
from responder.values.visible import visible_in_line, visible_on_page

_log = logging.getLogger("responder.integrations")

UNKNOWN = "The question could not be answered."

# The first that fits; a class not listed here says something about the account or the settings, and is not sent to a browser.
_SENTENCES: tuple[tuple[type[ResponderError], str], ...] = (
    (QuotaExceededError, UNKNOWN),
    (RateLimitError, "Too many questions are being asked right now. Please try again in a moment."),
    (InternalServerError, "The service has a problem right now. Please try again in a moment."),
    (CircuitOpenError, "The service has a problem right now. Please try again in a moment."),
    (APITimeoutError, "The answer took too long. Please try again."),
    (DeadlineExceededError, "The answer took too long. Please try again."),
    (StreamInterruptedError, "The answer broke off. Please try again."),
    (APIConnectionError, "The service cannot be reached right now. Please try again in a moment."),
    (BlockedError, "The service refused to answer this question."),
    (CancelledError, "The question was cancelled."),
)


def public_message(error: BaseException) -> str:
    """Return what a page may say about an error, and write the error itself to the log `responder.integrations`.

    An error of ours is a warning, in one line; any other is a bug in the server, logged with its traceback.
    """
    if isinstance(error, ResponderError):
        _log.warning("a question failed: %s: %s", type(error).__name__, visible_in_line(str(error)))
    else:
        _log.error("a question failed", exc_info=error)
    return _told(error)[1]


def public_text(text: str) -> str:
    r"""Return a model's text as a page may show it: what would control the page is visible, as `\u202e`. Not escaped for HTML."""
    return visible_on_page(text)


def public_type(error: BaseException) -> str:
    """Return the class that a page may see, such as "RateLimitError"; "Error" for all that concern only the server."""
    return _told(error)[0]


def _told(error: BaseException) -> tuple[str, str]:
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return ("Error" if sentence is UNKNOWN else type(error).__name__), sentence
    return "Error", UNKNOWN
