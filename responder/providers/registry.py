"""Which providers does this process know? Ours, those that other packages bring, and those that the program registers itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from responder.responder import Responder
from responder.values.errors import ConfigurationError

ENTRY_POINTS = "responder.providers"
"""The group of entry points in which a package names its classes: `example = example_responder:ExampleResponder`."""

R = TypeVar("R", bound=type[Responder])

_log = logging.getLogger(__name__)


class Registry:
    """The class of each provider's name. Safe for threads.

    Args:
        own: The package's own classes, which nobody replaces.
    """

    def __init__(self, own: Mapping[str, type[Responder]]) -> None:
        self._own = own
        self._others: dict[str, type[Responder]] = {}
        self._has_looked = False

    def register(self, kind: R) -> R:
        """Make a class known; see `responder.register`."""
        if not (isinstance(kind, type) and issubclass(kind, Responder)):
            raise ConfigurationError(f"register() takes a subclass of Responder, not {kind!r}")
        name = kind.__dict__.get("provider", "")
        if not isinstance(name, str) or not name or name != name.strip().lower() or ":" in name:
            raise ConfigurationError(
                f"{kind.__name__} needs a name for for_model: provider = 'example', in small letters and without a colon"
            )
        if self._own.get(name, kind) is not kind:
            raise ConfigurationError(f"{name!r} is {self._own[name].__name__}: give {kind.__name__} another name in `provider`")
        if name not in self._own:
            self._others[name] = kind
        return kind

    def find(self, name: str) -> type[Responder] | None:
        """Return the class of a name, as a user may type it; None if there is none."""
        name = name.strip().lower()
        found = self._own.get(name) or self._others.get(name)
        return found if found is not None else self.all().get(name)

    def all(self) -> dict[str, type[Responder]]:
        """Return all classes by their names, ours first."""
        self._look()
        return {**self._own, **self._others}

    def _look(self) -> None:
        """Load, once, what other packages bring; what cannot be loaded is logged and left out."""
        if self._has_looked:
            return
        from importlib.metadata import entry_points  # only for those who look further than our own

        for found in entry_points(group=ENTRY_POINTS):
            try:
                kind: Any = found.load()
                if found.name not in self._others:
                    self.register(kind)
            except Exception:  # noqa: BLE001 - somebody else's module may fail in any way
                _log.warning("the provider %r (%s) could not be loaded", found.name, found.value, exc_info=True)
        self._has_looked = True  # only now: two threads may look at once, which does no harm, but none may miss what is there
