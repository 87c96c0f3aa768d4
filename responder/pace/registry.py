"""Which governor is whose? One for each provider, base URL, key and model of the process."""

from __future__ import annotations

from responder.pace.governor import Governor
from responder.pace.limits import Limits
from responder.pace.recent import Recent

_governors: Recent[Governor] = Recent()


def governor_for(identity: tuple[str, ...], limits: Limits) -> Governor:
    """Return the process's governor of a provider, base URL, key and model; the limits of several responders all apply."""
    governor, is_new = _governors.find(identity, lambda: Governor(limits, "\0".join(identity).encode()))
    if not is_new and limits != governor.limits:
        governor.tighten(limits)
    return governor


def forget_limits() -> None:
    """Forget what was learned about every provider: for tests, where one refusal must not slow down the next test."""
    _governors.clear()
