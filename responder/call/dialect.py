"""What does a provider fill in? Its URLs, its headers, its JSON out and in. Pure functions: no request, thread or clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from responder.values.answer import Answer
from responder.values.errors import APIError
from responder.values.messages import Message
from responder.values.options import Options


class ChunkReader(ABC):
    """Reads a provider's chunks, and puts together the reply that the same answer would have been without streaming.

    Attributes:
        complete: True once the answer is known to be whole.
        done: True once the provider has said that nothing more comes.
    """

    complete = False
    done = False

    @abstractmethod
    def read(self, chunk: Mapping[str, Any]) -> str:
        """Take in a chunk and return the text in it, "" where it has none."""

    @abstractmethod
    def reply(self) -> dict[str, Any]:
        """Return the whole reply so far, in the form that the provider's `parse` reads."""


class Dialect(ABC):
    """What one provider's API looks like. A subclass of `Responder` fills it in; the machinery in this folder calls it."""

    provider: ClassVar[str] = ""
    """The provider's name, as in `for_model("provider:model")`."""
    base_url: str = ""
    """Where the API is."""
    base_url_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that hold another base URL."""
    key_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that hold the key; the first that is set wins."""
    key_required: ClassVar[bool] = True
    """False for servers that answer without a key."""
    model: str
    """The model's name, as the provider spells it."""

    @abstractmethod
    def url(self) -> str:
        """Return the URL that answers are asked of."""

    @abstractmethod
    def headers(self, secret: str) -> Mapping[str, str]:
        """Return the headers that carry the secret, and those that the provider wants beside it."""

    @abstractmethod
    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        """Return the provider's JSON for a question.

        Raises:
            ConfigurationError: The provider does not take a part or an option.
        """

    @abstractmethod
    def parse(self, reply: Mapping[str, Any]) -> Answer:
        """Return the answer that the provider's JSON holds; unknown fields and words are no errors.

        Raises:
            InvalidResponseError: It holds none.
        """

    def stream_url(self) -> str:
        """Return the URL that streams are asked of."""
        return self.url()

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the payload of an answer as the payload of a stream."""
        return {**payload, "stream": True}

    @abstractmethod
    def reader(self) -> ChunkReader:
        """Return what reads the chunks of one stream."""

    def explain(self, reply: Mapping[str, Any]) -> str:  # noqa: ARG002 - for those that can say more
        """Return why the provider blocked or emptied an answer, in its own words; "" when it does not say."""
        return ""

    def repaired(self, payload: Mapping[str, Any], error: APIError) -> dict[str, Any] | None:  # noqa: ARG002
        """Return what to send instead of a payload that was refused with this error; None where nothing helps.

        The provider may remember it, and build its payloads so from then on.
        """
        return None

    def advice(self, error: APIError) -> str:  # noqa: ARG002 - for those that can say more
        """Return what the user can do about a refusal, "" where the provider's own words are enough."""
        return ""
