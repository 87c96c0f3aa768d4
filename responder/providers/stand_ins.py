"""How is a responder made where nothing will be sent? With stand-ins for what a machine that asks has in its environment."""

from __future__ import annotations

from typing import Any

from responder.providers import for_model, registry
from responder.responder import Responder
from responder.values.errors import ConfigurationError

# Nothing listens there; a simulated model would start its server otherwise.
_NOWHERE = "http://127.0.0.1:9/v1"

_GOOGLES = ("vertex", "anthropic-vertex", "vertex-partner")


def make_mute(model: str, **keywords: Any) -> tuple[Responder, ConfigurationError | None]:
    """Return a responder that knows what it would send, and is not to be asked; and what a machine that asks needs beside.

    A key, an endpoint or a project that is missing is replaced. What can never work is still an error.

    Args:
        model: "provider:model".
        **keywords: As `for_model` takes them.

    Returns:
        The responder, and the error for what is missing in the environment; None where nothing is.

    Raises:
        ConfigurationError: Something is wrong that no environment mends.
    """
    kind = registry.find(model.partition(":")[0])
    if kind is not None and kind.provider == "simulated":
        return for_model(model, **{"base_url": _NOWHERE, **keywords}), None
    if kind is not None and kind.provider in _GOOGLES:  # which look for credentials when the URL is made, on the network, too
        return for_model(model, **{**keywords, **_stand_ins(kind, keywords)}), None
    try:
        return for_model(model, **keywords), None
    except ConfigurationError as error:
        if kind is None:
            raise
        try:
            return for_model(model, **{**keywords, **_stand_ins(kind, keywords)}), error
        except ConfigurationError:
            raise error from None


def _stand_ins(kind: type[Responder], given: dict[str, Any]) -> dict[str, Any]:
    """Return a value for each keyword that a provider needs and that was not given."""
    if kind.provider in _GOOGLES:
        needed = {"credentials": "stand-in", "project": "stand-in"}
    else:
        needed = {"api_key": "stand-in"}
    if kind.provider == "azure":
        needed["endpoint"] = "https://stand-in.openai.azure.com"
    if "{" in kind.base_url:  # an account, from the environment
        needed["base_url"] = "https://stand-in.example"
    if kind.provider in ("bedrock", "anthropic-bedrock"):
        needed["region"] = "us-east-1"
    if kind.provider == "anthropic-foundry":
        needed["resource"] = "stand-in"
    return {name: value for name, value in needed.items() if not given.get(name)}
