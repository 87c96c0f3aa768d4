"""What does a provider fill in? Its URLs, its headers, its JSON out and in. Pure functions: no request, thread or clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from responder.call.batch_form import BatchForm
from responder.call.upload_steps import Upload
from responder.values.answer import Answer
from responder.values.errors import APIError, ConfigurationError
from responder.values.media import Media
from responder.values.messages import Message
from responder.values.options import Options
from responder.values.vectors import Vectors

Purpose: TypeAlias = Literal["query", "document"]
"""What a text is embedded for: to search with, or to be found."""


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """How many texts fit into one request for embeddings.

    Attributes:
        texts: How many at most.
        tokens: Tokens of all of them together; None: no bound is known.
        tokens_a_text: Tokens of one text; None: no bound is known. Longer ones are sent, too: alone.
    """

    texts: int
    tokens: int | None = None
    tokens_a_text: int | None = None


class ChunkReader(ABC):
    """Reads a provider's chunks, and puts together the reply that the same answer would have been without streaming.

    Attributes:
        complete: True once the answer is known to be whole.
        done: True once the provider has said that nothing more comes.
        failed: The provider's error object, once a chunk has said that the answer failed; None otherwise.
    """

    complete = False
    done = False
    failed: Mapping[str, Any] | None = None

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
    family: ClassVar[str] = ""
    """Whose opaque parts of a conversation it takes back; "": its own alone."""
    takes_uploads: ClassVar[bool] = False
    """True where `upload` sends a file to the provider, to be used by its id."""
    batches: ClassVar[type[BatchForm] | None] = None
    """What its batch API looks like; None where it has none."""
    instead_of_uploads: ClassVar[str] = "put the bytes or a URL into the message"
    """What to do where it does not."""
    largest_request: ClassVar[int | None] = None
    """Bytes that the provider takes in one request, pictures and files included; None where that is not documented."""
    tier_header: ClassVar[str] = ""
    """The header of a reply that names the tier that served, in lower case; "" where none does."""
    model: str
    """The model's name, as the provider spells it."""

    @abstractmethod
    def url(self) -> str:
        """Return the URL that answers are asked of."""

    @abstractmethod
    def headers(self, secret: str) -> Mapping[str, str]:
        """Return the headers that carry the secret, and any others the provider needs."""

    def signed(self, url: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002 - for those that sign
        """Return the headers of one attempt, for providers that want them signed together with the rest of the request."""
        return headers

    @abstractmethod
    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        """Return the provider's JSON for a question.

        Raises:
            ConfigurationError: The provider does not accept a part or an option.
        """

    def media_headers(self, payload: Mapping[str, Any]) -> Mapping[str, str]:  # noqa: ARG002 - for those that need some
        """Return the headers that a question with pictures or files needs beside the others."""
        return {}

    @abstractmethod
    def parse(self, reply: Mapping[str, Any]) -> Answer:
        """Return the answer in the provider's JSON; unknown fields and words are not errors.

        Raises:
            InvalidResponseError: There is none.
        """

    def uploading(self, file: Media, size: int) -> Upload:  # noqa: ARG002 - for those that take files
        """Return the requests that upload a file of so many bytes, one after another.

        Raises:
            ConfigurationError: The provider takes none.
        """
        raise ConfigurationError(f"{self.provider} takes no uploads: {self.instead_of_uploads}")

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

    is_repaired: bool = False
    """True once `repaired` has changed what whole answers are asked with, and perhaps where."""

    def repaired(self, payload: Mapping[str, Any], error: APIError) -> bool:  # noqa: ARG002 - for those that can do better
        """Return whether the question whose payload was refused with this error is to be asked again, in other words.

        The provider remembers it, and builds its payloads so from then on.
        """
        return False

    def first_form(self, messages: tuple[Message, ...], options: Options) -> tuple[str, dict[str, Any]]:
        """Return the URL and the payload that a whole answer would be asked with, had nothing been repaired.

        Files keep answers under these, so that another run finds them whatever it has repaired by then.
        """
        return self.url(), self.payload(messages, options)

    def url_of(self, payload: Mapping[str, Any], is_streamed: bool) -> str:  # noqa: ARG002 - for those with several URLs
        """Return the URL that a payload is sent to."""
        return self.stream_url() if is_streamed else self.url()

    def pending_url(self, reply: Mapping[str, Any]) -> str:  # noqa: ARG002 - for those that answer later
        """Return where the answer will be, for a reply that only says that it is being made; "" for any other reply."""
        return ""

    def cancelling_url(self, reply: Mapping[str, Any]) -> str:  # noqa: ARG002 - for those that answer later
        """Return where an answer that is being made is given up, "" where it cannot be."""
        return ""

    def advice(self, error: APIError) -> str:  # noqa: ARG002 - for those that can say more
        """Return what the user can do about a refusal, "" where the provider's own words are enough."""
        return ""

    # Embeddings, for those that have them

    def embedding_limits(self) -> EmbeddingLimits:
        """Return how much one request for embeddings may hold."""
        return EmbeddingLimits(1)

    def embed_url(self) -> str:
        """Return the URL that embeddings are asked of.

        Raises:
            ConfigurationError: The provider has no embeddings.
        """
        raise ConfigurationError(
            f"{self.provider} has no embeddings: ask a provider that has, such as OpenAIResponder('text-embedding-3-small')",
            fatal=True,
        )

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:  # noqa: ARG002 - for others
        """Return the provider's JSON for the vectors of some texts.

        Args:
            texts: As many as `embedding_limits` allows.
            dimensions: The length of the vectors; None: the model's own.
            purpose: What they are for; left out where the provider makes no difference.

        Raises:
            ConfigurationError: The provider does not take one of them.
        """
        self.embed_url()  # says that there are none
        raise NotImplementedError(f"{type(self).__name__} has an embed_url() and no embed_payload()")

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:  # noqa: ARG002 - for others
        """Return the vectors that the provider's JSON holds, in the order of the texts.

        Args:
            reply: The JSON.
            headers: The reply's, names in lower case: some providers count tokens there.

        Raises:
            InvalidResponseError: There is none.
        """
        self.embed_url()
        raise NotImplementedError(f"{type(self).__name__} has an embed_url() and no parse_embeddings()")
