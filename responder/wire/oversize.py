"""What happens to a reply that is larger than its bound? One error for all, which says how to raise the bound."""

from __future__ import annotations

from responder.values.errors import InvalidResponseError


def too_large(what: str, bound: str, size: int) -> InvalidResponseError:
    """Return the error for something that exceeds a bound of `Sizes`. It is not retried: the next reply would be as large.

    Args:
        what: What is too large, as the subject of a sentence.
        bound: The name of the attribute of `Sizes`.
        size: The bound, in bytes.
    """
    return InvalidResponseError(
        f"{what} is larger than {size:,} bytes; the connection was dropped. If the provider is right to send that much, raise "
        f"the bound: responder.set_default_sizes(responder.Sizes({bound}=...))",
        retryable=False,
    )
