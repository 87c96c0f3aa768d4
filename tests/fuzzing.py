"""How many cases a fuzzer tries: some hundred in the suite, and as many as `make fuzz CASES=...` asks for."""

from __future__ import annotations

import itertools
import os

from hypothesis import HealthCheck, settings


def fuzzed(cases: int = 300) -> settings:
    """Return the settings of a fuzz test; RESPONDER_FUZZ_CASES in the environment replaces the number of cases."""
    return settings(
        max_examples=int(os.environ.get("RESPONDER_FUZZ_CASES", cases)),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def pieces_of(data: bytes, places: list[int]) -> list[bytes]:
    """Return the bytes, cut at these places (taken modulo their number), without empty pieces."""
    borders = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(borders) if end > begin]
