"""How is a run's money shared out to its shards? A part for each, and what it left over goes to the next ones."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from responder.pace.budget import Spending


@dataclass(slots=True)
class Sent:
    """A shard on its way.

    Attributes:
        indexes: The items in it.
        name: Its name in the journal.
        tries: How often it was sent.
        budget: Its part of the budget.
        is_last_money: That part is all there is.
        is_again: Its items have used up the part of another shard.
        generation: Of the executor that has it.
        future: The executor's.
    """

    indexes: list[int]
    name: str = ""
    tries: int = 0
    budget: float | None = None
    is_last_money: bool = False
    is_again: bool = False
    generation: int = 0
    future: Future[bytes] | None = None


class Purse:
    """The money of a run, in parts for its shards. Used by one thread, the one that takes the results.

    Args:
        budget: US dollars.
    """

    def __init__(self, budget: float) -> None:
        Spending(budget)  # refuses what is no amount
        self._budget = float(budget)
        self._spent = 0.0
        self._reserved = 0.0
        self._prompts = 0

    def fill(self, sent: Sent, others: int, most: int) -> bool:
        """Give a shard its part; False when there is none to give now.

        Args:
            sent: The shard.
            others: How many shards have a part already.
            most: How many there may be at once.
        """
        free = self._budget - self._spent - self._reserved
        if free <= 0:
            return False
        likely = 2 * len(sent.indexes) * self._spent / self._prompts if self._prompts else 0.0
        if sent.is_again and others and free < likely:
            return False
        part = min(free, likely) if likely else free / max(1, most - others)
        if not others and (sent.is_again or part >= free / 2):
            part = free
        sent.budget, sent.is_last_money = part, others == 0 and part == free
        self._reserved += part
        return True

    def settle(self, sent: Sent, spent: float | None, prompts: int) -> None:
        """Take back what a shard left over.

        Args:
            sent: The shard.
            spent: What it spent; None: unknown, its worker is gone, and its prompts count at the mean of the others.
            prompts: How many of its prompts it has asked.
        """
        part = sent.budget or 0.0
        if spent is None:
            spent = min(part, len(sent.indexes) * self._spent / self._prompts) if self._prompts else part
        else:
            self._prompts += prompts
        self._reserved = max(0.0, self._reserved - part)
        self._spent += spent
        sent.budget = None

    def __str__(self) -> str:
        return f"${self._spent:.4f} of ${self._budget:.2f} are spent"
