"""What does a reply mean? From a provider's bytes to an Answer, or to the error they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from responder.call.dialect import Dialect
from responder.values.answer import NO_USAGE, Answer, Usage
from responder.values.errors import APIError, BlockedError, EmptyAnswerError, InvalidAnswerError, InvalidResponseError
from responder.values.schema import Schema, UnfitError
from responder.wire.error_bodies import as_error, error_status, read_error_body, request_id
from responder.wire.events import BodyDecoder
from responder.wire.failures import error_from_reply
from responder.wire.masking import hide

if TYPE_CHECKING:
    from responder.wire.transport import Reply


def read(dialect: Dialect, reply: Reply, secret: str = "") -> Answer:
    """Return the answer that a reply holds.

    Args:
        dialect: How to read it.
        reply: The whole reply.
        secret: The key that was sent, which no error may show.

    Raises:
        APIError: The error it means, or that it has no answer.
    """
    try:
        return _read(dialect, reply, secret)
    except APIError as error:
        hide(error, secret)
        raise


def _read(dialect: Dialect, reply: Reply, secret: str) -> Answer:
    if not 200 <= reply.status < 300:
        raise refused(dialect, reply.status, reply.headers, read_error_body(reply.body), reply.reason, secret)
    parsed: Any
    try:
        parsed = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        parsed = _of_events(dialect, reply, secret) if _may_be_events(reply.body, error) else None
        if parsed is None:
            raise invalid(dialect, reply, "not JSON, or cut off", read_error_body(reply.body)) from None
    if isinstance(parsed, list):
        if len(parsed) == 1:
            parsed = parsed[0]  # Google wraps errors like this
        elif len(reply.body) <= _LONGEST_LINES:
            parsed = _of_events(dialect, reply, secret) or parsed  # Google's stream without `alt=sse`
    status = error_status(parsed)
    if status is not None:
        refusal = refused(dialect, status, reply.headers, as_error(parsed), secret=secret)
        refusal.usage = usage_beside(dialect, parsed)
        raise refusal
    if not isinstance(parsed, dict):
        raise invalid(dialect, reply, "not a JSON object", parsed)
    try:
        answer = dialect.parse(parsed)
    except InvalidResponseError as error:
        raise invalid(dialect, reply, str(error), parsed, error.usage) from None
    return checked(dialect, answer, reply.headers)


def read_parsed(dialect: Dialect, status: int, body: Any, request_id: str | None = None) -> Answer:
    """Return the answer in JSON that is parsed already, such as that of a line of a batch.

    Args:
        dialect: How to read it.
        status: HTTP status, or what stands for it.
        body: The provider's JSON.
        request_id: The provider's id of the request; None: what the JSON says.

    Raises:
        APIError: The error it means, or that it has no answer.
    """
    found = status if not 200 <= status < 300 else error_status(body)
    if found is not None:
        raise refused(dialect, found, {}, as_error(body))
    try:
        if not isinstance(body, dict):
            raise InvalidResponseError("not a JSON object")
        answer = dialect.parse(body)
    except InvalidResponseError as error:
        raise InvalidResponseError(
            f"{dialect.provider} gave a reply without an answer: {error}",
            status=status,
            request_id=request_id,
            retryable=True,
            body=body,
            usage=error.usage,
        ) from None
    answer = checked(dialect, answer, {})
    if request_id is not None:
        object.__setattr__(answer, "request_id", request_id)
    return answer


# Bytes. Finding where each object of a body ends takes a microsecond a brace, so it is not tried for a body of any size.
_LONGEST_LINES = 4_000_000


def usage_beside(dialect: Dialect, found: Any) -> Usage:
    """Return the tokens that a failure inside a 200 was billed for; unknown where it does not say."""
    if not isinstance(found, dict) or not isinstance(found.get("usage"), dict):
        return NO_USAGE
    try:
        return dialect.parse(found).usage
    except InvalidResponseError as error:
        return error.usage


def _may_be_events(body: bytes, error: Exception) -> bool:
    """Return whether a body that is not JSON may be a stream: lines of events, or one JSON object after another."""
    if body.lstrip()[:1] not in (b"{", b"["):
        return True
    return len(body) <= _LONGEST_LINES and isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"


def _of_events(dialect: Dialect, reply: Reply, secret: str) -> dict[str, Any] | None:
    """Return the reply from an event stream we did not ask for; None if the body is not a stream, or is incomplete.

    Some gateways always stream, and such an answer is paid for.

    Raises:
        APIError: The error that one of its events means.
    """
    decoder, reader = BodyDecoder(), dialect.reader()
    for name, data in (*decoder.feed(reply.body), *decoder.close()):
        if data[:6] == b"[DONE]":
            reader.complete = True
            break
        chunk: Any
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            chunk = str(data, "utf-8", "replace")
        status = error_status(chunk, name)
        if status is not None:
            raise refused(dialect, status, reply.headers, as_error(chunk), secret=secret)
        if not isinstance(chunk, dict):
            continue
        reader.read(chunk)
        if reader.failed is not None:
            failed = {"error": reader.failed}
            raise refused(dialect, error_status(failed) or 500, reply.headers, failed, secret=secret)
        if reader.done:
            break
    return reader.reply() if reader.complete else None


def checked(dialect: Dialect, answer: Answer, headers: Mapping[str, str]) -> Answer:
    """Return an answer with the request's id from the headers, unless it was blocked or has nothing in it.

    Raises:
        BlockedError, EmptyAnswerError: It was, or it has.
    """
    # Nothing else holds the parsed answer yet: filling in what only this call knows saves a copy.
    object.__setattr__(answer, "request_id", request_id(headers, answer.raw))
    if dialect.tier_header and not answer.service_tier:
        object.__setattr__(answer, "service_tier", headers.get(dialect.tier_header, ""))
    if answer.finish_reason == "content_filter":
        why = dialect.explain(answer.raw)
        raise BlockedError(
            f"{dialect.provider} blocked the {'answer' if answer.text else 'prompt or the answer'} of {answer.model}"
            f"{': ' + why if why else ''}. Change the prompt, or the filter's settings",
            **_partial(answer),
        )
    if not answer.text and not answer.tool_calls and not answer.media:
        why = dialect.explain(answer.raw)
        if answer.truncated:
            advice = "max_tokens was used up before any text came (reasoning counts): raise max_tokens"
        else:
            advice = "there is neither text nor a tool call in it"
        raise EmptyAnswerError(
            f"{dialect.provider} gave an empty answer from {answer.model}: {advice}{' (' + why + ')' if why else ''}",
            **_partial(answer),
        )
    return answer


def refused(
    dialect: Dialect,
    status: int,
    headers: Mapping[str, str],
    body: Any,
    reason: str = "",
    secret: str = "",
    url: str | None = None,
) -> APIError:
    """Return the error that a refusal means: an error status, or what `error_status` found inside a success.

    Args:
        dialect: Who refused.
        status: HTTP status, or what stands for it in the error object.
        headers: Names in lower case.
        body: As `read_error_body` gives it.
        reason: The status in words.
        secret: The key that was sent, which no error may show.
        url: What was asked; None: the dialect's URL for answers.
    """
    error = error_from_reply(
        status,
        headers,
        body,
        provider=dialect.provider,
        model=dialect.model,
        where=shown_url(dialect.url() if url is None else url),
        reason=reason,
        secret=secret,
    )
    if advice := dialect.advice(error):
        error.args = (f"{error}. {advice}",)
    return error


def _partial(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,
        "body": answer.raw,
        "status": 200,
        "request_id": answer.request_id,
        "model": answer.model,
    }


def invalid(
    dialect: Dialect, reply: Reply, why: str, body: Any, usage: Usage = NO_USAGE, url: str | None = None
) -> InvalidResponseError:
    """Return the error that a success is which holds no answer; `url` as `refused` takes it."""
    return InvalidResponseError(
        f"{dialect.provider} answered {reply.status} at {shown_url(dialect.url() if url is None else url)}, but {why}. "
        "Does base_url point to the API, not to a web page?",
        status=reply.status,
        request_id=request_id(reply.headers, body),
        retryable=True,
        body=body,
        usage=usage,
    )


def shown_url(url: str) -> str:
    """Return a URL without user, password and the values of its query, for people to read."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets without an IPv6 address in them
        return url.partition("?")[0].rpartition("@")[2]
    query = "&".join(
        pair if pair.startswith("api-version=") else pair.partition("=")[0] + "=***" for pair in parts.query.split("&") if pair
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def fit(answer: Answer, schema: Schema | None) -> None:
    """Fill in what an answer's text becomes under a schema. An answer of tool calls has nothing that could fit.

    Raises:
        UnfitError: The text does not fit.
    """
    if schema is not None and not answer.tool_calls and answer.finish_reason != "refusal":
        object.__setattr__(answer, "parsed", schema.parse(answer.text))


def invalid_answer(answer: Answer, unfit: UnfitError, reasks: int) -> InvalidAnswerError:
    """Return the error that an answer is which does not fit its schema.

    Args:
        answer: The last one.
        unfit: What does not fit.
        reasks: How often it was asked for again.
    """
    if answer.truncated:
        advice = "it was cut at max_tokens: raise it"
    else:
        advice = f"asked {reasks + 1} times" if reasks else "asked once; reasks=1 would ask again"
    return InvalidAnswerError(
        f"the answer of {answer.model} does not fit the schema ({advice}): {unfit}",
        problems=unfit.problems,
        **_partial(answer),
    )
