"""What does a call cost? Prices that the user gives, or those of genai-prices. The only module that imports genai_prices."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from responder.pace.tiers import USUAL, tier_factor
from responder.values.answer import Usage
from responder.values.clock import monotonic
from responder.values.errors import ConfigurationError
from responder.values.process import adopt, getpid

# Our names for those providers that the list calls by another one.
_LISTED_AS = {
    "gemini": "google",
    "vertex": "google",
    "xai": "x-ai",
    "bedrock": "aws",
    "anthropic-bedrock": "aws",
    "anthropic-vertex": "google",
    "anthropic-foundry": "anthropic",
    "voyage": "voyageai",
    "moonshot": "moonshotai",
}

_MILLION = 1_000_000
# https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching (read 2026-08)
_CACHE_WRITE = 1.25


class Pricing(Protocol):
    """Anything that knows what tokens cost."""

    def cost(self, usage: Usage, tier: str = "") -> float | None:
        """Return US dollars for the tokens of one request, served in a tier; None if unknown."""


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price, in US dollars for a million tokens.

    Attributes:
        input: For tokens that go in.
        output: For tokens that come out, reasoning included.
        cached_input: For input tokens that the provider reads from its cache; None: the same as `input`.
        cache_write: For input tokens that the provider writes to its cache; None: 1.25 times `input`, which is what Anthropic
            takes for five minutes (it takes twice the `input` for an hour).
        tiers: What these prices are multiplied by where a reply says that another tier served it, such as
            `{"flex": 0.5, "priority": 2}`; a tier that is not in it has these prices.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    tiers: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input", "cache_write"):
            value = getattr(self, name)
            if name in ("cached_input", "cache_write") and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ConfigurationError(
                    f"Price {name} must be US dollars per million tokens, 0 or more, not {value!r}", fatal=True
                )
        for tier, factor in self.tiers.items():
            if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
                raise ConfigurationError(f"Price tiers[{tier!r}] must be a factor, 0 or more, not {factor!r}", fatal=True)

    def cost(self, usage: Usage, tier: str = "") -> float:
        """Return US dollars for the tokens of one request; infinitely many for counts that no float can hold.

        Args:
            usage: The tokens.
            tier: The tier that served it, as the reply names it; "" for the usual one.
        """
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        write_price = self.input * _CACHE_WRITE if self.cache_write is None else self.cache_write
        uncached = usage.input_tokens - cached - written
        try:
            spent = uncached * self.input + cached * cached_price + written * write_price + usage.output_tokens * self.output
            return spent / _MILLION * (self.tiers.get(tier, 1.0) if tier else 1.0)
        except OverflowError:
            return math.inf


class ListedPrice:
    """A model's price as genai-prices has it, with its tiers and its changes over time.

    Nothing is imported before the first `cost` or `look_up`: importing that package takes a tenth of a second, in which a few
    hundred calls could be on their way. Once it is looked up, a cost takes a microsecond.
    """

    def __init__(self, provider: str, model: str) -> None:
        self._named = provider
        self._provider = _LISTED_AS.get(provider, provider)
        self._model = model
        self._is_known: bool | None = None  # None: not looked up yet
        self._rates: Price | None = None  # plain prices, if the number of tokens does not change the price
        self._rates_end = 0.0

    def look_up(self) -> bool:
        """Look the model up in the list, once; return whether it is there. Thread-safe."""
        if self._is_known is None:
            with _gate as is_usable:
                if self._is_known is None:
                    self._is_known = is_usable and self._listed(_SAMPLES[0]) is not None
        return self._is_known

    def cost(self, usage: Usage, tier: str = "") -> float | None:
        """Return US dollars for the tokens of one request; None where the list does not have the model, or is not installed.

        The list has the usual prices; those of other tiers are in `tiers.py`.

        Args:
            usage: The tokens.
            tier: The tier that served it, as the reply names it; "" for the usual one.
        """
        if not self.look_up():
            return None
        if tier not in USUAL:
            factor, usual = tier_factor(self._named, self._model, tier), self.cost(usage)
            return usual * factor if usual is not None and factor is not None else None
        if monotonic() >= self._rates_end:
            self._rates = self._as_rates()
            self._rates_end = monotonic() + _RATES_HOLD
        if self._rates is not None and usage.input_tokens <= _PLAIN:
            return self._rates.cost(usage)
        return self._listed(usage)

    def _as_rates(self) -> Price | None:
        """Return plain prices that give what the list gives for prompts that are not very long; None where none do.

        The list takes 60 us for a cost, which is a quarter of what a whole call takes.
        """
        found = [self._listed(usage) for usage in _PURE]
        if None in found:
            return None
        given, made, read, written = (cast(float, dollars) * _MILLION / _PLAIN for dollars in found)
        price = Price(given, made, read, written)
        is_same = all(
            (listed := self._listed(usage)) is not None and math.isclose(listed, price.cost(usage), rel_tol=1e-9, abs_tol=1e-12)
            for usage in _SAMPLES
        )
        return price if is_same else None

    def _listed(self, usage: Usage) -> float | None:
        try:
            import genai_prices

            counts: Any = genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=min(usage.cached_input_tokens, usage.input_tokens),
                cache_write_tokens=min(usage.cache_write_tokens, max(0, usage.input_tokens - usage.cached_input_tokens)),
            )
            return float(genai_prices.calc_price(counts, model_ref=self._model, provider_id=self._provider).total_price)
        except (ImportError, LookupError, ValueError, ArithmeticError):
            return None


# Seconds for which plain prices that were taken from the list hold: some providers are cheaper by night.
_RATES_HOLD = 60.0

# Longer prompts cost more per token with some models; the first step of the known ones is at 128,000 tokens.
_PLAIN = 32_000

# In the order of the fields of a Price: tokens that go in, that come out, that are read from a cache and that are written to one.
_PURE = (
    Usage(_PLAIN, 0),
    Usage(0, _PLAIN),
    Usage(_PLAIN, 0, cached_input_tokens=_PLAIN),
    Usage(_PLAIN, 0, cache_write_tokens=_PLAIN),
)

_SAMPLES = (
    Usage(1, 1),
    Usage(1_000, 100, 500),
    Usage(_PLAIN // 2, 4_000),
    Usage(_PLAIN, _MILLION, _PLAIN // 3),
    Usage(_PLAIN, 100, cached_input_tokens=_PLAIN // 2, cache_write_tokens=_PLAIN // 4),
)


class _Gate:
    """Held by the thread that imports the list, and across a fork: a child could never end an import of another thread's."""

    def __init__(self) -> None:
        self._is_usable = True
        self._is_importing = False
        self._is_held = False  # by a thread that forks
        self.process = getpid()
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: where C code has forked in the middle of the import, do without the list."""
        self._is_usable = self._is_usable and not self._is_importing
        self._is_importing = self._is_held = False
        self._lock = threading.RLock()

    def __enter__(self) -> bool:
        """Wait until no other thread imports; return whether the list can be imported."""
        if self.process != getpid():
            adopt(self)
        self._lock.acquire()
        self._is_importing = True
        return self._is_usable

    def __exit__(self, *_: object) -> None:
        self._is_importing = False
        self._lock.release()

    def before_fork(self) -> None:
        """Wait, with a bound, until no thread imports: a child that is forked anyway does without the list."""
        if self.process != getpid():
            adopt(self)
        self._is_held = self._lock.acquire(timeout=_LONGEST_IMPORT)

    def after_fork(self) -> None:
        """In the parent: let others import."""
        if self._is_held:
            self._is_held = False
            self._lock.release()


# Seconds; it takes a tenth of one.
_LONGEST_IMPORT = 2.0

_gate = _Gate()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.before_fork, after_in_parent=_gate.after_fork, after_in_child=_gate.start_anew)


@functools.lru_cache(maxsize=256)
def price_later(provider: str, model: str) -> ListedPrice:
    """Return a model's price from genai-prices, to be looked up later."""
    return ListedPrice(provider, model)


def listed_price(provider: str, model: str) -> ListedPrice | None:
    """Return a model's price from genai-prices, looked up now; None without that package, and for an unknown model."""
    price = price_later(provider, model)
    return price if price.look_up() else None


def listed_models(provider: str) -> list[str]:
    """Return the models of a provider that genai-prices lists, by the names it gives them; none without that package."""
    try:
        from genai_prices import data
    except ImportError:
        return []
    listed_as = _LISTED_AS.get(provider, provider)
    models = [model for found in data.providers if found.id == listed_as for model in found.models]
    # The names of some entries are the beginnings of others' names.
    return sorted(model.id for model in models if not model.deprecated and not model.id.startswith("ft:") and model.id[-1] != "-")


def unknown_price(provider: str, model: str) -> ConfigurationError:
    """Return the error for a budget without a price."""
    installed = importlib.util.find_spec("genai_prices") is not None
    advice = "genai-prices does not have it" if installed else 'pip install "responder-sdk[prices]" knows the usual ones'
    return ConfigurationError(
        f"budget= needs the price of {provider}:{model} ({advice}): give price=Price(input=..., output=...), in US dollars "
        "for a million tokens",
        fatal=True,
    )
