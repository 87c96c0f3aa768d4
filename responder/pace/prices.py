"""What does a call cost? Prices that the user gives, or those of genai-prices. The only room that imports genai_prices."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import threading
from dataclasses import dataclass
from typing import Any, Protocol

from responder.values.answer import Usage
from responder.values.errors import ConfigurationError

# Our names for those providers that the list calls by another one.
_LISTED_AS = {"gemini": "google", "vertex": "google", "xai": "x-ai"}

_MILLION = 1_000_000
# https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching (read 2026-08)
_CACHE_WRITE = 1.25


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
        cache_write: For input tokens that the provider writes to its cache; None: 1.25 times `input`, which is what Anthropic
            takes for five minutes (it takes twice the `input` for an hour).
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input", "cache_write"):
            value = getattr(self, name)
            if name in ("cached_input", "cache_write") and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ConfigurationError(f"Price {name} is US dollars for a million tokens, 0 or more, not {value!r}", fatal=True)

    def cost(self, usage: Usage) -> float:
        """Return US dollars for the tokens of one request."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        write_price = self.input * _CACHE_WRITE if self.cache_write is None else self.cache_write
        uncached = usage.input_tokens - cached - written
        spent = uncached * self.input + cached * cached_price + written * write_price + usage.output_tokens * self.output
        return spent / _MILLION


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
            cache_write_tokens=min(usage.cache_write_tokens, max(0, usage.input_tokens - usage.cached_input_tokens)),
        )
        return float(genai_prices.calc_price(counts, model_ref=self._model, provider_id=self._provider).total_price)


# Held while a worker imports the list. A child that is forked in the midst of an import waits for ever for the thread that
# imports, since only its parent has it: a fork waits for the end of the import.
_import_lock = threading.RLock()
_FORK_PATIENCE = 5.0
_forking = threading.local()


def _before_fork() -> None:
    _forking.waited = _import_lock.acquire(timeout=_FORK_PATIENCE)


def _after_fork_in_parent() -> None:
    if _forking.waited:
        _import_lock.release()


def _after_fork_in_child() -> None:
    global _import_lock
    _import_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


@functools.lru_cache(maxsize=256)
def listed_price(provider: str, model: str) -> ListedPrice | None:
    """Return a model's price out of genai-prices; None without that package, and for a model that it does not know."""
    if importlib.util.find_spec("genai_prices") is None:
        return None
    price = ListedPrice(_LISTED_AS.get(provider, provider), model)
    try:
        with _import_lock:  # the list imports more of itself with the first price that is looked up
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
