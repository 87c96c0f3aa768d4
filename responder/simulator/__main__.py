"""Run the simulated provider: `python -m responder.simulator --port 8080 --latency uniform:0.2:0.6`.

Prints one line of JSON when it is ready: {"url": ..., "port": ...}.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from .console import serve


def main(arguments: list[str] | None = None) -> None:
    """Parse the options and serve until Ctrl-C, SIGTERM, or (with `--settings -`) the end of standard input."""
    parser = argparse.ArgumentParser(
        prog="python -m responder.simulator", description="A simulated LLM provider on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on, 0 for a free one (default: %(default)s)")
    parser.add_argument("--certfile", help="PEM file with a certificate chain; turns TLS on")
    parser.add_argument("--keyfile", help="PEM file with the private key")
    parser.add_argument("--latency", default="0", help='seconds: 0.2, "uniform:0.2:0.6" or "lognormal:MEDIAN:P95"')
    parser.add_argument("--tokens-per-second", help="pace of streams, in the same forms")
    parser.add_argument("--seed", type=int, help="makes chance repeatable")
    parser.add_argument("--requests-per-minute", type=int, help="limit for each key and model")
    parser.add_argument("--tokens-per-minute", type=int, help="limit for each key and model")
    parser.add_argument("--requests-per-day", type=int, help="limit for each key and model")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of requests that fail at random, 0 to 1")
    parser.add_argument("--spike-rate", type=float, default=0.0, help="share of requests that are slow at random, 0 to 1")
    parser.add_argument("--spike", type=float, default=5.0, help="length of such a spike in seconds (default: %(default)s)")
    parser.add_argument("--api-key", help="the only key that is accepted")
    parser.add_argument("--model", dest="models", action="append", help="a model that exists (repeat it for more)")
    parser.add_argument("--reply", help="fixed text of every answer")
    parser.add_argument("--thinking", action="store_true", help="the model thinks before it answers")
    parser.add_argument("--batch-hours", type=float, default=0.0, help="how long a batch takes (default: %(default)s)")
    parser.add_argument("--batch-tokens", type=int, help="tokens of batches that may be under way")
    parser.add_argument("--allow-host", dest="allowed_hosts", action="append", default=[], help="another host name to answer to")
    parser.add_argument("--settings", choices=["-"], help=argparse.SUPPRESS)
    options = vars(parser.parse_args(arguments))
    if options.pop("settings"):
        # Started by another program: one line of JSON on standard input, then we stop when it ends.
        options = _from_json(json.loads(sys.stdin.buffer.readline()))
        options["until_stdin_ends"] = True
    serve(announce=_ready, **options)


def _from_json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _ready(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url, "port": urlsplit(url).port}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
