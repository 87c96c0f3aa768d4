"""How many prompts go into a shard? Enough for an engine's overhead not to count, and fewer near the end of the input."""

from __future__ import annotations

from dataclasses import dataclass

# Prompts in a shard for each call at once. More would lose more with a worker; fewer cost an engine's overhead more often.
_WAVES = 8


@dataclass(frozen=True, slots=True)
class ShardSizes:
    """The sizes of a run's shards.

    Attributes:
        given: `shard_size=`; None: as follows.
        max_workers: Calls at once in a process.
        total: Prompts in the input; None: not known.
    """

    given: int | None
    max_workers: int
    total: int | None

    def size(self, begun: int, shards: int) -> int:
        """Return the size of the next shard: near the end of the input they get smaller, so that all processes end together.

        Args:
            begun: Prompts before it.
            shards: How many may be on their way at once.
        """
        if self.given is not None:
            return self.given
        most = self.max_workers * _WAVES
        if self.total is None:
            return most
        return min(most, max(self.max_workers, -(-(self.total - begun) // shards)))

    @property
    def most(self) -> int:
        """Prompts in a shard at most."""
        return self.given or self.max_workers * _WAVES
