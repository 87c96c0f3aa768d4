"""Which model answers, and how? The options that `ask` and `map` share, and the Responder that they make."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from responder.cli.completion import MODEL_NAME
from responder.cli.paths import FILE_PATH
from responder.pace.limits import Limits
from responder.pace.prices import Price
from responder.providers import for_model
from responder.providers.stand_ins import make_mute
from responder.responder import Responder
from responder.values.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])

# A key on a command line is visible to every process of the machine and stays in the shell's history.
_NOT_ON_A_COMMAND_LINE = ("api_key", "credentials", "session", "extra_headers")

# A proxy may know an address of this machine that this machine does not.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

_MODEL = click.option(
    "-m", "--model", type=MODEL_NAME, envvar="RESPONDER_MODEL", help="PROVIDER:MODEL; default: $RESPONDER_MODEL."
)
_MODELS = click.option(
    "-m",
    "--model",
    "models",
    type=MODEL_NAME,
    multiple=True,
    envvar="RESPONDER_MODEL",
    help="PROVIDER:MODEL; default: $RESPONDER_MODEL. Repeatable: several answer side by side.",
)
_ABOUT_ANSWERS = (
    click.option("-s", "--system", help="How the model should behave; goes before every prompt."),
    click.option("--temperature", type=float, help="Randomness, 0 and up."),
    click.option("--max-tokens", type=int, help="Limit for an answer in tokens, including reasoning."),
    click.option("--schema", type=FILE_PATH, help="File with a JSON Schema that the answer must fit."),
)
_ABOUT_CALLS = (
    click.option(
        "--option",
        "pairs",
        multiple=True,
        metavar="NAME=JSON",
        help="Any other option, such as stop='[\"END\"]', reasoning_effort=low, api_version=2024-10-21, or "
        "extra='{...}' for what only your provider knows. Repeatable.",
    ),
    click.option("--timeout", type=float, metavar="SECONDS", help="Limit for one attempt (default: 600)."),
    click.option("--deadline", type=float, metavar="SECONDS", help="Limit for one answer, including retries and waits."),
    click.option("--retries", type=int, help="Retries after a failed attempt, if a retry can help (default: 4)."),
    click.option("--base-url", metavar="URL", help="Where the API is; default: the provider's, or the environment's."),
    click.option("--rpm", type=float, metavar="N", help="Requests per minute, spread evenly."),
    click.option("--tpm", type=float, metavar="N", help="Tokens per minute, input and output, spread evenly."),
)


def call_options(command: F) -> F:
    """Add the options that choose a model and say how it is asked, without those about its answers."""
    for option in reversed(_ABOUT_CALLS):
        command = option(command)
    return _MODEL(command)


def model_options(command: F) -> F:
    """Add the options that choose a model; the command gets them as keywords, and hands them to `make_responder`."""
    return _with_options(command, _MODEL)


def models_options(command: F) -> F:
    """Add the same options for a command that takes several models, as its keyword `models`."""
    return _with_options(command, _MODELS)


def _with_options(command: F, model: Callable[[F], F]) -> F:
    for option in reversed(_ABOUT_ANSWERS + _ABOUT_CALLS):
        command = option(command)
    return model(command)


# Options that are the keywords of a Responder, by their names there.
_KEYWORDS = {
    "system": "system",
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "timeout": "timeout",
    "deadline": "deadline",
    "retries": "max_retries",
    "base_url": "base_url",
}


def make_responder(model: str | None, **options: Any) -> Responder:
    """Return the Responder that the options describe.

    Raises:
        ConfigurationError: No model, no key, or an invalid option; the message says what to type.
    """
    try:
        responder = for_model(_named(model), **_keywords(**options))
        responder.url()  # the first use of the URL reports what is missing; better now than after a thousand rows
    except ImportError as error:
        if error.name != "aiohttp":
            raise
        raise ConfigurationError(str(error)) from error
    return responder


def make_mute_responder(model: str | None, **options: Any) -> tuple[Responder, ConfigurationError | None]:
    """Return a Responder that is not to be asked, and needs no key; and the error for what a run would lack.

    Raises:
        ConfigurationError: No model, or an invalid option; the message says what to type.
    """
    return make_mute(_named(model), **_keywords(**options))


def _named(model: str | None) -> str:
    if not model:
        raise ConfigurationError("no model: add --model openai:gpt-4o-mini (or simulated:demo), or export RESPONDER_MODEL=...")
    return model


def _keywords(
    *,
    schema: str | None,
    pairs: Sequence[str],
    rpm: float | None,
    tpm: float | None,
    price: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return the options as keywords of a Responder."""
    deadline = options["deadline"]
    if deadline is not None and not deadline > 0:
        raise ConfigurationError(f"--deadline must be a number of seconds above 0, not {deadline:g}")
    temperature = options.get("temperature")
    if temperature is not None and not math.isfinite(temperature):
        raise ConfigurationError(f"--temperature must be a number, 0 or more, not {temperature:g}")
    keywords = {
        **{_KEYWORDS[name]: value for name, value in options.items()},
        "schema": None if schema is None else _read_schema(schema),
        "price": None if price is None else _read_price(price),
        "limits": None if rpm is None and tpm is None else Limits(requests_per_minute=rpm, tokens_per_minute=tpm),
    }
    return {**_read_pairs(pairs), **{name: value for name, value in keywords.items() if value is not None}}


def refuse_deaf_port(responder: Responder) -> None:
    """Report at once that nothing listens on this machine, if the model should be on it; retries would not help.

    Raises:
        ConfigurationError: The connection is refused.
    """
    parts = urlsplit(responder.base_url)
    if parts.hostname not in ("localhost", "127.0.0.1", "::1") or any(map(os.environ.get, _PROXIES)):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=1.0).close()
    except ConnectionRefusedError:
        raise ConfigurationError(
            f"nothing listens on port {port} of {parts.hostname}: start the server there, or give its address with --base-url"
        ) from None
    except OSError:
        pass  # the call itself finds out what is wrong


def _read_price(text: str) -> Price:
    try:
        input_price, output_price = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"--price must be IN,OUT in US dollars per million tokens, such as 0.15,0.60, not {text!r}"
        ) from None
    return Price(input_price, output_price)


def _read_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not name or not equals:
            raise ConfigurationError(f"--option {pair!r} must be NAME=JSON, such as --option top_p=0.9")
        if name in _NOT_ON_A_COMMAND_LINE:
            raise ConfigurationError(f"--option {name} is not accepted: keys come from the environment, see 'responder models'")
        options[name] = _read_value(name, text)
    return options


def _read_value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"'):
            raise ConfigurationError(f"--option {name}: {text!r} is not JSON ({error})") from None
        return text  # a bare word or a date: quoting it twice, for the shell and for JSON, is pointless


def _read_schema(path: str) -> Mapping[str, Any]:
    try:
        found = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"--schema {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"--schema {path}, line {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--schema {path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"--schema {path}: a JSON Schema must be an object in braces")
    return found
