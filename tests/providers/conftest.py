"""What the tests of the providers share: two servers, and an environment without anybody's keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from providers.contract import KEY_VARIABLES, OTHER_VARIABLES, URL_VARIABLES
from wire.player import Player

from responder.simulator import Simulator


@pytest.fixture(scope="session")
def player() -> Iterator[Player]:
    """Plays back what a test gives it."""
    with Player() as running:
        yield running


@pytest.fixture(scope="session")
def _one_simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def simulator(_one_simulator: Simulator) -> Simulator:
    """A simulated provider with an empty log, one for the session: starting it costs more than a test."""
    _one_simulator.clear()
    return _one_simulator


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [name for names in KEY_VARIABLES.values() for name in names]
    for name in (*keys, *URL_VARIABLES.values(), *OTHER_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # google-auth would look for a metadata server, which takes seconds
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
