"""The code of the documentation's framework pages, run as a user would paste it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from responder.simulator import Simulator

_DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Make the simulator the provider of `openai:`."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    return simulator


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    found = re.findall(r"^```python\n(.*?)^```$", (_DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    return found


def run(page: str, *places: int) -> dict[str, Any]:
    """Run the blocks of a page from top to bottom (or those at these places), as one module."""
    names: dict[str, Any] = {"__name__": "page"}
    found = blocks(page)
    exec(compile("\n".join(found[place] for place in places) if places else "\n".join(found), page, "exec"), names)
    return names


def test_the_flask_page_streams() -> None:
    """Both views answer with events."""
    client = run("flask.md")["app"].test_client()
    assert b"Simulated" not in client.get("/ask?question=Why").data[:20]
    assert client.get("/ask?question=Why").data.count(b'"piece"') == 6
    assert b'{"index": 1, "done": true, "error": null' in client.get("/angles?question=Why").data


def test_the_pandas_page_fills_its_columns(provider: Simulator) -> None:
    """Equal questions are asked once, the missing one is not."""
    names = run("pandas.md", 0, 2)
    frame, both = names["frame"], names["both"]
    assert list(frame["answer"]) == ["Simulated answer to: What is judo?", None, "Simulated answer to: What is judo?"]
    assert both["text"].iloc[0] == "Simulated answer to: Answer in French: What is judo?"
    assert len(provider.received) == 2


def test_the_queues_page_answers_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tasks are registered, and the plain function answers."""
    monkeypatch.chdir(tmp_path)
    assert callable(run("queues.md", 0, 1)["summarise_with_rq"])
    assert [result["index"] for result in run("queues.md", 3)["results"]] == [0, 1, 2]
    names = run("queues.md", 2)
    names["huey"].immediate = True
    assert names["summarise_with_huey"](["a", "b"])[1]["text"] == "Simulated answer to: Summarise: b"


def test_the_gradio_chat_answers() -> None:
    """The generator yields the growing text, with Gradio's history before the question."""
    code = blocks("gradio.md")
    names: dict[str, Any] = {}
    exec(re.search(r"^def chat.*?^$", code[1], re.DOTALL | re.MULTILINE)[0], names)  # type: ignore[index]  # the page has a chat()
    exec("from responder import OpenAIResponder\ngpt = OpenAIResponder('m')", names)
    history = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}], "metadata": None, "options": None},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "metadata": None, "options": None},
    ]
    *_, last = names["chat"]("Why?", history)
    assert last == "Simulated answer to: Why?"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_the_streamlit_pages_run() -> None:
    """The chat and the side-by-side page show answers."""
    chat, side_by_side, _ = (AppTest.from_string(block, default_timeout=30).run() for block in blocks("streamlit.md"))
    chat.chat_input[0].set_value("Why?").run()
    assert [chat.markdown[0].value, chat.caption[0].value] == ["Simulated answer to: Why?", "7 tokens"]
    side_by_side.text_input[0].set_value("Why?").run()
    assert [heading.value for heading in side_by_side.subheader] == ["depth", "breadth", "structure", "time"]
    assert side_by_side.markdown[0].value == "Simulated answer to: Why? Look at its depth."
    assert not chat.exception
    assert not side_by_side.exception
