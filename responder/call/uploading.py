"""How does a file get to a provider, to be used by its id? In the requests that its dialect asks for, one after another."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from responder.call import replies
from responder.call.attempts import SINGLE, Call
from responder.call.question import Question
from responder.call.upload_steps import Received, Sending
from responder.values.answer import NO_USAGE
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.errors import (
    APIError,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
    InvalidResponseError,
)
from responder.values.media import Media
from responder.values.trace import Trace
from responder.wire.error_bodies import read_error_body
from responder.wire.file_body import FileBody
from responder.wire.masking import hide
from responder.wire.signals import is_from_a_signal

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint

T = TypeVar("T")

# Seconds between two looks at a file that the provider still works on.
_FIRST_LOOK, _LONGEST_LOOK = 0.5, 10.0


def upload(endpoint: Endpoint, file: Media, bounds: Bounds) -> Media:
    """Send a file and return the part that stands for it.

    Args:
        endpoint: Where to.
        file: A part with a path.
        bounds: What may end it.

    Raises:
        ConfigurationError: The file cannot be read, or the provider takes none.
        APIError: It was refused, or not taken in time.
    """
    path = file.path or ""
    try:
        size = FileBody(path).size
    except OSError as error:
        if is_from_a_signal(error):
            raise
        raise ConfigurationError(f"{path} cannot be uploaded: {error}") from None
    if not size or os.path.isdir(path):  # noqa: PTH112 - pathlib takes a twentieth of our import time
        raise ConfigurationError(f"{path} cannot be uploaded: it is {'empty' if not size else 'a folder'}")
    call = Call(endpoint, Question(endpoint.dialect.url(), b"", 1), bounds, SINGLE, Trace())
    # What was refused half-way cannot go on there: a repeat begins with the first request.
    return call.repeat(lambda: through(call, endpoint.dialect.uploading(file, size), path))


def through(call: Call, steps: Generator[Sending, Received, T], path: str) -> T:
    """Make the requests that a dialect asks for, one after another, and return what it makes of the answers.

    Args:
        call: Which they are attempts of.
        steps: Yields the requests.
        path: The file that goes with them.

    Raises:
        APIError: One was refused.
    """
    wait = _FIRST_LOOK
    try:
        sending = next(steps)
        while True:
            if sending.is_look:
                _rest(wait, call.bounds)
                wait = min(wait * 1.5, _LONGEST_LOOK)
            received = exchange(call, sending, path)
            if not isinstance(received.body, dict):
                raise _not_an_object(received.body)
            sending = steps.send(received)
    except StopIteration as end:
        made: T = end.value
        return made


def _rest(seconds: float, bounds: Bounds) -> None:
    if seconds >= bounds.deadline.remaining():
        raise DeadlineExceededError("the deadline passes while the provider still works on the uploaded file")
    if (bounds.cancel or CancelToken()).wait(seconds):
        raise CancelledError(f"the upload was stopped: {bounds.cancel.reason if bounds.cancel is not None else ''}")


def exchange(call: Call, sending: Sending, path: str = "", *, once: bool = False) -> Received:
    """Make one request of several, and return what was answered.

    Args:
        call: Which it is an attempt of.
        sending: The request.
        path: The file that goes with it, where one does.
        once: It must not arrive twice.

    Raises:
        APIError: It was refused, or is not answered with JSON.
        ConfigurationError: The file cannot be read.
    """
    endpoint, dialect = call.endpoint, call.endpoint.dialect
    attempt = call.begin()
    attempt.start()
    secret = ""
    try:
        if sending.is_look:
            reply, secret = endpoint.get(sending.url, call.bounds)
        else:
            body: Any = FileBody(path, sending.before, sending.after) if sending.has_file else sending.before
            question = Question(sending.url, body, 1, headers=sending.headers)
            reply, secret = (endpoint.post_once if once else endpoint.post)(question, call.bounds)
        attempt.observe(reply.headers)
        parsed = read_error_body(reply.body)
        if not 200 <= reply.status < 300:
            raise replies.refused(dialect, reply.status, reply.headers, parsed, reply.reason, secret, sending.url)
        if not isinstance(parsed, (dict, list)):
            if reply.body.strip():
                raise _not_an_object(parsed, reply.status)
            parsed = {}
    except OSError as error:
        attempt.end(error)
        if is_from_a_signal(error):
            raise
        raise ConfigurationError(f"{path} cannot be uploaded: {error}") from None
    except BaseException as error:
        attempt.end(error)
        if isinstance(error, APIError):
            hide(error, secret)
        raise
    attempt.end(None, NO_USAGE)
    return Received(reply.headers, parsed)


def _not_an_object(parsed: Any, status: int = 200) -> InvalidResponseError:
    return InvalidResponseError("the answer is not a JSON object", status=status, body=parsed, retryable=True)
