"""The simulated provider: a local HTTP server for demos, benchmarks and tests, which speaks each provider's dialect.

It imports nothing from the rest of `responder` and is written from the providers' reference, so that a mistake on one
side shows. The server needs aiohttp (`pip install "responder-sdk[simulator]"`); importing this package does not.
"""

from .batches import BatchSeen
from .console import serve
from .faults import Fault
from .journal import Received
from .simulator import Hold, Simulator

__all__ = ["BatchSeen", "Fault", "Hold", "Received", "Simulator", "serve"]
