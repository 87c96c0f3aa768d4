"""How much may a key ask of a model? Real limits, as a token bucket for each (key, model).

A bucket holds one minute's allowance and refills evenly, as OpenAI documents it ("continuously replenished", rate
limit guide, read 2026-08). Tokens are charged once, at arrival: input and output as the answer's usage will state them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE = 60.0
_DAY = 86_400.0


@dataclass(frozen=True)
class LimitState:
    """Where a key stands, for the headers and for the words of a refusal. A limit of None does not exist; resets are
    in seconds.

    Attributes:
        exhausted: "requests", "tokens", "day", "too_large" (the request alone is above the limit), or "" if the call
            may go on.
        wait: Seconds until a retry will be accepted.
        requested: Tokens that this request asked for.
    """

    request_limit: int | None
    requests_left: int
    requests_reset: float
    token_limit: int | None
    tokens_left: int
    tokens_reset: float
    day_limit: int | None
    exhausted: str
    wait: float
    requested: int


class _Bucket:
    __slots__ = ("capacity", "level", "rate", "seen")

    def __init__(self, capacity: float, now: float) -> None:
        self.capacity = self.level = float(capacity)
        self.rate = capacity / _MINUTE
        self.seen = now

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.seen) * self.rate)
        self.seen = now

    def wait_for(self, amount: float) -> float:
        return max(0.0, (amount - self.level) / self.rate) if self.rate else _DAY

    def until_full(self) -> float:
        return self.wait_for(self.capacity)


class _Account:
    __slots__ = ("day_began", "day_used", "requests", "tokens")

    def __init__(self, requests: _Bucket | None, tokens: _Bucket | None, now: float) -> None:
        self.requests = requests
        self.tokens = tokens
        self.day_began = now
        self.day_used = 0


class Limiter:
    """Keeps the accounts. Used by the server's loop only, so it needs no lock.

    Args:
        requests_per_minute: Requests a minute for each key and model; None for no limit.
        tokens_per_minute: Tokens (input and output) a minute for each key and model; None for no limit.
        requests_per_day: Requests in 24 hours, counted from the first; None for no limit.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        requests_per_day: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests_per_minute = requests_per_minute
        self._tokens_per_minute = tokens_per_minute
        self._requests_per_day = requests_per_day
        self._clock = clock
        self._accounts: dict[tuple[str, str], _Account] = {}
        self.active = any(limit is not None for limit in (requests_per_minute, tokens_per_minute, requests_per_day))

    def charge(self, key: str, model: str, tokens: int) -> LimitState:
        """Take one request and its tokens from the account, or nothing at all if a limit forbids it.

        Args:
            key: Who asks.
            model: Which model is asked.
            tokens: Input and output tokens of the request.
        """
        now = self._clock()
        account = self._accounts.get((key, model)) or self._open((key, model), now)
        if now - account.day_began >= _DAY:
            account.day_began, account.day_used = now, 0
        exhausted, wait = self._judge(account, tokens, now)
        requests, bucket = account.requests, account.tokens
        if not exhausted:
            account.day_used += 1
            if requests:
                requests.level -= 1
            if bucket:
                bucket.level -= tokens
        return LimitState(
            request_limit=self._requests_per_minute,
            requests_left=int(requests.level) if requests else 0,
            requests_reset=requests.until_full() if requests else 0.0,
            token_limit=self._tokens_per_minute,
            tokens_left=int(bucket.level) if bucket else 0,
            tokens_reset=bucket.until_full() if bucket else 0.0,
            day_limit=self._requests_per_day,
            exhausted=exhausted,
            wait=wait,
            requested=tokens,
        )

    def clear(self) -> None:
        """Fill every account again."""
        self._accounts.clear()

    def _judge(self, account: _Account, tokens: int, now: float) -> tuple[str, float]:
        for bucket in (account.requests, account.tokens):
            if bucket:
                bucket.refill(now)
        if self._requests_per_day is not None and account.day_used >= self._requests_per_day:
            return "day", account.day_began + _DAY - now
        if account.requests and account.requests.level < 1:
            return "requests", account.requests.wait_for(1)
        if account.tokens:
            if tokens > account.tokens.capacity:
                return "too_large", 0.0
            if account.tokens.level < tokens:
                return "tokens", account.tokens.wait_for(tokens)
        return "", 0.0

    def _open(self, owner: tuple[str, str], now: float) -> _Account:
        account = self._accounts[owner] = _Account(
            None if self._requests_per_minute is None else _Bucket(self._requests_per_minute, now),
            None if self._tokens_per_minute is None else _Bucket(self._tokens_per_minute, now),
            now,
        )
        return account
