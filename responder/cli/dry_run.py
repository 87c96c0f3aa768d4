"""`--dry-run`: what would a run send, cost and take? The whole file is checked, no key is needed, and nothing is sent."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from responder.call.question import Question
from responder.cli.model import make_mute_responder
from responder.cli.reading import Contents, text_of
from responder.cli.rows import Rows
from responder.cli.terminal import say, show
from responder.cli.words import in_shell_words
from responder.pace.limits import Limits
from responder.pace.prices import unknown_price
from responder.report.forecast import EmbeddingForecast, Forecast, dollars
from responder.responder import Responder
from responder.values.messages import Prompt
from responder.values.options import Options

_ASSUMED = "An estimate: 4 bytes of English, or 3 of other scripts, count as a token"


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
    with _mute(choices, settings["budget"]) as responder:
        forecast = _forecast(responder, settings)
        contents = _read(forecast, responder, Rows(file, form, check=_adder(forecast, responder), **reading), settings)
        lines = forecast.lines(settings["workers"], _limits(choices), _advice())
        budget = _about_budget(forecast.cost, settings["budget"], "the run would stop when it is spent")
        _print([*contents, *lines, *budget], f"{_ASSUMED}; retries and re-asks come on top.")


def show_batch_forecast(
    file: str, form: str | None, reading: Mapping[str, Any], choices: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Print what `responder submit` would send. Arguments and errors are those of `show_forecast`."""
    from responder.call.asker import Source
    from responder.many.job_file import under_way_in
    from responder.many.job_start import form_of

    with _mute(choices, settings["budget"]) as responder:
        source = Source(responder._endpoint, responder.options, responder.timeout, None, None)
        forecast = _forecast(responder, settings, form_of(source).limits.price_share, under_way_in(settings["checkpoint"]))
        contents = _read(forecast, responder, Rows(file, form, check=_adder(forecast, responder), **reading), settings)
        budget = _about_budget(forecast.cost, settings["budget"], "the rest would not be sent")
        _print([*contents, *forecast.batch_lines(_advice()), *budget], f"{_ASSUMED}.")


def show_embedding_forecast(
    file: str, form: str | None, reading: Mapping[str, Any], choices: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Print what `responder embed` would send. Arguments and errors are those of `show_forecast`."""
    from responder.call.attempts import SINGLE
    from responder.call.embedding import Embedder, text_key
    from responder.many.packing import Room, packs_of

    with _mute(choices, settings["budget"]) as responder:
        embedder = Embedder(
            responder._endpoint,
            responder.timeout,
            SINGLE,
            dimensions=settings["dimensions"],
            purpose=settings["purpose"],
            extra=responder.options.extra,
        )
        prefix = embedder.key()  # reports a provider without embeddings
        forecast = EmbeddingForecast(responder._endpoint.price, _kept(settings["checkpoint"]))
        room = Room(responder.embedding_limits(), settings["batch_size"])
        with Rows(file, form, **reading) as rows:
            for pack in packs_of(Contents(rows, text_of), room, lambda text: text_key(prefix, text), True):
                forecast.add([pack.texts[place] for place in pack.asked], pack.keys, len(pack.repeats))
        contents = _contents(rows, "text", forecast.repeated, {f"with a vector in {settings['checkpoint']}": forecast.reused})
        lines = forecast.lines(_limits(choices), _advice())
        budget = _about_budget(forecast.cost, settings["budget"], "the run would stop when it is spent")
        _print([contents, _to(responder, forecast.requests), *lines, *budget], f"{_ASSUMED}; retries come on top.")


@contextmanager
def _mute(choices: Mapping[str, Any], budget: float | None) -> Iterator[Responder]:
    """Give a responder that is not to be asked; say at the end what the run itself needs beside.

    Raises:
        ConfigurationError: The options are invalid, or there is a budget and no price.
    """
    responder, lacking = make_mute_responder(**choices)
    with responder:
        if budget is not None and responder._endpoint.price is None:
            raise unknown_price(responder.provider, responder.model)
        yield responder
    if lacking is not None:
        say(f"The run itself needs more: {in_shell_words(str(lacking))}")


def _forecast(
    responder: Responder, settings: Mapping[str, Any], share: float = 1.0, under_way: Mapping[bytes, int] | None = None
) -> Forecast:
    envelope = len(Question.of(responder, None, "x", Options()).body)
    price, kept = responder._endpoint.price, _kept(settings["checkpoint"])
    return Forecast(price, responder.options.max_tokens, envelope, kept, settings["dedupe"], share, under_way)


def _adder(forecast: Forecast, responder: Responder) -> Any:
    def add(prompt: Prompt) -> None:
        forecast.add(Question.of(responder, responder.system, prompt, responder.options), responder.provider)

    return add


def _kept(checkpoint: str | None) -> Mapping[bytes, int]:
    if checkpoint is None:
        return {}
    from responder.many.checkpoint_file import kept_in  # most runs do without a database

    return kept_in(checkpoint)


def _limits(choices: Mapping[str, Any]) -> Limits:
    return Limits(requests_per_minute=choices["rpm"], tokens_per_minute=choices["tpm"])


def _read(forecast: Forecast, responder: Responder, rows: Rows, settings: Mapping[str, Any]) -> list[str]:
    """Return what is in a file of prompts, and how much of it would be sent."""
    rows.close()
    checkpoint = settings["checkpoint"]
    places = {
        f"with an answer in {checkpoint}": forecast.reused,
        f"under way in a job of {checkpoint}": forecast.waiting,
    }
    return [_contents(rows, "prompt", forecast.repeated, places), _to(responder, forecast.requests)]


def _contents(rows: Rows, what: str, repeated: int, elsewhere: Mapping[str, int]) -> str:
    parts = [_count(len(rows), what)]
    if rows.skipped:
        parts.append(f"{_count(rows.skipped, 'row')} without a {what} skipped")
    if repeated:
        parts.append(f"{repeated:,} repeated")
    parts += [f"{count:,} {where}" for where, count in elsewhere.items() if count]
    return f"{rows.name}: {', '.join(parts)}"


def _to(responder: Responder, requests: int) -> str:
    return f"To {responder.provider}:{responder.model}: {_count(requests, 'request')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _advice() -> str:
    known = importlib.util.find_spec("genai_prices") is not None
    return "add --price IN,OUT" + ("" if known else ', or pip install "responder-sdk[prices]", which knows the usual models')


def _about_budget(cost: float | None, budget: float | None, otherwise: str) -> list[str]:
    """Return how an estimate compares with a budget.

    Args:
        cost: The estimate in US dollars; None: nothing would be sent.
        budget: What may be spent; None: no bound.
        otherwise: What happens when the budget is too small.
    """
    if budget is None or cost is None:
        return []
    return [f"  budget  {dollars(budget)} is {'enough' if cost <= budget else f'less than that: {otherwise}'}"]


def _print(lines: Iterable[str], assumed: str) -> None:
    show("\n".join((*lines, assumed, "Nothing was sent.")))
