"""How wide is a run, when does it end early, and what is shown of it? The options that `map` and `embed` share."""

from __future__ import annotations

from pathlib import Path

import click

from responder.values.errors import ConfigurationError

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
price_option = click.option(
    "--price",
    metavar="IN,OUT",
    help="The model's price in US dollars per million tokens, in and out; default: from genai-prices, if installed.",
)
run_deadline_option = click.option(
    "--run-deadline", type=float, metavar="SECONDS", help="Limit for the whole run; calls in flight are cancelled then."
)
budget_option = click.option("--budget", type=float, metavar="DOLLARS", help="Stop before the run spends more than this.")
resume_option = click.option(
    "--resume", is_flag=True, help="Continue the run saved in --checkpoint: the file must exist, and OUT is replaced."
)
progress_option = click.option("--progress/--no-progress", default=None, help="A bar on standard error; default: on a terminal.")
summary_option = click.option("--summary/--no-summary", default=None, help="A summary on standard error; default: on a terminal.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check FILE and estimate what would be sent and what it costs; send nothing. Needs no key."
)


def check_run(run_deadline: float | None, checkpoint: str | None, resume: bool) -> None:
    """Check what the options cannot check one by one.

    Raises:
        ConfigurationError: The run cannot go like this.
    """
    if run_deadline is not None and not run_deadline > 0:
        raise ConfigurationError(f"--run-deadline must be a number of seconds above 0, not {run_deadline:g}")
    if resume and checkpoint is None:
        raise ConfigurationError("--resume continues a checkpoint: add --checkpoint FILE")
    if resume and checkpoint is not None and not Path(checkpoint).is_file():
        raise ConfigurationError(f"--resume: there is no checkpoint {checkpoint}; leave out --resume to start one")
