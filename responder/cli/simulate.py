"""`responder simulate`: the simulated provider as a server, for people and for programs in any language."""

from __future__ import annotations

from typing import Any

import click

from responder.cli.paths import FILE_PATH
from responder.values.errors import ConfigurationError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 picks a free one.")
@click.option("--certfile", type=FILE_PATH, help="PEM file with a certificate chain; turns TLS on.")
@click.option("--keyfile", type=FILE_PATH, help="PEM file with the private key.")
@click.option("--latency", default="uniform:0.3:0.9", show_default=True, help='Seconds: 0.2, "lognormal:MEDIAN:P95", ...')
@click.option("--tokens-per-second", default="60", show_default=True, help="Pace of streams, in the same forms.")
@click.option("--seed", type=int, help="Make chance repeatable.")
@click.option("--rpm", "requests_per_minute", type=int, help="Requests per minute for each key and model.")
@click.option("--tpm", "tokens_per_minute", type=int, help="Tokens per minute for each key and model.")
@click.option("--rpd", "requests_per_day", type=int, help="Requests per day for each key and model.")
@click.option("--error-rate", type=float, default=0.0, help="Share of requests, 0 to 1, that fail at random.")
@click.option("--spike-rate", type=float, default=0.0, help="Share of requests, 0 to 1, that are slow at random.")
@click.option("--spike", type=float, default=5.0, show_default=True, help="Extra seconds of a slow request.")
@click.option("--accept-key", "api_key", metavar="KEY", help="The only key to accept; default: any.")
@click.option("--model", "models", multiple=True, help="Name of a model that exists; default: any. Repeatable.")
@click.option("--reply", help="Text of every answer; default: quote the prompt.")
@click.option("--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="Another host name to answer to. Repeatable.")
@click.option("--batch-hours", type=float, default=0.0, show_default=True, help="How many hours a batch takes; 0: none.")
@click.option("--thinking", is_flag=True, help="The model thinks before it answers.")
def simulate(models: tuple[str, ...], **settings: Any) -> None:
    """Run the simulated provider until Ctrl-C: every dialect, no key, no bill.

    The banner shows the base URL for each provider. In another shell:

    \b
    export OPENAI_API_KEY=any OPENAI_BASE_URL=http://127.0.0.1:8080/v1
    responder ask "What is baseball?" --model openai:demo
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    from responder.simulator import serve  # imports asyncio, which no other command needs

    try:
        serve(models=models or None, **settings)
    except OSError as error:
        where = f"{settings['host']}:{settings['port']}"
        raise ConfigurationError(f"cannot listen on {where}: {error.strerror or error}; try --port 0") from error
    except (ImportError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
