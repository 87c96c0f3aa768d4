"""How do batches get to a provider and back? In the requests that its form asks for, each repeated as any call is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from responder.call import replies
from responder.call.attempts import SINGLE, Call
from responder.call.batch_form import BatchForm, BatchState, Order
from responder.call.question import Question
from responder.call.upload_steps import Sending
from responder.call.uploading import exchange, through
from responder.values.answer import NO_USAGE
from responder.values.bounds import Bounds
from responder.values.errors import APIConnectionError, APIError, InternalServerError, InvalidResponseError, RateLimitError
from responder.values.sizes import Sizes, default_sizes
from responder.values.trace import Trace
from responder.wire.error_bodies import as_error, error_status, read_error_body
from responder.wire.masking import hide
from responder.wire.oversize import too_large

if TYPE_CHECKING:
    from responder.call.endpoint import Endpoint

# Bytes of a file of results: what a provider takes as input, and room for long answers. It is never whole in memory.
_LARGEST_RESULTS = 1 << 35

# Bytes a second: slower lines than this send no batches. What a request has to send adds to its time.
_SLOWEST = 50_000

# Pages of the list of batches that are searched for one: the newest come first.
_MOST_PAGES = 50


class Batches:
    """The batches of one endpoint.

    Args:
        endpoint: Where to.
        form: What its batches look like.
        bounds: What may end a request.
    """

    def __init__(self, endpoint: Endpoint, form: BatchForm, bounds: Bounds) -> None:
        self._endpoint = endpoint
        self._form = form
        self._bounds = bounds

    def upload(self, order: Order, path: str, size: int) -> str:
        """Send the lines as a file, and return the provider's id of it.

        Raises:
            APIError: It was refused.
        """
        call = self._call(size)
        return call.repeat(lambda: through(call, self._form.uploading(order, size), path), "batch")

    def create(self, order: Order, path: str, find: Callable[[], BatchState | None]) -> BatchState:
        """Make a batch, and return what it is. Made once: where it is not known whether a request arrived, it is looked for.

        Args:
            order: The batch.
            path: The file of its lines.
            find: Looks for it at the provider.

        Raises:
            APIError: It was refused, or it is not known whether it was made.
        """
        call, is_repeated = self._call(order.size), False

        def attempt() -> BatchState:
            nonlocal is_repeated
            if is_repeated and (found := find()) is not None:
                return found
            try:
                return self._read(call, self._form.creating(order), path, once=True)
            except (APIConnectionError, InternalServerError, InvalidResponseError):
                is_repeated = True
                raise
            except RateLimitError as error:
                error.retryable = False  # a batch can wait for longer than a call: its job sends it again
                raise

        return call.repeat(attempt, "batch")

    def look(self, batch_id: str) -> BatchState:
        """Return how far a batch is."""
        call = self._call()
        return call.repeat(lambda: self._read(call, self._form.looking(batch_id)), "batch")

    def cancel(self, batch_id: str) -> None:
        """Cancel a batch; what is done of it stays."""
        call = self._call()
        call.repeat(lambda: exchange(call, self._form.cancelling(batch_id)), "batch")

    def listed(self) -> Iterator[BatchState]:
        """Yield the batches that the provider has, the newest first."""
        cursor = ""
        for _ in range(_MOST_PAGES):
            call, sending = self._call(), self._form.listing(cursor)
            body = call.repeat(lambda call=call, sending=sending: exchange(call, sending), "batch").body  # type: ignore[misc]  # bound
            found, cursor = self._form.read_list(body)
            yield from found
            if not cursor:
                return

    def read_results(self, state: BatchState, take: Callable[[Any], object]) -> None:
        """Hand over each line of the results, as parsed JSON or, where it is none, as bytes. A break begins anew, so twice.

        Raises:
            APIError: They could not be read to their end.
        """
        for url in state.results:
            if state.in_pages:
                self._read_pages(url, take)
            else:
                call = self._call()
                call.repeat(lambda call=call, url=url: self._read_file(call, url, take), "batch")  # type: ignore[misc]  # bound

    def _call(self, size: int = 0) -> Call:
        """Return a call whose attempts have time to send so many bytes as well."""
        bounds = self._bounds
        timeout = replace(bounds.timeout, total=bounds.timeout.total + size / _SLOWEST)
        question = Question(self._endpoint.dialect.url(), b"", 1)
        return Call(self._endpoint, question, Bounds(timeout, bounds.deadline, bounds.cancel), SINGLE, Trace())

    def _read(self, call: Call, sending: Sending, path: str = "", *, once: bool = False) -> BatchState:
        received = exchange(call, sending, path, once=once)
        body = received.body if isinstance(received.body, dict) else {}
        try:
            return self._form.read(body)
        except InvalidResponseError:
            status = error_status(body)  # of a batch that is long past, with a 200
            if status is None:
                raise
            dialect = self._endpoint.dialect
            raise replies.refused(dialect, status, received.headers, as_error(body), url=sending.url) from None

    def _read_pages(self, url: str, take: Callable[[Any], object]) -> None:
        while url:
            call, asked = self._call(), Sending(url, has_file=False, is_look=True)
            body = call.repeat(lambda call=call, asked=asked: exchange(call, asked), "batch").body  # type: ignore[misc]  # bound
            lines, url = self._form.page(body if isinstance(body, dict) else {}, url)
            for line in lines:
                take(line)

    def _read_file(self, call: Call, url: str, take: Callable[[Any], object]) -> None:
        attempt = call.begin()
        attempt.start()
        secret = ""
        try:
            sizes = Sizes(body=_LARGEST_RESULTS, decompressed=_LARGEST_RESULTS)
            # As long as it takes, while something comes.
            gap = call.bounds.timeout.total
            timeout = replace(call.bounds.timeout, total=math.inf, first=gap)
            bounds = Bounds(timeout, call.bounds.deadline, call.bounds.cancel)
            incoming, secret = self._endpoint.open_file(url, bounds, sizes)
            try:
                attempt.observe(incoming.headers)
                if not 200 <= incoming.status < 300:
                    reply = incoming.read()
                    body = read_error_body(reply.body)
                    raise replies.refused(self._endpoint.dialect, reply.status, reply.headers, body, reply.reason, secret, url)

                def read() -> bytes:
                    incoming.must_continue_within(gap, f"nothing came of the results within {gap:g} s")
                    return incoming.read1()

                for line in _lines(read):
                    take(line)
            finally:
                incoming.close()
        except BaseException as error:
            attempt.end(error)
            if isinstance(error, APIError):
                hide(error, secret)
            raise
        attempt.end(None, NO_USAGE)


def _lines(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the lines of a body that arrives in pieces; the last one may lack its end."""
    most = default_sizes().line
    rest: list[bytes] = []
    held = 0
    while piece := read():
        first, *more = piece.split(b"\n")
        rest.append(first)
        held += len(first)
        if held > most:
            raise too_large("a line of the results", "line", most)
        if more:
            yield from filter(bytes.strip, itertools.chain((b"".join(rest),), more[:-1]))
            rest, held = [more[-1]], len(more[-1])
    if (last := b"".join(rest)).strip():
        yield last
