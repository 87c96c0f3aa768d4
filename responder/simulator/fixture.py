"""How does a test get a simulator? The pytest fixture `simulator`, a plugin of pytest's wherever the package is installed.

Importing this file is cheap and does not import aiohttp: pytest imports it at every start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Give the test a simulated provider of its own: embedded, without latency, stopped after the test."""
    from .simulator import Simulator

    with Simulator() as running:
        yield running
