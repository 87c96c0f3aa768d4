"""How does a file get to a provider, to be used by its id? In the requests that its dialect asks for, one after another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from responder.call import replies
from responder.call.attempts import SINGLE, Call
from responder.call.question import Question
from responder.call.upload_steps import Received, Sending, Upload
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

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint

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
        raise ConfigurationError(f"{path} cannot be uploaded: {error}") from None
    if not size or os.path.isdir(path):  # noqa: PTH112 - pathlib takes a twentieth of our import time
        raise ConfigurationError(f"{path} cannot be uploaded: it is {'empty' if not size else 'a folder'}")
    call = Call(endpoint, Question(endpoint.dialect.url(), b"", 1), bounds, SINGLE, Trace())
    # What was refused half-way cannot go on there: a repeat begins with the first request.
    return call.repeat(lambda: _through(call, endpoint.dialect.uploading(file, size), path))


def _through(call: Call, steps: Upload, path: str) -> Media:
    wait = _FIRST_LOOK
    try:
        sending = next(steps)
        while True:
            if sending.is_look:
                _rest(wait, call.bounds)
                wait = min(wait * 1.5, _LONGEST_LOOK)
            sending = steps.send(_exchange(call, sending, path))
    except StopIteration as end:
        made: Media = end.value
        return made


def _rest(seconds: float, bounds: Bounds) -> None:
    if seconds >= bounds.deadline.remaining():
        raise DeadlineExceededError("the deadline passes while the provider still works on the uploaded file")
    if (bounds.cancel or CancelToken()).wait(seconds):
        raise CancelledError(f"the upload was stopped: {bounds.cancel.reason if bounds.cancel is not None else ''}")


def _exchange(call: Call, sending: Sending, path: str) -> Received:
    endpoint, dialect = call.endpoint, call.endpoint.dialect
    attempt = call.begin()
    attempt.start()
    secret = ""
    try:
        if sending.is_look:
            reply, secret = endpoint.get(sending.url, call.bounds)
        else:
            body: Any = FileBody(path, sending.before, sending.after) if sending.has_file else sending.before
            reply, secret = endpoint.post(Question(sending.url, body, 1, headers=sending.headers), call.bounds)
        attempt.observe(reply.headers)
        parsed = read_error_body(reply.body)
        if not 200 <= reply.status < 300:
            raise replies.refused(dialect, reply.status, reply.headers, parsed, reply.reason, secret)
        if not isinstance(parsed, dict):
            if reply.body.strip():
                raise InvalidResponseError(
                    "the answer to the upload is not JSON", status=reply.status, body=parsed, retryable=True
                )
            parsed = {}
    except OSError as error:
        attempt.end(error)
        raise ConfigurationError(f"{path} cannot be uploaded: {error}") from None
    except BaseException as error:
        attempt.end(error)
        if isinstance(error, APIError):
            hide(error, secret)
        raise
    attempt.end(None, NO_USAGE)
    return Received(reply.headers, parsed)
