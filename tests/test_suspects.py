"""A bare 403 or 404 is one prompt's own, unless a run gets nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from servers import Peer, Server, reply

from responder import CancelledError, NotFoundError, OpenAIResponder, PermissionDeniedError

Serve = Callable[..., Server]
Make = Callable[..., OpenAIResponder]

PAGE = b"<html><body><h1>Request blocked</h1></body></html>"


def refusing(status: str, refused: Callable[[str], bool]) -> Callable[[Peer], None]:
    """Return a handler that refuses some prompts with a page of a firewall's, and answers the others."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(reply(PAGE, status, Content_Type="text/html") if refused(request.prompt) else reply())

    return handler


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
def test_a_page_is_one_prompts_own_in_a_run_with_answers(serve: Serve, responder_for: Make, status: str) -> None:
    """A firewall that dislikes some prompts does not end a run of thousands."""
    server = serve(refusing(status, lambda prompt: "bad" in prompt))
    batch = responder_for(server).map(["good", *["bad"] * 20, "good", "good"], max_workers=1)
    assert [result.ok for result in batch] == [True, *[False] * 20, True, True]
    assert {type(result.error) for result in batch.failures()} <= {PermissionDeniedError, NotFoundError}


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
def test_a_run_that_gets_nothing_else_ends(serve: Serve, responder_for: Make, status: str) -> None:
    """A wrong base_url is not asked a thousand times."""
    server = serve(refusing(status, lambda prompt: True))
    batch = responder_for(server).map(["a"] * 1000, max_workers=2)
    assert len(server.requests) <= 6
    assert sum(isinstance(result.error, CancelledError) for result in batch) >= 994
    assert any("check base_url" in str(result.error) for result in batch.failures())


def test_a_few_refused_prompts_at_the_start_end_nothing(serve: Serve, responder_for: Make) -> None:
    """Two may be chance."""
    server = serve(refusing("403 Forbidden", lambda prompt: "bad" in prompt))
    batch = responder_for(server).map(["bad", "bad", *["good"] * 5], max_workers=1)
    assert sum(result.ok for result in batch) == 5
