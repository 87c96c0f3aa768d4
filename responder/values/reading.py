"""How do we read JSON that may hold anything? Each function returns what was asked for, or an empty value of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_dict(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or {} for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a JSON array, or [] for anything else."""
    return value if isinstance(value, list) else []


def as_str(value: Any) -> str:
    """Return a text, or "" for anything else."""
    return value if isinstance(value, str) else ""


def as_int(value: Any) -> int:
    """Return a count: a whole number of 0 or more, also written as text or float; 0 for anything else."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    if isinstance(value, float) and 0 <= value < 1e18:
        return int(value)
    return value if isinstance(value, int) and value > 0 else 0


def first(values: list[Any]) -> Any:
    """Return the first element, or None of an empty list."""
    return values[0] if values else None
