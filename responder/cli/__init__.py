"""Which commands are there, and how does each of them end? What a command does is in the file of its name."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import Any, TextIO

import click

from responder._version import __version__
from responder.cli.ask import ask
from responder.cli.completion import teach_bash
from responder.cli.demo import demo
from responder.cli.embed import embed
from responder.cli.job import job
from responder.cli.map import map_command
from responder.cli.models import models
from responder.cli.simulate import simulate
from responder.cli.submit import submit
from responder.cli.terminal import Warnings, discard_output, say
from responder.cli.words import in_shell_words
from responder.values.errors import ConfigurationError, ResponderError
from responder.values.visible import visible_in_line

# What a shell expects of a program that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130


class FailedError(click.ClickException):
    """An error of ours, as one line on stderr: the provider was asked, and there is no answer."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(visible_in_line(message))

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        """Write the line to standard error, if there is one."""
        say(f"Error: {self.message}")


class NothingSentError(FailedError):
    """The command cannot run as it is; the line says what to type."""

    exit_code = 2


class Commands(click.Group):
    """The commands; turns our errors into one line and an exit code, whichever command they come from."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the command line with a writable standard error: some programs are started without one."""
        if "_RESPONDER_COMPLETE" in os.environ:
            teach_bash()
        log, warnings = logging.getLogger("responder"), Warnings(logging.WARNING)
        with contextlib.redirect_stderr(_usable(sys.stderr)), contextlib.ExitStack() as stack:
            warnings.addFilter(lambda record: not record.name.startswith("responder.simulator"))  # somebody else's server
            log.addHandler(warnings)
            stack.callback(log.removeHandler, warnings)
            try:
                return super().main(*arguments, **keywords)
            except OSError as error:  # such as a full disk under standard output
                discard_output()
                say(f"Error: {error.filename or 'the output'} cannot be written or read: {error.strerror or error}")
                sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise NothingSentError(in_shell_words(str(error))) from error
        except ResponderError as error:
            raise FailedError(in_shell_words(f"{type(error).__name__}: {error}")) from error
        except KeyboardInterrupt:
            say("Interrupted")
            sys.exit(INTERRUPTED)


def _usable(stream: TextIO | None) -> TextIO:
    """Return standard error, or something to write to in its place."""
    try:
        if stream is not None and not stream.closed:
            stream.isatty()
            return stream
    except (AttributeError, ValueError):
        pass
    return io.StringIO()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="responder")
def main() -> None:
    """Ask LLM providers from the shell: one prompt, or a file of them in parallel.

    Models are written PROVIDER:MODEL, such as openai:gpt-4o-mini; keys come from the environment (`responder models` lists
    both). simulated:demo needs no key and no network.
    """


for _command in (ask, map_command, submit, job, embed, models, simulate, demo):
    main.add_command(_command)
