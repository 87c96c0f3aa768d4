"""What does an error body say, and does an object mean an error at all? Words, code, status and id, wherever they are.

Read leniently: error bodies come as JSON of a dozen shapes, under any content type and any status, inside one another (a gateway
wraps what its upstream said, as an object or as a text of JSON), or as HTML. Which error it becomes is decided in `failures.py`.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from responder.wire import verdicts

_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-groq-id",
    "x-goog-request-id",
    "x-ms-request-id",
    "x-ds-trace-id",  # DeepSeek
    "trace-id",  # MiniMax
    "x-tt-logid",  # Volcengine
    "x-siliconcloud-trace-id",
    "x-oneapi-request-id",
    "x-litellm-call-id",
    "cf-ray",
)
_BODY_IDS = ("request_id", "requestId", "RequestId", "request-id", "trace_id")

# Where HTTP status numbers occur in an error object.
_STATUS_NAMES = (
    "code",
    "status_code",
    "status",
    "statusCode",
    "http_code",
    "http_status",
    "httpStatusCode",
    "http_status_code",
    "raw_status_code",
)
# Names that stand in an answer of any dialect; with one of them filled, `code` and `message` beside it mean nothing.
_ANSWERS = ("choices", "candidates", "content", "delta", "output", "promptFeedback", "usageMetadata", "content_block", "done")
# An object without any of these is not an error; that alone settles nearly every chunk of a stream.
_SIGNS = frozenset(
    {
        "error",
        "base_resp",
        "success",
        "error_code",
        "errorCode",
        "error_msg",
        "code",
        "status",
        "statusCode",
        "status_code",
        "errors",
    }
)
_ERROR_EVENTS = frozenset({"error", "exception", "response.failed", "response.error"})
_FINE = frozenset({"", "0", "200", "null", "none", "false", "ok", "success", "succeeded"})
_FAILED = frozenset({"error", "failure", "failed", "fail"})

# How much of a body is searched: no real error has more objects, and a hostile one costs no more than this.
_MOST_OBJECTS = 200
_FIELD_LINE = re.compile(r"\s*(?:event:\s*error\s*)?(?:data:\s*)?error\s*:\s*(?P<value>\S.*)", re.IGNORECASE | re.DOTALL)
_PAGE = re.compile(r"\s*(?:<!doctype|<html|<head|<body|<\?xml|<h\d|<center|<title)", re.IGNORECASE)


def request_id(headers: Mapping[str, str], body: Any = None) -> str | None:
    """Return the provider's id of a request: from its headers (names in lower case), else from the body; None without one."""
    for name in _REQUEST_IDS:
        if headers.get(name):
            return headers[name]
    if isinstance(body, Mapping):
        for name in _BODY_IDS:
            found = body.get(name)
            if isinstance(found, str) and found:
                return found
    return None


def request_id_of_error(headers: Mapping[str, str], body: Any) -> str | None:
    """Return the id of a request that failed; in a body it may be beside the error, inside it, or in what an upstream said."""
    found = request_id(headers)
    return found or next((inside for layer in layers(body) if (inside := request_id({}, layer)) is not None), None)


def read_error_body(body: bytes) -> Any:
    """Return an error body as parsed JSON, or as text of at most 2,000 characters; a list of one is unwrapped."""
    text = body.decode("utf-8-sig", "replace").strip()
    parsed = _json(text)
    if parsed is None and text != "null":
        return text[:2000]
    return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


def error_status(found: Any, event: str = "") -> int | None:
    """Return the HTTP status that an object of a 200 stands for, when it means an error; None when it means none.

    The one place that decides this, for a whole reply, for an event of a stream, and for a body that is not a stream.

    Args:
        found: Parsed JSON; or a text, for the data of an event that is not JSON and for a body without events.
        event: The event's name, "" without one.

    Returns:
        400 to 599. If nothing says which, 500: a failure worth retrying.
    """
    named = bool(event) and event.lower() in _ERROR_EVENTS
    if not named and type(found) is dict and _SIGNS.isdisjoint(found) and "error" not in (found.get("object"), found.get("type")):
        return None  # nearly every chunk of a stream leaves here
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, str):
        line = _FIELD_LINE.match(found)
        return _status_of(as_error(found)) if named or line is not None else None
    if named:
        return _status_of(found)
    return _status_of(found) if isinstance(found, Mapping) and _means_error(found) else None


def as_error(found: Any) -> Any:
    """Return what an error's text holds: a field line's value, JSON inside a text as JSON, the one item of a list."""
    if not isinstance(found, str):
        return found[0] if isinstance(found, list) and len(found) == 1 else found
    line = _FIELD_LINE.match(found)
    text = line["value"].strip() if line else found.strip()
    parsed = _json(text)
    if isinstance(parsed, str):
        return as_error(parsed) if parsed != text else parsed
    return parsed if isinstance(parsed, (dict, list)) and parsed else text


def is_page(body: Any) -> bool:
    """Return whether a body is a page of HTML or XML, as gateways, firewalls and captive portals send it."""
    return isinstance(body, str) and _PAGE.match(body) is not None


@dataclass(frozen=True)
class Told:
    """What an error body says.

    Attributes:
        message: Its words for a person, the upstream's included; "" for none.
        code: The provider's own word, or number as text; None for none.
        codes: Every code, type, status and reason in it, in one text.
    """

    message: str
    code: str | None
    codes: str

    @property
    def words(self) -> str:
        """Codes and message in one text."""
        return f"{self.codes} {self.message}"


def told(body: Any, headers: Mapping[str, str] | None = None) -> Told:
    """Return what an error body of any shape says, with the class that AWS names in a header."""
    message = _message(body)
    upstream = _upstream(body)
    if upstream and upstream not in message:
        message = f"{message}: {upstream}" if message else upstream
    amazon = ((headers or {}).get("x-amzn-errortype") or "").partition(":")[0].strip()
    codes = [amazon] if amazon else []
    for layer in layers(body):
        for name in ("code", "type", "status", "reason", "error_code", "errorCode", "status_code", "Code", "__type"):
            value = layer.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                codes.append(str(value)[:200])
    code = _code(body) or amazon or None
    if code is None or code.isdecimal():
        # A number says less than the upstream's words.
        inner = next((word for word in map(_code, _upstreams(body)) if word and not word.isdecimal()), None)
        code = inner or code
    return Told(message[:1000], code, " ".join(codes)[:2000])


def layers(body: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object in a body, the outer ones first; JSON inside a text is read as well."""
    todo: deque[Any] = deque([body])
    seen = 0
    while todo and seen < _MOST_OBJECTS:
        found = todo.popleft()
        if isinstance(found, str):
            found = _json(found) if found.lstrip()[:1] in ("{", "[") else None
        if isinstance(found, Mapping):
            seen += 1
            yield found
            todo.extend(value for value in found.values() if isinstance(value, (Mapping, list, str)))
        elif isinstance(found, list):
            todo.extend(value for value in found[:_MOST_OBJECTS] if isinstance(value, (Mapping, list)))


def _means_error(found: Mapping[str, Any]) -> bool:
    error = found.get("error")
    answers = any(found.get(name) for name in _ANSWERS) or isinstance(found.get("message"), Mapping)
    if _says(error) and not (answers and isinstance(error, str) and error.strip().lower() in _FINE):
        return True
    if found.get("object") == "error" or found.get("type") == "error":
        return True
    base = found.get("base_resp")
    if isinstance(base, Mapping) and not _is_fine(base.get("status_code")):
        return True
    if answers:
        return False
    if found.get("success") is False:
        return True
    if any(not _is_fine(found.get(name)) for name in ("error_code", "errorCode", "error_msg")):
        return True
    words = any(isinstance(found.get(name), str) and found[name] for name in ("message", "msg", "Message", "title", "detail"))
    if words and not _is_fine(found.get("code")):
        return True
    numbers = (_http_number(found.get(name)) for name in ("status", "statusCode", "status_code"))
    if words and any(number is not None for number in numbers):
        return True
    status = found.get("status")
    return words and isinstance(status, str) and status.lower() in _FAILED


def _says(error: Any) -> bool:
    """Return whether the value of `error` says anything: an object of empty values beside an answer does not."""
    if isinstance(error, Mapping):
        return any(_says(value) for value in error.values())
    if isinstance(error, str):
        return bool(error.strip())
    return bool(error)


def _is_fine(code: Any) -> bool:
    """Return whether a code says that nothing is wrong: 0, 200, "success", or nothing at all."""
    if code is None or isinstance(code, bool):
        return True
    if isinstance(code, (int, float)):
        return code in (0, 200)
    return isinstance(code, str) and code.strip().lower() in _FINE


def _http_number(code: Any) -> int | None:
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None


def _status_of(found: Any) -> int:
    """Return the HTTP status that an error stands for: its own number, else what its words mean; 500 if they say nothing."""
    base = found.get("base_resp") if isinstance(found, Mapping) else None
    if isinstance(base, Mapping):
        return verdicts.MINIMAX.get(str(base.get("status_code")), 500)
    wrapped = {"error": found}  # a text alone is read like the text of an error
    for layer in layers(wrapped):
        for name in _STATUS_NAMES:
            number = _http_number(layer.get(name))
            if number is not None:
                return number
    said = told(found if isinstance(found, Mapping) else wrapped)
    return verdicts.status_of_words(said.codes, said.message)


def _message(body: Any) -> str:
    """Return the readable message of an error body of any shape."""
    if isinstance(body, str):
        return re.sub(r"(?:<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>|\s)+", " ", body, flags=re.DOTALL).strip()[:500]
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error")
    response = body.get("response")
    base = body.get("base_resp")
    candidates = [
        error.get("message") if isinstance(error, Mapping) else None,
        error,
        response.get("error") if isinstance(response, Mapping) else None,
        body.get("message"),
        body.get("Message"),
        body.get("msg"),
        body.get("detail"),
        error.get("error") if isinstance(error, Mapping) else None,
        body.get("errors"),
        body.get("error_msg"),
        body.get("title"),
        base.get("status_msg") if isinstance(base, Mapping) else None,
    ]
    for candidate in candidates:
        text = _as_text(candidate)
        if text:
            return text[:500]
    try:
        return json.dumps(body, ensure_ascii=False)[:500] if body else ""
    except RecursionError:
        return ""


def _as_text(found: Any, depth: int = 6) -> str:
    if isinstance(found, str):
        inside = _json(found) if depth and found.lstrip()[:1] in ("{", "[") else None
        return (_as_text(inside, depth - 1) if inside else "") or found.strip()
    if isinstance(found, Mapping) and depth:
        return _as_text(found.get("message") or found.get("msg") or found.get("error") or found.get("detail"), depth - 1)
    if isinstance(found, list) and depth:
        return "; ".join(filter(None, (_as_text(item, depth - 1) for item in found)))
    return ""


def _upstreams(body: Any) -> Iterator[Any]:
    """Yield what a gateway says that its upstream said: `metadata.raw` of OpenRouter, an object or a text of JSON or of words."""
    for layer in layers(body):
        metadata = layer.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
        if raw:
            yield as_error(raw)


def _upstream(body: Any) -> str:
    for raw in _upstreams(body):
        text = _message(raw)
        if text:
            return text
    for layer in layers(body):
        metadata = layer.get("metadata")
        reasons = metadata.get("reasons") if isinstance(metadata, Mapping) else None
        if isinstance(reasons, list) and reasons:
            return ", ".join(str(reason) for reason in reasons[:10])[:200]
    return ""


def _code(body: Any) -> str | None:
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    response = body.get("response")
    if not isinstance(error, Mapping) and isinstance(response, Mapping):
        error = response.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    base = body.get("base_resp")
    code = inner.get("code")
    found = [
        code if isinstance(code, str) else None,
        inner.get("status"),
        inner.get("type"),
        body.get("code"),
        code,
        body.get("error_code"),
        body.get("errorCode"),
        base.get("status_code") if isinstance(base, Mapping) else None,
        body.get("type") if body.get("type") != "error" else None,
    ]
    errors = body.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], Mapping):
        found.append(errors[0].get("code"))
    return next(
        (str(word)[:100] for word in found if isinstance(word, (str, int)) and not isinstance(word, bool) and word != ""), None
    )


def _json(text: str) -> Any:
    """Return parsed JSON; None for anything else, and for NaN and infinities."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
