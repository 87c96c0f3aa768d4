"""What would a run cost, and how long would it take, before anything is sent? An estimate from the size of the questions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from responder.call.question import Question
from responder.pace.estimates import BYTES_PER_TOKEN, FIRST_OUTPUT_TOKENS
from responder.pace.limits import Limits
from responder.pace.prices import Pricing
from responder.report.units import seconds
from responder.values.answer import Usage

# A character of Chinese, Japanese or Korean has three bytes in UTF-8 and is about one token.
_FOREIGN_BYTES_PER_TOKEN = 3.0

# The pace of a usual model, for a time without limits.
_TOKENS_PER_SECOND = 60.0

_ASCII = bytes(range(128))

_NOTHING_LEFT = "  nothing is left to send"

# Tokens that providers count for a message, beside those of its text.
_TOKENS_A_MESSAGE = 7


def tokens_of(question: Question, envelope: int = 0) -> int:
    """Return about how many tokens a request has.

    Args:
        question: In the provider's words.
        envelope: Bytes around its text, of which providers count a few tokens.
    """
    if question.size != len(question.body):  # media, which count little of their bytes
        return math.ceil(question.size / BYTES_PER_TOKEN)
    foreign = 0 if question.body.isascii() else len(question.body.translate(None, _ASCII))
    return _tokens(len(question.body) - foreign - envelope, foreign) + _TOKENS_A_MESSAGE


def _tokens(english: int, foreign: int) -> int:
    """Return about how many tokens there are in so many bytes of ASCII, and of other scripts."""
    return math.ceil(max(0, english) / BYTES_PER_TOKEN + foreign / _FOREIGN_BYTES_PER_TOKEN)


@dataclass(slots=True)
class Forecast:
    """What a run would send, added up question by question.

    Args:
        price: What the model costs; None: unknown.
        max_tokens: The longest answer; None: an answer is assumed to have 256 tokens.
        envelope: Bytes of a request around its text, of which providers count next to nothing.
        kept: How many answers a checkpoint has, by the key of their question.
        dedupe: Whether equal questions are asked once.
        price_share: What an answer costs, as a part of the price of a live one: batches are cheaper.
        under_way: How many questions are in a batch job that has not ended, by their key; None: none.

    Attributes:
        requests: How many questions would be sent.
        input_tokens: About how many tokens they have.
        reused: Questions whose answer is in the checkpoint.
        waiting: Questions that a batch job has sent and not answered yet.
        repeated: Questions that are equal to an earlier one and not sent for that reason.
    """

    price: Pricing | None = None
    max_tokens: int | None = None
    envelope: int = 0
    kept: Mapping[bytes, int] | None = None
    dedupe: bool = False
    price_share: float = 1.0
    under_way: Mapping[bytes, int] | None = None
    requests: int = 0
    input_tokens: int = 0
    reused: int = 0
    waiting: int = 0
    repeated: int = 0
    _input_cost: float = 0.0
    _output_cost: float = 0.0
    _seen: set[bytes] | None = None
    _left: Counter[bytes] | None = None
    _sent: Counter[bytes] | None = None

    def __post_init__(self) -> None:
        self._seen = set() if self.dedupe else None
        self._left = Counter(self.kept) if self.kept else None
        self._sent = Counter(self.under_way) if self.under_way else None

    def add(self, question: Question, provider: str) -> None:
        """Add a question.

        Args:
            question: In the provider's words.
            provider: Its name; part of the key under which a checkpoint has the answer.
        """
        if self._seen is not None or self._left is not None or self._sent is not None:
            key = question.key(provider)
            if self._seen is not None and key in self._seen:
                self.repeated += 1
                return
            if self._seen is not None:
                self._seen.add(key)
            if self._left is not None and self._left[key] > 0:
                self._left[key] -= 1
                self.reused += 1
                return
            if self._sent is not None and self._sent[key] > 0:
                self._sent[key] -= 1
                self.waiting += 1
                return
        input_tokens = tokens_of(question, self.envelope)
        output_tokens = self.answer_tokens
        self.requests += 1
        self.input_tokens += input_tokens
        if self.price is not None:
            self._input_cost += (self.price.cost(Usage(input_tokens, 0, known=True)) or 0.0) * self.price_share
            self._output_cost += (self.price.cost(Usage(0, output_tokens, known=True)) or 0.0) * self.price_share

    @property
    def answer_tokens(self) -> int:
        """Tokens of an answer: at most, with `max_tokens`, and assumed without."""
        return FIRST_OUTPUT_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens of all answers."""
        return self.requests * self.answer_tokens

    @property
    def cost(self) -> float | None:
        """US dollars; None where the price is unknown."""
        return None if self.price is None else self._input_cost + self._output_cost

    def seconds(self, workers: int) -> float:
        """Return how long it takes where nothing limits it but the workers and a model of usual pace."""
        return math.ceil(self.requests / workers) * self.answer_tokens / _TOKENS_PER_SECOND

    def limited_seconds(self, limits: Limits) -> float:
        """Return how long it takes at least with these limits; 0 without any."""
        return _limited_seconds(limits, self.requests, self.input_tokens + self.output_tokens)

    def lines(self, workers: int, limits: Limits, unknown: str) -> list[str]:
        """Return the estimate as lines for a person, with what was assumed.

        Args:
            workers: Calls at once.
            limits: What the provider allows.
            unknown: What to do where the price is unknown.
        """
        if not self.requests:
            return [_NOTHING_LEFT]
        return [*self._token_lines(), f"  cost    {self._cost_line(unknown)}", f"  time    {self._time_line(workers, limits)}"]

    def batch_lines(self, unknown: str) -> list[str]:
        """Return the estimate for a batch job, which takes as long as the provider likes."""
        if not self.requests:
            return [_NOTHING_LEFT]
        share = f" ({self.price_share:.0%} of the live price)" if self.price_share != 1.0 and self.cost is not None else ""
        return [*self._token_lines(), f"  cost    {self._cost_line(unknown)}{share}"]

    def _token_lines(self) -> list[str]:
        each = self.input_tokens / self.requests
        assumed = f"if an answer has {self.answer_tokens:,}; --max-tokens sets a limit"
        return [
            f"  input   about {self.input_tokens:,} tokens, {each:,.0f} a prompt",
            f"  output  at most {self.output_tokens:,} tokens, {self.answer_tokens:,} an answer (--max-tokens)"
            if self.max_tokens is not None
            else f"  output  about {self.output_tokens:,} tokens, {assumed}",
        ]

    def _cost_line(self, unknown: str) -> str:
        if self.cost is None:
            return f"unknown: {unknown}"
        most = "at most" if self.max_tokens is not None else "about"
        return f"{most} {dollars(self.cost)}: {dollars(self._input_cost)} for input, {dollars(self._output_cost)} for output"

    def _time_line(self, workers: int, limits: Limits) -> str:
        free, limited = self.seconds(workers), self.limited_seconds(limits)
        if limited > free:
            return f"at least {seconds(limited)}, because of the limits"
        return f"about {seconds(free)} with {workers} workers, if a model writes {_TOKENS_PER_SECOND:.0f} tokens a second"


@dataclass(slots=True)
class EmbeddingForecast:
    """What a run of texts would send, added up request by request.

    Args:
        price: What the model costs; None: unknown.
        kept: The names of the texts whose vectors a checkpoint has.

    Attributes:
        requests: How many requests would be sent.
        texts: How many texts they hold.
        input_tokens: About how many tokens those have.
        reused: Texts whose vector is in the checkpoint.
        repeated: Texts that are equal to an earlier one and not sent for that reason.
        cost: US dollars; None where the price is unknown.
    """

    price: Pricing | None = None
    kept: Collection[bytes] = ()
    requests: int = 0
    texts: int = 0
    input_tokens: int = 0
    reused: int = 0
    repeated: int = 0
    cost: float | None = None

    def add(self, texts: Sequence[str], keys: Sequence[bytes], repeated: int) -> None:
        """Add the texts that share a request.

        Args:
            texts: Those that are sent unless the checkpoint has their vectors.
            keys: Their names in the checkpoint.
            repeated: How many texts beside them are equal to earlier ones.
        """
        missing = [text for text, key in zip(texts, keys, strict=True) if key not in self.kept]
        self.repeated += repeated
        self.reused += len(texts) - len(missing)
        if not missing:
            return
        tokens = sum(map(_tokens_of_text, missing))
        self.requests += 1
        self.texts += len(missing)
        self.input_tokens += tokens
        if self.price is not None:
            self.cost = (self.cost or 0.0) + (self.price.cost(Usage(tokens, 0, known=True)) or 0.0)

    def lines(self, limits: Limits, unknown: str) -> list[str]:
        """Return the estimate as lines for a person.

        Args:
            limits: What the provider allows.
            unknown: What to do where the price is unknown.
        """
        if not self.requests:
            return [_NOTHING_LEFT]
        found = [
            f"  input   about {self.input_tokens:,} tokens, {self.input_tokens / self.texts:,.0f} a text",
            f"  cost    {f'about {dollars(self.cost)}' if self.cost is not None else f'unknown: {unknown}'}",
        ]
        slowest = _limited_seconds(limits, self.requests, self.input_tokens)
        return [*found, f"  time    at least {seconds(slowest)}, because of the limits"] if slowest else found


def _tokens_of_text(text: str) -> int:
    size = len(text.encode("utf-8", "replace"))
    english = len(text) if text.isascii() else sum(map(str.isascii, text))
    return _tokens(english, size - english)


def _limited_seconds(limits: Limits, requests: int, tokens: int) -> float:
    minutes = [
        amount / rate
        for amount, rate in ((requests, limits.requests_per_minute), (tokens, limits.tokens_per_minute))
        if rate is not None
    ]
    return 60.0 * max(minutes, default=0.0)


def dollars(amount: float) -> str:
    """Return an amount with two digits that mean something: $12.30, $0.0042."""
    if amount >= 0.1 or amount <= 0:
        return f"${amount:,.2f}"
    return f"${amount:.{1 - math.floor(math.log10(amount))}f}"
