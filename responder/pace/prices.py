"""What does a call cost? Prices that the user gives, or those of genai-prices. The only room that imports genai_prices."""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import dataclass
from typing import Any, Protocol

from responder.values.answer import Usage
from responder.values.errors import ConfigurationError

# Our names for those providers that the list calls by another one.
_LISTED_AS = {"gemini": "google", "vertex": "google", "xai": "x-ai"}

_MILLION = 1_000_000


class Pricing(Protocol):
    """Anything that knows what tokens cost."""

    def cost(self, usage: Usage) -> float:
        """Return US dollars for the tokens of one request."""


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price, in US dollars for a million tokens.

    Attributes:
        input: For tokens that go in.
        output: For tokens that come out, reasoning included.
        cached_input: For input tokens that the provider reads from its cache; None: the same as `input`.
    """

    input: float
    output: float
    cached_input: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            value = getattr(self, name)
            if name == "cached_input" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ConfigurationError(f"Price {name} is US dollars for a million tokens, 0 or more, not {value!r}", fatal=True)

    def cost(self, usage: Usage) -> float:
        """Return US dollars for the tokens of one request."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        uncached = usage.input_tokens - cached
        return (uncached * self.input + cached * cached_price + usage.output_tokens * self.output) / _MILLION


class ListedPrice:
    """A model's price as genai-prices has it, with its tiers and its changes over time."""

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model

    def cost(self, usage: Usage) -> float:
        """Return US dollars for the tokens of one request.

        Raises:
            LookupError: The list does not have the model.
        """
        import genai_prices

        counts: Any = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=min(usage.cached_input_tokens, usage.input_tokens),
        )
        return float(genai_prices.calc_price(counts, model_ref=self._model, provider_id=self._provider).total_price)


@functools.lru_cache(maxsize=256)
def listed_price(provider: str, model: str) -> ListedPrice | None:
    """Return a model's price out of genai-prices; None without that package, and for a model that it does not know."""
    if importlib.util.find_spec("genai_prices") is None:
        return None
    price = ListedPrice(_LISTED_AS.get(provider, provider), model)
    try:
        price.cost(Usage(1, 1, known=True))
    except (LookupError, ValueError):
        return None
    return price


def unknown_price(provider: str, model: str) -> ConfigurationError:
    """Return the error that a budget without a price is."""
    installed = importlib.util.find_spec("genai_prices") is not None
    advice = "genai-prices does not have it" if installed else 'pip install "responder-sdk[prices]" knows the usual ones'
    return ConfigurationError(
        f"budget= needs the price of {provider}:{model} ({advice}): give price=Price(input=..., output=...), in US dollars "
        "for a million tokens",
        fatal=True,
    )
