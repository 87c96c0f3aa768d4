"""What do the replies of all batch APIs have in common? JSON, its lines, pages of a list, points in time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from responder.simulator.batches import Batch
from responder.simulator.reply import Problem, RefusalError, Reply, encode, refuse, to_bytes

from .base import Call

MOST_ON_A_PAGE = 100
JSON_LINES = "application/octet-stream"


def as_json(body: Any, headers: dict[str, str] | None = None) -> Reply:
    """Return a reply of JSON."""
    return Reply(to_bytes(encode(body)), headers=headers or {})


def as_lines(found: list[Any]) -> Reply:
    """Return a reply of JSON lines."""
    return Reply(b"".join(to_bytes(encode(line)) + b"\n" for line in found), content_type=JSON_LINES)


def missing(what: str) -> RefusalError:
    """Return the refusal of what there is not."""
    return refuse(404, f"No such {what}.", kind="missing_path")


def moment(seconds: float) -> str:
    """Return a point in time, as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def body_of(call: Call) -> dict[str, Any]:
    """Return the JSON object that a request holds."""
    if not call.valid_json or not isinstance(call.body, dict):
        raise refuse(400, "We could not parse the JSON body of your request.")
    return call.body


def page_of(found: list[Batch], query: Mapping[str, str], after: str) -> tuple[list[Batch], bool]:
    """Return the page of a list that is asked for, and whether there is more.

    Args:
        found: All there is, the newest first.
        query: The request's; "limit" is how many.
        after: The name of the parameter with the id of the last one that is known.
    """
    if last := query.get(after):
        found = found[next((place + 1 for place, batch in enumerate(found) if batch.id == last), len(found)) :]
    limit = min(int(query.get("limit", "20")), MOST_ON_A_PAGE)
    return found[:limit], len(found) > limit


def ends_of(page: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ids at both ends of a page."""
    return {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}


def words_of(body: Any) -> str:
    """Return the words of an error's body."""
    error = body.get("error") if isinstance(body, dict) else body
    return str(error.get("message")) if isinstance(error, dict) else str(error)


def too_much(failure: tuple[str, str]) -> Problem:
    """Return what a provider says at once, that is why it would not take a batch."""
    if failure[0] == "token_limit_exceeded":
        return Problem(429, "rate", failure[1], wait=0.1)
    return Problem(400, "invalid", failure[1])
