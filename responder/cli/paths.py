"""Which options name a file? A shell completes them, and nothing else is checked: who opens it has the better words."""

from __future__ import annotations

from typing import Any

import click


class FilePath(click.Path):
    """The path of a file, as it was typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002 - click's signature
        """Return it as it is."""
        return value


FILE_PATH = FilePath()
