"""How does a Gradio page show several answers growing side by side? `side_by_side(function, boxes=4)`.

    def angles(question):
        return gpt.stream_map([f"{question} Answer in {angle}." for angle in ("depth", "breadth")])

    button.click(side_by_side(angles, boxes=2), question, [left, right], concurrency_limit=None)

One answer needs none of this: a generator function that yields `stream.text` will do. Imports no Gradio: Gradio only needs
a generator function.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from typing import Any, overload

from responder.integrations.public import public_message
from responder.many.merging import MergedStreams
from responder.values.errors import ConfigurationError
from responder.values.visible import visible_on_page

Texts = tuple[str, ...]

# Every yield carries the whole text of every box to the browser.
UPDATES_PER_SECOND = 15.0

# Gradio can end a generator only where it yields; while the providers are silent, it yields again what the boxes show.
_AGAIN = 0.5


@overload
def side_by_side(
    streams: MergedStreams, boxes: int | None = None, *, per_second: float = UPDATES_PER_SECOND
) -> Generator[Texts, None, None]: ...


@overload
def side_by_side(
    streams: Callable[..., MergedStreams], boxes: int | None = None, *, per_second: float = UPDATES_PER_SECOND
) -> Callable[..., Generator[Texts, None, None]]: ...


def side_by_side(
    streams: MergedStreams | Callable[..., MergedStreams],
    boxes: int | None = None,
    *,
    per_second: float = UPDATES_PER_SECOND,
) -> Any:
    """Return what Gradio calls to fill several boxes at once: tuples with the latest whole text of each.

    Cancelling the event, or closing the page, ends all streams within a second, even while the providers are silent. (A page that
    is closed in the moment between its question and its request for the results goes unnoticed by Gradio: `timeout` ends those
    streams.) A stream that fails shows a sentence about it below its text (`responder.integrations.public`).

    Args:
        streams: Merged streams: the tuples are yielded at once. Or a function of the event's inputs that returns some: the
            result is a generator function for `button.click(...)`.
        boxes: How many outputs the event has: tuples are filled up with "" to that number. None: as many as streams; then
            there is nothing to yield, and no moment to be cancelled, before the first piece.
        per_second: Tuples a second at most.

    Raises:
        ConfigurationError: There are more streams than boxes (once that is known).
    """
    if isinstance(streams, MergedStreams):
        return _tuples(streams, boxes, per_second)
    make = streams

    @functools.wraps(make)
    def generate(*inputs: Any, **keywords: Any) -> Generator[Texts, None, None]:
        yield from _tuples(make(*inputs, **keywords), boxes, per_second)

    return generate


def _tuples(streams: MergedStreams, boxes: int | None, per_second: float) -> Generator[Texts, None, None]:
    latest = _Latest(() if boxes is not None else None)  # where their number is known, the boxes are emptied at once
    texts, ended = latest.wait(0)
    reader = threading.Thread(target=_watch, args=(streams, per_second, latest), name="responder-reader", daemon=True)
    reader.start()
    try:
        while True:
            if texts is not None:
                yield _padded(tuple(map(visible_on_page, texts)), boxes)
            if ended:
                return
            texts, ended = latest.wait(_AGAIN)
    finally:
        streams.cancel("the page stopped it")


def _padded(texts: Texts, boxes: int | None) -> Texts:
    if boxes is None:
        return texts
    if len(texts) > boxes:
        raise ConfigurationError(f"{len(texts)} streams do not fit in {boxes} boxes: set boxes=, with an output for each")
    return texts + ("",) * (boxes - len(texts))


class _Latest:
    """The last tuple, put by the reader and taken by the generator; all behind one lock."""

    def __init__(self, texts: Texts | None) -> None:
        self._changed = threading.Condition()
        self._texts = texts
        self._is_new = False
        self._ended = False
        self._error: BaseException | None = None

    def put(self, texts: Texts) -> None:
        with self._changed:
            self._texts = texts
            self._is_new = True
            self._changed.notify()

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify()

    def wait(self, seconds: float) -> tuple[Texts | None, bool]:
        """Wait for a newer tuple; return the last one there is (None: none yet), and whether it is the last of all."""
        with self._changed:
            if not self._is_new and not self._ended:
                self._changed.wait(seconds)
            if self._error is not None:
                raise self._error
            self._is_new = False
            return self._texts, self._ended


def _watch(streams: MergedStreams, per_second: float, latest: _Latest) -> None:
    texts: Texts = ()
    failure: BaseException | None = None
    try:
        for texts in streams.snapshots(per_second):
            latest.put(texts)
        if streams.errors:
            latest.put(tuple(_with_error(text, streams.errors.get(index)) for index, text in enumerate(texts)))
    except Exception as error:  # noqa: BLE001 - carried to the generator's thread
        failure = error
    latest.end(failure)


def _with_error(text: str, error: Exception | None) -> str:
    return text if error is None else f"{text}\n\n({public_message(error)})".strip()
