"""How does a Streamlit page ask? `st.write_stream` takes a `Stream` as it is; here is what it lacks.

    gpt = cached_responder("openai:gpt-4o-mini")
    with gpt.stream(st.chat_input() or "Hello") as stream:
        st.write_stream(stream)

The `with` ends the provider's stream when a click abandons the run. Streamlit's functions work only in the page's own thread:
nothing here calls them from a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from responder.integrations import missing
from responder.integrations.public import public_message
from responder.many.merging import MergedStreams
from responder.many.progress import Progress
from responder.providers import for_model
from responder.responder import Responder
from responder.values.clock import monotonic
from responder.values.messages import Prompt
from responder.values.results import Batch
from responder.values.visible import visible_on_page

try:
    import streamlit as st
except ModuleNotFoundError as error:
    raise missing("Streamlit", "streamlit") from error

# Every drawing goes to the browser; more than this many seconds apart is as smooth as people see.
_REDRAW = 0.1


@st.cache_resource(show_spinner=False)
def cached_responder(model: str, **keywords: Any) -> Responder:
    """Return a responder that all sessions and reruns of the app share, with its connections and limits.

    Args:
        model: "provider:model", as `for_model` takes it.
        **keywords: As the provider's class takes them; equal ones give the same responder.
    """
    return for_model(model, **keywords)


def map_with_progress(responder: Responder, prompts: Iterable[Prompt], *, label: str = "Asking", **keywords: Any) -> Batch:
    """Ask many prompts at once while a progress bar grows on the page, and return the batch.

    A click that abandons the run ends the calls, at the next result that comes in.

    Args:
        responder: Who is asked.
        prompts: The prompts.
        label: Stands above the bar, before the count.
        **keywords: As `Responder.map` takes them, except `progress`.
    """
    asked = list(prompts)
    bar = st.progress(0.0, f"{label}: 0 of {len(asked)}")
    drawn = monotonic()

    def draw(progress: Progress) -> None:  # called in the thread that called `map`: the page's
        nonlocal drawn
        if monotonic() - drawn < _REDRAW and progress.done < len(asked):
            return
        drawn = monotonic()
        failed = f", {progress.failed} failed" if progress.failed else ""
        bar.progress(progress.done / len(asked), f"{label}: {progress.done} of {len(asked)}{failed}")

    try:
        return responder.map(asked, progress=draw, **keywords)
    finally:
        bar.empty()


def write_side_by_side(streams: MergedStreams, headings: Sequence[str]) -> tuple[str, ...]:
    """Show merged streams growing side by side, one column each, and return their texts.

    Args:
        streams: What `Responder.stream_map` or `merge_streams` returned; as many as there are headings.
        headings: The columns' headings.
    """
    boxes = []
    for column, heading in zip(st.columns(len(headings)), headings, strict=True):
        column.subheader(heading)
        boxes.append(column.empty())
    texts: tuple[str, ...] = ("",) * len(boxes)
    with streams:
        for latest in streams.snapshots():
            for box, before, text in zip(boxes, texts, latest, strict=False):
                if text != before:
                    box.markdown(visible_on_page(text))
            texts = latest
    for index, failure in streams.errors.items():
        boxes[index].error(public_message(failure))
    return texts
