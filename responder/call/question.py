"""What is sent for a prompt, and under which key is its answer stored?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from responder.call.dialect import Dialect
from responder.values.errors import APIError, BadRequestError, ConfigurationError, NotFoundError
from responder.values.media import Inlined
from responder.values.messages import Message, Prompt, as_messages, has_media
from responder.values.options import Options, overlaid
from responder.values.schema import Schema
from responder.wire.signals import is_from_a_signal

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt in the provider's words.

    Attributes:
        url: Where it is sent.
        body: The provider's JSON, as UTF-8.
        max_tokens: The longest answer, in tokens; None if not limited.
        is_streamed: True when the answer is to come piece by piece.
        is_polled: True when the provider makes the answer in the background, and is asked for it until it is there.
        first_form: URL and body under which files keep the answer, where it is asked in other words by now; None: in these.
        made_of: System text, prompt and options, to put the question in other words.
        schema: What the answer must fit; None: nothing.
        size: Bytes that stand for it in estimates of tokens and money: pictures and other media count little of theirs.
        headers: What this question needs beside the provider's headers.
    """

    url: str
    body: bytes
    max_tokens: int | None
    is_streamed: bool = False
    is_polled: bool = False
    first_form: tuple[str, bytes] | None = None
    made_of: tuple[str | None, Prompt, Options] | None = None
    schema: Schema | None = None
    size: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.size:
            object.__setattr__(self, "size", len(self.body))

    @classmethod
    def of(cls, dialect: Dialect, system: str | None, prompt: Prompt, options: Options, is_streamed: bool = False) -> Question:
        """Write a prompt in a provider's words.

        Args:
            dialect: The provider's.
            system: How the model should behave; goes before the prompt. None: nothing does.
            prompt: As `Responder.answer` takes it.
            options: Everything about the answer except the prompt.
            is_streamed: Ask for a stream.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        try:
            messages = as_messages(prompt)
            if system is not None:
                messages = (Message("system", system), *messages)
            if any(message.role == "assistant" for message in messages):
                family = dialect.family or dialect.provider
                messages = tuple(message.for_family(family) for message in messages)
            headers: Mapping[str, str] = _NOTHING
            if isinstance(prompt, str) or not has_media(messages):
                body, payload, first_form = _bodies(dialect, messages, options, is_streamed)
                size = len(body)
            else:
                with Inlined(dialect.largest_request, dialect.provider) as inlined:
                    body, payload, first_form = _bodies(dialect, messages, options, is_streamed)
                body, size = inlined.whole(body)
                if first_form is not None:
                    first_form = first_form[0], inlined.whole(first_form[1])[0]
                headers = dialect.media_headers(payload)
        except (ValueError, TypeError, OSError) as error:
            if is_from_a_signal(error):
                raise
            raise ConfigurationError(f"this prompt cannot be sent: {error}") from error
        return cls(
            dialect.url_of(payload, is_streamed),
            body,
            options.max_tokens,
            is_streamed,
            payload.get("background") is True and not is_streamed,
            first_form,
            (system, prompt, options),
            options.schema,
            size,
            headers,
        )

    def repaired(self, dialect: Dialect, error: APIError) -> Question | None:
        """Return what to send instead, after this error; None if the dialect has nothing better."""
        if self.made_of is None or not isinstance(error, (BadRequestError, NotFoundError)):
            return None
        if not dialect.repaired(json.loads(self.body), error):
            return None
        system, prompt, options = self.made_of
        again = Question.of(dialect, system, prompt, options, self.is_streamed)
        return None if (again.url, again.body) == (self.url, self.body) else again

    def key(self, provider: str) -> bytes:
        """Return the key under which a checkpoint or cache stores the answer."""
        url, body = self.first_form or (self.url, self.body)
        return hashlib.sha256(b"\0".join((provider.encode(), url.encode(), body))).digest()


def _bodies(
    dialect: Dialect, messages: tuple[Message, ...], options: Options, is_streamed: bool
) -> tuple[bytes, Mapping[str, Any], tuple[str, bytes] | None]:
    """Return the body, what it was made of, and the form under which files keep the answer where that is another one."""
    payload = dialect.payload(messages, options)
    if is_streamed:
        payload = dialect.stream_payload(payload)
    if options.extra:
        _refuse_own(options.extra)
        payload = overlaid(payload, options.extra)
    first_form = None
    if dialect.is_repaired:
        url, named = dialect.first_form(messages, options)
        first_form = url, json_bytes(overlaid(named, options.extra))
    return json_bytes(payload), payload, first_form


# What to use instead of `extra`.
_OWN: Mapping[str, str] = {
    "model": "a responder asks one model; make another one for another model, such as OpenAIResponder('gpt-4o')",
    "messages": "the messages are the prompt, as in answer([...])",
    "input": "the input is the prompt, as in answer([...])",
    "contents": "the contents are the prompt, as in answer([...])",
    "stream": "call answer() for a whole answer and stream() for a stream",
}


def _refuse_own(extra: Mapping[str, Any]) -> None:
    """Refuse what the responder sets itself: the request would differ from what is read, priced and limited."""
    for name, instead in _OWN.items():
        if name in extra and extra[name] != []:  # an empty list is not set by us: the provider refuses it
            raise ConfigurationError(f"extra cannot hold {name!r}: {instead}", fatal=True)


def json_bytes(payload: Mapping[str, Any]) -> bytes:
    """Return a payload as it goes out.

    Raises:
        ValueError, TypeError: JSON cannot say it.
    """
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot encode but JSON can
        return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
