"""What does a provider's batch API look like? Its lines, its requests, its results. Pure: no request, thread or clock in it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from responder.call.upload_steps import Received, Sending, Upload
from responder.values.errors import InvalidResponseError
from responder.values.media import Media
from responder.values.reading import as_dict, as_str

BatchStatus: TypeAlias = Literal["running", "cancelling", "completed", "failed", "expired", "cancelled"]
"""How far a batch is, in one set of words for all providers. The last four are final."""

FINAL: frozenset[str] = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much goes into one batch, and what it costs.

    Attributes:
        lines: Prompts at most.
        bytes: Bytes of all lines together at most.
        price_share: What an answer costs, as a part of the price of a live one.
    """

    lines: int
    bytes: int
    price_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """One batch that is to be sent, or was.

    Attributes:
        mark: A name that no other batch has, for providers that keep one.
        url: Where each of its questions would be asked live; the path is enough.
        lines: How many it has.
        size: Bytes of its lines, with what separates them.
        headers: What its questions need beside the provider's headers.
        upload: The provider's id of its uploaded lines; "" where there is none.
    """

    mark: str
    url: str
    lines: int
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: str = ""


@dataclass(frozen=True, slots=True)
class BatchState:
    """What a provider says of a batch.

    Attributes:
        id: The provider's id of it.
        status: How far it is.
        total: How many lines it has; None where that is not said.
        done: How many are done, failed ones included.
        failed: How many of them failed.
        mark: The name it was given; "" where the provider keeps none.
        upload: The id of its uploaded lines; "" where there are none.
        why: Why it failed, in the provider's words.
        is_held_up: True for a batch that failed only because too much was under way: it can be sent again later.
        results: Where its results are; each URL is that of a file with a JSON object a line, unless `in_pages`.
        in_pages: True where a result is a JSON body that `BatchForm.page` reads, and may lead to another one.
    """

    id: str
    status: BatchStatus
    total: int | None = None
    done: int = 0
    failed: int = 0
    mark: str = ""
    upload: str = ""
    why: str = ""
    is_held_up: bool = False
    results: tuple[str, ...] = ()
    in_pages: bool = False

    @property
    def is_final(self) -> bool:
        """True when nothing changes any more."""
        return self.status in FINAL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch says of one of its lines.

    Attributes:
        name: The line's `custom_id`.
        what: "reply" (a status and a body, as a live call would get them), "expired", or "cancelled".
        status: HTTP status, or what stands for it.
        body: The provider's JSON.
        request_id: The provider's id of the request; None where it says none.
    """

    name: str
    what: Literal["reply", "expired", "cancelled"]
    status: int = 200
    body: Any = None
    request_id: str | None = None


Uploading: TypeAlias = Generator[Sending, Received, str]
"""Yields the requests that upload the lines, is sent what was answered, and returns the provider's id of the file."""


class Speaker(Protocol):
    """What a form needs to know of the dialect that it belongs to."""

    provider: ClassVar[str]
    base_url: str
    model: str

    def uploading(self, file: Media, size: int) -> Upload:
        """Return the requests that upload a file."""


class BatchForm(ABC):
    """One provider's batch API.

    Args:
        dialect: How the provider is spoken to otherwise.
    """

    limits: ClassVar[BatchLimits] = BatchLimits(50_000, 190_000_000)
    takes_texts: ClassVar[bool] = False
    """True where a line may ask for the vector of a text."""
    is_named: ClassVar[bool] = True
    """True where a batch can be told from others by its name or by its uploaded file, as soon as it is there."""

    def __init__(self, dialect: Speaker) -> None:
        self.dialect = dialect

    @abstractmethod
    def line(self, order: Order, name: str, body: bytes) -> bytes:
        """Return a question as a line of a batch.

        Args:
            order: The batch.
            name: The line's `custom_id`.
            body: The JSON that the question would be asked with live.
        """

    def separator(self, order: Order) -> bytes:  # noqa: ARG002 - for those with two forms
        """Return what stands between two lines."""
        return b"\n"

    def uploads(self, order: Order) -> bool:  # noqa: ARG002 - for those with two forms
        """Return whether the lines are uploaded as a file before a batch is made of it; else they are in the request."""
        return True

    def uploading(self, order: Order, size: int) -> Uploading:
        """Return the requests that upload the lines, in a file of so many bytes, where `uploads` says so."""
        raise NotImplementedError(f"{type(self).__name__} uploads nothing: {order.mark}")

    @abstractmethod
    def creating(self, order: Order) -> Sending:
        """Return the request that makes a batch: of the uploaded file, or with the lines in it (`has_file`)."""

    @abstractmethod
    def looking(self, batch_id: str) -> Sending:
        """Return the request that asks how far a batch is."""

    @abstractmethod
    def cancelling(self, batch_id: str) -> Sending:
        """Return the request that cancels a batch."""

    @abstractmethod
    def listing(self, cursor: str) -> Sending:
        """Return the request that lists batches, the newest first.

        Args:
            cursor: From what `read_list` returned; "" for the first page.
        """

    @abstractmethod
    def read(self, body: Mapping[str, Any]) -> BatchState:
        """Return what a body says of a batch.

        Raises:
            InvalidResponseError: It does not speak of one.
        """

    @abstractmethod
    def read_list(self, body: Any) -> tuple[list[BatchState], str]:
        """Return the batches of a page of the list, and where the next page begins; "" where there is none."""

    @abstractmethod
    def outcome(self, line: Mapping[str, Any]) -> Outcome | None:
        """Return what one line of the results says; None where it is not one."""

    def page(self, body: Mapping[str, Any], url: str) -> tuple[Iterator[Mapping[str, Any]], str]:
        """Return the lines on one page of results, and the URL of the next; where results come `in_pages`."""
        raise NotImplementedError(f"{type(self).__name__} has no pages: {url} {len(body)}")


def not_a_batch(body: Mapping[str, Any]) -> InvalidResponseError:
    """Return the error for a body that should speak of a batch; asking again may help."""
    said = json.dumps(body, default=str)[:300]
    return InvalidResponseError(f"the answer does not speak of a batch: {said}", body=dict(body), retryable=True)


def readable(form: BatchForm, batches: Any) -> list[BatchState]:
    """Return what a list says of batches; one that cannot be read is none of ours."""
    found = []
    for each in batches if isinstance(batches, list) else []:
        try:
            found.append(form.read(as_dict(each)))
        except InvalidResponseError:
            continue
    return found


def look(url: str) -> Sending:
    """Return a request that only reads."""
    return Sending(url, has_file=False, is_look=True)


def post(url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Sending:
    """Return a request with a JSON body and no file."""
    return Sending(url, headers or {}, json.dumps(body or {}).encode(), has_file=False)


def path_of(url: str) -> str:
    """Return the path that a line names: that of its URL from the version on, such as /v1/chat/completions."""
    path = urlsplit(url).path
    start = path.rfind("/v1/")
    return path[start:] if start >= 0 else path


def count_of(value: Any) -> int:
    """Return a count, which Google writes as text; 0 where there is none."""
    try:
        return max(int(value), 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def words_of(value: Any, depth: int = 3) -> str:
    """Return the words of an error, whatever its form: a text, an object, or a list of them."""
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return "; ".join(filter(None, (words_of(each, depth - 1) for each in value[:5])))
    found = as_dict(value)
    if depth and "data" in found:
        return words_of(found["data"], depth - 1)
    said = as_str(found.get("message"))
    code = found.get("code")
    where = f" (line {found['line']})" if isinstance(found.get("line"), int) else ""
    return f"{said or code or ''}{where}" if said or code else ""
