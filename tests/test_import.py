"""What does `import responder` cost? No thread, no socket, and nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

HEAVY = [
    "google.auth",
    "tqdm",
    "click",
    "asyncio",
    "pydantic",
    "jsonschema",
    "aiohttp",
    "cryptography",
    "responder.simulator",
    "responder.cli",
]

# Where tornado is installed (Jupyter brings it), tenacity imports it, and with it an event loop.
SCRIPT = f"""
import socket, sys, threading
sys.modules["tornado"] = None
opened = []
socket.socket.__init__ = lambda *args, **keywords: opened.append(args)
import responder
print([name for name in {HEAVY!r} if name in sys.modules], threading.active_count(), len(opened))
"""


@pytest.mark.acceptance(12)
@pytest.mark.pain(16)
@pytest.mark.pain(14)
@pytest.mark.pain(15)
def test_the_import_loads_nothing_heavy_and_starts_nothing() -> None:
    """No Google, no tqdm, no event loop; a web server may fork after it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[] 1 0", "")


# Who installs a list of prices gets pydantic with it, and who installs tornado gets asyncio with tenacity.
CALL = f"""
import sys
sys.modules["genai_prices"] = sys.modules["tornado"] = None
from responder import OpenAIResponder
gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1])
assert len(gpt.map(["a"] * 5).texts()) == 5
print([name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.mark.pain(16)
@pytest.mark.pain(14)
def test_a_map_loads_nothing_heavy_either(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there is no bar, without Vertex no Google, and never an event loop."""
    from servers import always

    server = serve(always())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", CALL, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ.copy(),
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.pain(17)
def test_the_core_asks_for_few_packages_with_wide_ranges() -> None:
    """Exact pins are what made comparable libraries impossible to install side by side."""
    from importlib.metadata import requires
    from re import match

    core = [line for line in requires("responder-sdk") or [] if "extra ==" not in line]
    names = {match(r"[\w.-]+", line)[0].lower() for line in core}  # type: ignore[index]  # each line begins with a name
    assert names == {"requests", "urllib3", "tenacity", "google-auth", "click", "tqdm"}
    assert not [line for line in core if "==" in line or "~=" in line]


QUIET = """
import logging
import responder
logging.getLogger("responder.integrations").warning("who asked?")
logging.basicConfig(format="%(name)s %(message)s")
logging.getLogger("responder.integrations").warning("I did")
"""


def test_what_is_logged_is_shown_only_on_request() -> None:
    """Python would write a library's warnings to standard error otherwise."""
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "responder.integrations I did\n")
