"""How many bytes may a server send? One bound for each thing that it could make endless, and the default of the process."""

from __future__ import annotations

from dataclasses import dataclass, fields

_KB = 1024
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """The most that is read of each part of a reply, in bytes. Past a bound the connection is dropped and an error names it.

    Attributes:
        body: A whole body, or all of a stream, as it comes over the network, without the marks between its chunks.
        decompressed: The same after decompressing gzip or deflate.
        error_body: The body of an error reply. A longer one is cut here; the status still counts.
        event: The data of one event of a stream, or one JSON object of a stream of objects.
        line: One line of an event stream.
        stray: All lines of an event stream that belong to no event, such as a page of HTML instead.
        head: The status line and the headers.
        interim: All interim replies (100 Continue, 103 Early Hints) before the reply.
        trailers: Everything besides the data of a chunked body: extensions of its chunks, and trailers.

    Raises:
        ValueError: A bound is not a positive whole number.
    """

    body: int = 64 * _MB
    decompressed: int = 64 * _MB
    error_body: int = 1 * _MB
    event: int = 32 * _MB
    line: int = 32 * _MB
    stray: int = 1 * _MB
    head: int = 256 * _KB
    interim: int = 256 * _KB
    trailers: int = 64 * _KB

    def __post_init__(self) -> None:
        for field in fields(self):
            size = getattr(self, field.name)
            if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
                raise ValueError(f"Sizes({field.name}={size!r}): must be a whole number of bytes above 0")


_default = Sizes()


def default_sizes() -> Sizes:
    """Return the default bounds of this process."""
    return _default


def set_default_sizes(sizes: Sizes) -> None:
    """Set the bounds for every reply that starts after this. Bodies already being read keep theirs."""
    global _default
    _default = sizes
