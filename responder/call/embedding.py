"""One request for the vectors of several texts: what is sent, what comes back, and which refusals are about the texts."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from responder.call import replies
from responder.call.attempts import Call, Terms
from responder.call.dialect import Dialect, Purpose
from responder.call.question import Question, json_bytes
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout
from responder.values.errors import APIError, BadRequestError, BlockedError, ConfigurationError, InvalidResponseError
from responder.values.options import overlaid
from responder.values.trace import Trace
from responder.values.vectors import EmbeddingsReader, Vectors
from responder.wire.error_bodies import as_error, error_status, read_error_body
from responder.wire.masking import hide
from responder.wire.signals import is_from_a_signal
from responder.wire.transport import Reply

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint
    from responder.wire.transport import Incoming


@dataclass(frozen=True, slots=True)
class Embedder:
    """Asks one model for vectors. Safe for threads.

    Attributes:
        endpoint: Where the requests go.
        timeout: For one attempt.
        terms: What the run allows.
        cancel: Ends the requests.
        dimensions: The length of the vectors; None: the model's own.
        purpose: What they are for.
        extra: Merged into the payload.
    """

    endpoint: Endpoint
    timeout: Timeout
    terms: Terms
    cancel: CancelToken | None = None
    dimensions: int | None = None
    purpose: Purpose | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Provider and model, as `for_model` takes them."""
        return f"{self.endpoint.dialect.provider}:{self.endpoint.dialect.model}"

    def question(self, texts: Sequence[str]) -> Question:
        """Return what is sent for some texts.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        dialect = self.endpoint.dialect
        try:
            payload = dialect.embed_payload(texts, self.dimensions, self.purpose)
            body = json_bytes(overlaid(payload, self.extra) if self.extra else payload)
        except (ValueError, TypeError) as error:
            if is_from_a_signal(error):
                raise
            raise ConfigurationError(f"these texts cannot be sent: {error}", fatal=True) from error
        return Question(dialect.embed_url(), body, max_tokens=0)

    def key(self) -> bytes:
        """Return what the names under which a file keeps the vectors of single texts begin with."""
        return self.question(("",)).key(self.endpoint.dialect.provider)

    def embed(self, texts: Sequence[str], deadline: Deadline, trace: Trace) -> Vectors:
        """Return the vectors of some texts, in their order.

        Args:
            texts: As many as fit into a request.
            deadline: When it must be over.
            trace: Gets what the request did.

        Raises:
            ResponderError: There are none; `is_about_texts` says whether fewer texts may succeed.
        """
        question = self.question(texts)
        timeout = replace(self.timeout, first=math.inf, gap=math.inf)  # those are of streams, and this reply is none
        call = Call(self.endpoint, question, Bounds(timeout, deadline, self.cancel), self.terms, trace)

        def read(dialect: Dialect, incoming: Incoming, secret: str) -> Vectors:
            try:
                return _read(dialect, incoming, secret, question.url, len(texts))
            except APIError as error:
                hide(error, secret)
                raise

        return call.repeat(lambda: call.receive(call.begin(), read), "embeddings")


def text_key(prefix: bytes, text: str) -> bytes:
    """Return the name under which a file keeps the vector of a text."""
    return hashlib.sha256(prefix + text.encode("utf-8", "surrogatepass")).digest()


def _read(dialect: Dialect, incoming: Incoming, secret: str, url: str, count: int) -> Vectors:
    """Return the vectors that a reply holds, one for each text; they are decoded as they arrive.

    Raises:
        APIError: The error that it means, or that it does not hold them.
    """
    if not 200 <= incoming.status < 300:
        reply = incoming.read()
        raise replies.refused(dialect, reply.status, reply.headers, read_error_body(reply.body), reply.reason, secret, url)
    reader = EmbeddingsReader(count)
    while piece := incoming.read1():
        reader.feed(piece)
    reply = Reply(incoming.status, incoming.headers, b"", incoming.reason)
    try:
        parsed = reader.whole()
    except (ValueError, RecursionError):
        raise replies.invalid(dialect, reply, "not JSON, or cut off", read_error_body(reader.text()), url=url) from None
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]  # Google wraps errors so
    status = error_status(parsed)
    if status is not None:
        raise replies.refused(dialect, status, reply.headers, as_error(parsed), secret=secret, url=url)
    if not isinstance(parsed, dict):
        raise replies.invalid(dialect, reply, "not a JSON object", None, url=url)
    try:
        vectors = dialect.parse_embeddings(parsed, reply.headers)
        if len(vectors) != count:
            raise InvalidResponseError(f"there are {len(vectors)} vectors for {count} texts", usage=vectors.usage)
    except InvalidResponseError as error:
        raise replies.invalid(dialect, reply, str(error), None, error.usage, url) from None
    return vectors


def is_about_texts(error: BaseException) -> bool:
    """Return whether a refusal may be due to one of the texts, or to their number: fewer of them may succeed."""
    if not isinstance(error, APIError) or error.retryable or error.fatal:
        return False
    if isinstance(error, BadRequestError):
        return not _about_the_request(error)
    return isinstance(error, BlockedError) or error.status in (403, 404)  # not fatal: it is one prompt's problem


# The field that OpenAI's dialect blames, and the words of others: no text is at fault for these.
_OTHER_FIELDS = frozenset({"dimensions", "model", "encoding_format", "output_dimension", "output_dtype", "input_type", "user"})


def _about_the_request(error: BadRequestError) -> bool:
    body = error.body
    inner = body.get("error") if isinstance(body, Mapping) else None
    return isinstance(inner, Mapping) and inner.get("param") in _OTHER_FIELDS


# OpenAI: "Requested 416735 tokens, max 300000 tokens per request", code max_tokens_per_request. Mistral: "Too many tokens in
# batch". Others: "maximum request size".
_TOO_MANY_TOKENS = re.compile(r"tokens?[ _]per[ _]request|too many tokens|maximum request size|request too large", re.IGNORECASE)
# OpenAI: array_above_max_length. text-embeddings-inference: "batch size 64 > maximum allowed batch size 32". Gemini: "at most 100
# requests can be in one batch". Cohere: "too many texts", "total number of texts must be at most 96".
_TOO_MANY_TEXTS = re.compile(
    r"array_above_max_length|batch size|too many (?:texts|inputs)|(?:number of|many) (?:texts|inputs|requests)|in one batch",
    re.IGNORECASE,
)


def is_too_large(error: APIError) -> str:
    """Return of what a refused request held too many: "tokens" or "texts"; "" where it was refused for another reason."""
    words = f"{error.code or ''} {error}"
    if _TOO_MANY_TOKENS.search(words):
        return "tokens"
    return "texts" if _TOO_MANY_TEXTS.search(words) else "tokens" if error.status == 413 else ""
