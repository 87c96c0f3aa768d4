"""`--dry-run`: what would a run send, cost and take? The whole file is checked, no key is needed, and nothing is sent."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from responder.call.question import Question
from responder.cli.model import make_mute_responder
from responder.cli.rows import Rows
from responder.cli.terminal import say, show
from responder.cli.words import in_shell_words
from responder.pace.limits import Limits
from responder.report.forecast import Forecast, dollars
from responder.responder import Responder
from responder.values.messages import Prompt
from responder.values.options import Options

_ASSUMED = "An estimate: 4 bytes of English, or 3 of other scripts, count as a token; retries and re-asks come on top."


def show_forecast(
    file: str, form: str | None, reading: Mapping[str, Any], choices: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Print what `responder map` would send.

    Args:
        file: The input.
        form: Its format; None: by its extension.
        reading: How it is read, as `Rows` takes it.
        choices: The options of the model, as `make_mute_responder` takes them.
        settings: The options of the run.

    Raises:
        ConfigurationError: What would stop the run before its first request, other than a missing key.
    """
    with ExitStack() as stack:
        responder, lacking = make_mute_responder(**choices)
        stack.enter_context(responder)
        forecast = _forecast(responder, settings)

        def add(prompt: Prompt) -> None:
            forecast.add(Question.of(responder, responder.system, prompt, responder.options), responder.provider)

        rows = stack.enter_context(Rows(file, form, check=add, **reading))
        limits = Limits(requests_per_minute=choices["rpm"], tokens_per_minute=choices["tpm"])
        lines = [
            _contents(rows, forecast, settings["checkpoint"]),
            f"To {responder.provider}:{responder.model}: {_count(forecast.requests, 'request')}",
            *forecast.lines(settings["workers"], limits, _advice()),
            *_about_budget(forecast, settings["budget"]),
            _ASSUMED,
            "Nothing was sent.",
        ]
    show("\n".join(lines))
    if lacking is not None:
        say(f"The run itself needs more: {in_shell_words(str(lacking))}")


def _forecast(responder: Responder, settings: Mapping[str, Any]) -> Forecast:
    kept = None
    if settings["checkpoint"] is not None:
        from responder.many.checkpoint import kept_in  # most runs do without a database

        kept = kept_in(settings["checkpoint"])
    envelope = len(Question.of(responder, None, "x", Options()).body)
    return Forecast(responder._endpoint.price, responder.options.max_tokens, envelope, kept, settings["dedupe"])


def _contents(rows: Rows, forecast: Forecast, checkpoint: str | None) -> str:
    parts = [_count(len(rows), "prompt")]
    if rows.skipped:
        parts.append(f"{_count(rows.skipped, 'row')} without a prompt skipped")
    if forecast.repeated:
        parts.append(f"{forecast.repeated:,} repeated")
    if forecast.reused:
        parts.append(f"{forecast.reused:,} with an answer in {checkpoint}")
    return f"{rows.name}: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _advice() -> str:
    known = importlib.util.find_spec("genai_prices") is not None
    return "add --price IN,OUT" + ("" if known else ', or pip install "responder-sdk[prices]", which knows the usual models')


def _about_budget(forecast: Forecast, budget: float | None) -> list[str]:
    if budget is None or forecast.cost is None:
        return []
    is_enough = forecast.cost <= budget
    return [f"  budget  {dollars(budget)} is {'enough' if is_enough else 'less than that: the run would stop when it is spent'}"]
