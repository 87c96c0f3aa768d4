"""What comes back: an Answer with its Usage, the same for every provider. Knows nothing of how it was fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from responder.values import notebook
from responder.values.finish import FinishReason as FinishReason
from responder.values.messages import Audio, Image, Message, Part, Text, ToolCall

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")  # what the text becomes under a schema; only type checkers need the default


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call, counted the same way for every provider.

    Attributes:
        input_tokens: All tokens that went in, cached ones included.
        output_tokens: All tokens that are billed as output, reasoning included.
        cached_input_tokens: How many of the input tokens were read from the provider's cache.
        reasoning_tokens: How many of the output tokens were reasoning that is not part of the text.
        known: False when the provider did not report usage; the counts are 0 then.
        cache_write_tokens: How many of the input tokens were written to the provider's cache, which some bill higher.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    known: bool = False
    cache_write_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.known or other.known,
            self.cache_write_tokens + other.cache_write_tokens,
        )


NO_USAGE = Usage()
"""Nothing was asked, or nothing was told."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that an answer cites.

    Attributes:
        url: Where it is; "" for a document that was sent along.
        title: What it is called.
        text: What is cited, or what the source supports, where the provider repeats it.
        start: Where in the answer's text what it supports begins; None where the provider does not say.
        end: Where that ends.
    """

    url: str = ""
    title: str = ""
    text: str = ""
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was.

    Attributes:
        token: The token's text.
        logprob: The natural logarithm of its probability.
        top: The likeliest tokens at this place with their logarithms, the likeliest first, where they were asked for.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """One answer of a model.

    Attributes:
        text: What the model says to the user; empty only when it called tools, or made pictures or sound instead.
        finish_reason: Why it stopped, in our words; "length" means that it was cut at `max_tokens`.
        usage: Tokens, the same for every provider.
        model: The model that answered, as the provider names it (often a dated snapshot of the one that was asked).
        provider: The provider's name, as in `for_model`.
        request_id: The provider's id of the request, or None.
        reasoning: The model's thoughts, where the provider shows them; "" otherwise.
        tool_calls: The tools that the model wants called, in its order; functions were called already.
        candidates: The texts of all candidates, the first included, where more than one was asked for; else just the one.
        attempts: Requests that were sent for this answer, the successful one included.
        elapsed: Seconds from the call to the answer: waits and retries included.
        parsed: The text as the type of `schema=`, or as plain JSON for a JSON Schema; None without one.
        reasks: How often the model was asked again, because an answer did not fit the schema.
        parts: What `message` is made of, where that is more than the text and the tool calls.
        raw: The provider's reply as parsed JSON.
        citations: The sources that it cites, where the provider names them.
        logprobs: Its tokens with their logarithmic probabilities, where `logprobs=` asked for them.
        messages: Where functions were among the tools: all that was said, this answer included, to be sent on. `usage` is that of
            all turns then.
        media: Pictures (`Image`) and sound (`Audio`) that the model made.
        service_tier: The tier that served it, as the provider calls it ("default", "flex", ...); "" where it names none.
    """

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = NO_USAGE
    model: str = ""
    provider: str = ""
    request_id: str | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    candidates: tuple[str, ...] = ()
    attempts: int = 1
    elapsed: float = 0.0
    parsed: T = None  # type: ignore[assignment]  # without a schema there is nothing
    reasks: int = 0
    parts: tuple[Part, ...] = field(default=(), repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = field(default=(), repr=False)
    messages: tuple[Message, ...] = field(default=(), repr=False)
    media: tuple[Image | Audio, ...] = ()
    service_tier: str = ""

    @property
    def message(self) -> Message:
        """The assistant's message that goes back in a conversation, with all that the provider needs to see again.

        `model.answer([*messages, answer.message, user("And now?")])` goes on with any provider; what only this one can read is
        left out for another.
        """
        return Message("assistant", self.parts or (*((Text(self.text),) if self.text else ()), *self.tool_calls))

    @property
    def truncated(self) -> bool:
        """True when the answer was cut at `max_tokens` or at the end of the context window."""
        return self.finish_reason == "length"

    def json(self) -> Any:
        """Return the text parsed as JSON, for answers that were asked for with `schema=`.

        Raises:
            ValueError: The text is not JSON; a truncated answer is the usual cause.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            cause = "it was cut at max_tokens" if self.truncated else "ask for JSON with schema={...}"
            raise ValueError(f"the answer is not JSON ({cause}): {self.text[:200]!r}") from error

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return notebook.text_html(self.text, self._account())

    def _repr_markdown_(self) -> str:
        return notebook.text_markdown(self.text, self._account())

    def _account(self) -> str:
        """Return in a line what there is to know beside the text."""
        tokens = f", {self.usage.input_tokens:,} tokens in, {self.usage.output_tokens:,} out" if self.usage.known else ""
        tools = f", calls {', '.join(call.name for call in self.tool_calls)}" if self.tool_calls else ""
        return f"{self.model or 'a model'}: {self.finish_reason}{tools}{tokens}, {self.elapsed:.2f} s"
