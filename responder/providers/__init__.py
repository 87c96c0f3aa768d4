"""Which providers are there? One class each; `for_model` finds it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from responder.providers.anthropic import AnthropicResponder
from responder.providers.azure import AzureOpenAIResponder
from responder.providers.bedrock import BedrockResponder
from responder.providers.claude import AnthropicBedrockResponder, AnthropicFoundryResponder, AnthropicVertexResponder
from responder.providers.cohere import CohereResponder
from responder.providers.compatible import HOST_CLASSES, CompatibleResponder
from responder.providers.gemini import GeminiResponder
from responder.providers.ollama import OllamaResponder
from responder.providers.openai import OpenAIResponder
from responder.providers.registry import R, Registry
from responder.providers.simulated import SimulatedResponder
from responder.providers.vertex import VertexAIResponder, VertexPartnerResponder
from responder.providers.voyage import VoyageResponder
from responder.responder import CommonKeywords, Responder
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack

_OWN: tuple[type[Responder], ...] = (
    OpenAIResponder,
    AzureOpenAIResponder,
    GeminiResponder,
    VertexAIResponder,
    VertexPartnerResponder,
    AnthropicResponder,
    AnthropicVertexResponder,
    AnthropicBedrockResponder,
    AnthropicFoundryResponder,
    BedrockResponder,
    CohereResponder,
    VoyageResponder,
    *HOST_CLASSES.values(),
    OllamaResponder,
    CompatibleResponder,
    SimulatedResponder,
)
PROVIDERS: Mapping[str, type[Responder]] = {kind.provider: kind for kind in _OWN}
"""The class of each of our own providers' names."""

registry = Registry(PROVIDERS)
"""These, and whatever else this process knows."""


def register(kind: R) -> R:
    """Make a class of your own known to `for_model`, to the command line and to Django, under the name in its `provider`.

    It may be used as a decorator. A package does the same for whoever installs it by an entry point in the group
    `responder.providers`. A second class under the same name takes the place of the first.

    Args:
        kind: A subclass of `Responder`, or of one of its subclasses.

    Returns:
        The class.

    Raises:
        ConfigurationError: It is no such class, or its name is missing or one of the package's own.
    """
    return registry.register(kind)


class ModelKeywords(CommonKeywords, total=False):
    """The keywords of all providers' classes together, for type checkers and editors."""

    api_key: str | Callable[[], str] | None
    api: Literal["auto", "chat", "responses"] | None
    base_url: str | None
    endpoint: str | None
    api_version: str | None
    project: str | None
    location: str | None
    credentials: Any
    region: str | None
    profile: str | None
    resource: str | None


def for_model(name: str, **keywords: Unpack[ModelKeywords]) -> Responder:
    """Return a responder for "provider:model", such as `for_model("groq:llama-3.3-70b-versatile", temperature=0)`.

    Args:
        name: The provider's name, a colon, and the model as the provider spells it (which may contain colons, too).
        **keywords: As the provider's class takes them.

    Raises:
        ConfigurationError: No such provider, or no model; the message lists the providers.
    """
    provider, colon, model = name.partition(":")
    kind = registry.find(provider)
    if kind is None:
        import difflib  # only here, for the hint

        from responder.providers.families import meant

        known = registry.all()
        whole = meant(name, known)
        close = [whole] if whole is not None else difflib.get_close_matches(provider.lower(), known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigurationError(
            f"unknown provider {provider!r}{hint}: use one of {', '.join(known)}, as in 'openai:gpt-4o-mini'"
        )
    if not colon or not model.strip():
        raise ConfigurationError(f"{name!r} names no model: write {provider}:MODEL")
    make: Callable[..., Responder] = kind  # each class refuses what is not its own
    return make(model.strip(), **keywords)
