"""`responder ask`: one prompt, one answer."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import click

from responder.cli.columns import Columns
from responder.cli.interrupt import Interruption, interruptible
from responder.cli.lines import to_json
from responder.cli.model import make_responder, models_options, refuse_deaf_port
from responder.cli.paths import FILE_PATH
from responder.cli.terminal import output, say, show, source
from responder.many.merging import MergedStreams, merge_streams
from responder.responder import Responder
from responder.values.answer import Answer
from responder.values.errors import CancelledError, ConfigurationError
from responder.values.messages import File, Image, Message, Part, Prompt
from responder.values.visible import VisibleStream, is_terminal


@click.command()
@click.argument("prompt", required=False)
@models_options
@click.option("--image", "images", multiple=True, type=FILE_PATH, help="Picture to send with the prompt. Repeatable.")
@click.option("--file", "files", multiple=True, type=FILE_PATH, help="Document to send with the prompt. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON: text, usage, request id, raw reply, ...")
@click.option("--stream/--no-stream", default=None, help="Print the text as it arrives; default: on a terminal.")
def ask(
    prompt: str | None,
    models: Sequence[str],
    images: Sequence[str],
    files: Sequence[str],
    as_json: bool,
    stream: bool | None,
    **choices: Any,
) -> None:
    """Ask one prompt and print the answer.

    PROMPT is the text, or - to read it from standard input; it may be left out if standard input is a pipe or a file.
    With several --model, the same prompt goes to all at once, and the answers appear side by side.

    \b
    responder ask "What is baseball?" --model openai:gpt-4o-mini
    git diff | responder ask --system "Review this diff." --model anthropic:claude-sonnet-4-5
    responder ask "Why is the sky blue?" -m openai:gpt-4o-mini -m gemini:gemini-2.5-flash
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    output()  # closed: report it before anything is paid for
    question = _with_attachments(_read_prompt(prompt), images, files)
    if as_json and stream:
        raise ConfigurationError("--json prints the whole answer at once: leave --stream out")
    is_live = stream if stream is not None else is_terminal(sys.stdout) and not as_json
    with ExitStack() as open_responders, interruptible() as interruption:
        responders = [open_responders.enter_context(make_responder(model=model, **choices)) for model in models or ("",)]
        for responder in responders:
            refuse_deaf_port(responder)
        try:
            if len(responders) > 1:
                failed = _ask_several(list(models), responders, question, is_live, as_json, interruption)
                sys.exit(int(failed))
            if is_live:
                answer = _print_live(responders[0], question, interruption)
            else:
                answer = responders[0].answer(question, cancel=interruption.token)
        except CancelledError:
            say("Interrupted")
            sys.exit(interruption.exit_code)
    if as_json:
        show(to_json(_whole(answer), indent=2).decode())
        return
    if not is_live:
        show(_shown(answer))
    if answer.truncated:
        say("The answer was cut at its token limit: raise --max-tokens.")


def _print_live(responder: Responder, question: Prompt, interruption: Interruption) -> Answer:
    """Print the pieces of an answer as they arrive."""
    harmless = VisibleStream() if is_terminal(sys.stdout) else None
    with responder.stream(question, cancel=interruption.token) as stream:
        try:
            for piece in stream:
                show(piece if harmless is None else harmless.add(piece), end="")
        finally:
            if stream.text:
                show("" if harmless is None else harmless.end())
    answer = stream.answer
    assert answer is not None  # noqa: S101 - a stream that ended without an error has one
    if answer.tool_calls:
        show(_calls(answer))
    return answer


def _ask_several(
    models: list[str],
    responders: list[Responder],
    question: Prompt,
    is_live: bool,
    as_json: bool,
    interruption: Interruption,
) -> bool:
    """Ask several models at once; print their answers side by side, or one below the other. Return whether any failed."""
    merged = merge_streams([responder.stream(question) for responder in responders], cancel=interruption.token)
    with merged:
        if is_live and is_terminal(sys.stdout):
            return _show_columns(models, merged, interruption)
        texts = ["" for _ in models]
        answers: list[Answer | None] = [None for _ in models]
        errors: dict[int, Exception] = {}
        for event in merged:
            texts[event.index] += event.piece
            answers[event.index] = event.answer or answers[event.index]
            if event.error is not None:
                errors[event.index] = event.error
    for index, model in enumerate(models):
        answer = answers[index]
        if as_json:
            record = {"model": model, "error": str(errors[index])} if answer is None else _whole(answer)
            show(to_json(record, indent=None).decode())
        else:
            text = (texts[index] + _told(errors.get(index))).strip()
            show(f"== {model}\n{text}\n")
    return bool(errors)


def _show_columns(models: list[str], merged: MergedStreams, interruption: Interruption) -> bool:
    """Draw the answers side by side while they grow. Return whether any failed."""
    columns = Columns(models)
    texts = ["" for _ in models]
    for latest in merged.snapshots():
        texts = [text + _told(merged.errors.get(index)) for index, text in enumerate(latest)]
        columns.show(texts)
    if interruption.number is not None:
        raise CancelledError("interrupted")
    columns.finish(texts)
    return bool(merged.errors)


def _told(error: Exception | None) -> str:
    return "" if error is None else f"\n[{type(error).__name__}: {error}]"


def _read_prompt(argument: str | None) -> str:
    if argument is not None and argument != "-":
        text = argument
    elif argument is None and is_terminal(sys.stdin):
        raise ConfigurationError('no prompt: type responder ask "What is baseball?", or pipe the text in')
    else:
        try:
            text = source().read().decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"standard input is not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise ConfigurationError("the prompt is empty")
    return text


def _with_attachments(text: str, images: Sequence[str], files: Sequence[str]) -> Prompt:
    readers: list[tuple[Callable[[str], Part], str]] = [
        *((Image.from_path, path) for path in images),
        *((File.from_path, path) for path in files),
    ]
    if not readers:
        return text
    parts: list[str | Part] = [text]
    for read, path in readers:
        try:
            parts.append(read(path))
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error
    return Message("user", parts)


def _shown(answer: Answer) -> str:
    return "\n".join(part for part in (answer.text, _calls(answer)) if part)


def _calls(answer: Answer) -> str:
    return "\n".join(f"{call.name}({call.json})" for call in answer.tool_calls)


def _whole(answer: Answer) -> dict[str, Any]:
    return {**dataclasses.asdict(answer), "truncated": answer.truncated}
