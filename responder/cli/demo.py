"""`responder demo`: see the speed-up, without a key. The jobs themselves are in `demo_jobs.py`."""

from __future__ import annotations

import click

import responder.cli.demo_jobs as jobs
from responder.cli.terminal import show
from responder.values.errors import ConfigurationError


@click.command()
@click.option("--quick", is_flag=True, help="Smaller jobs and a faster provider: seconds instead of a minute.")
def demo(quick: bool) -> None:
    """Run four typical jobs on a simulated provider, each next to its sequential time.

    Needs no key and no network; nothing leaves this machine.
    """
    try:
        jobs.run(show, quick=quick)
    except ImportError as error:
        if error.name != "aiohttp":
            raise
        raise ConfigurationError(str(error)) from error
