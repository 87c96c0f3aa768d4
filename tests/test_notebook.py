"""Values that show themselves in a notebook, a bar that is the notebook's, and results that outlive an interrupt."""

from __future__ import annotations

import gc
import html
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from shell import environment

import responder
from responder import Answer, Answered, BadRequestError, Batch, ConfigurationError, Failed, OpenAIResponder, Usage, parallel_map
from responder.simulator import Fault, Simulator

EVIL = "<script>alert(1)</script> ![x](https://evil.example/?q=1) [a](javascript:b) | `c` \u202e\x1b[2J ```\n# title"


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"))


def shown(value: Any) -> tuple[str, str]:
    """Return a value as HTML and as Markdown."""
    return value._repr_html_(), value._repr_markdown_()


def evil_batch() -> Batch:
    """Return an answer and an error full of what must not act, and more rows than are shown."""
    many = [Answered(index, f"prompt {index}", Answer("fine")) for index in range(2, 50)]
    return Batch([Answered(0, EVIL, Answer(EVIL)), Failed(1, EVIL, None, BadRequestError(EVIL, status=400)), *many])


@pytest.mark.parametrize("value", [Answer(EVIL, model=EVIL), evil_batch()], ids=["answer", "batch"])
def test_a_models_text_does_nothing_on_the_page(value: Any) -> None:
    """No tag, no picture, no link, no steering character, in HTML as in Markdown."""
    page, markdown = shown(value)
    assert "<script" not in page
    assert not {"\u202e", "\x1b"} & set(page + markdown)
    outside = re.sub(r"(?s)(?m)^(`{3,})text\n.*?\n\1$", "", markdown)  # a block of code shows what is in it
    assert not re.search(r"(?<!\\)[<!\[`]", outside)


def test_a_block_of_code_ends_where_the_text_ends() -> None:
    """However many backticks a text holds."""
    markdown = Answer("```\n````\nstill the text")._repr_markdown_()
    assert markdown.startswith("`````text\n```\n````\nstill the text\n`````\n")


def test_an_answer_shows_its_text_and_its_account() -> None:
    """The model, why it stopped, the tokens and the time."""
    page, markdown = shown(Answer("a <b> c", "length", Usage(3, 5, known=True), "m-1", elapsed=1.5))
    assert "a &lt;b&gt; c" in page
    for one in (html.unescape(page), markdown.replace("\\", "")):
        assert "m-1: length, 3 tokens in, 5 out, 1.50 s" in one


def test_a_batch_shows_its_first_rows() -> None:
    """And says how many more there are."""
    page, markdown = shown(evil_batch())
    assert page.count("<tr>") == 21
    assert "30 more" in page
    assert "30 more" in markdown
    assert "Batch(50 results, 1 failed)" in page


def test_any_functions_batch_shows_itself() -> None:
    """Items and values as Python writes them."""
    page, _ = shown(parallel_map(lambda number: {"half": number / 2}, [1]))
    assert "{&#x27;half&#x27;: 0.5}" in page


def test_runs_summaries_and_streams_show_themselves(gpt: OpenAIResponder) -> None:
    """A stream shows what came so far, and showing it takes no piece."""
    with gpt.imap(["a"]) as run:
        list(run)
        assert "1 prompts: 1 answered" in run._repr_html_()
    summary = gpt.map(["a"]).summary()
    assert all("1 answered" in one for one in shown(summary))
    assert all("0 prompts" in one for one in shown(gpt.stream_map(["a"])))
    stream = gpt.stream("Hi")
    assert "not begun" in stream._repr_html_()
    text = "".join(stream)
    assert all("complete" in one and text.split(":", maxsplit=1)[0] in one for one in shown(stream))


def test_a_report_shows_itself_and_can_do_nothing(gpt: OpenAIResponder, tmp_path: Any) -> None:
    """In a frame of its own, the same page as in the file."""
    page = gpt.map(["a"]).report(tmp_path / "run.html")
    assert page.html == (tmp_path / "run.html").read_text(encoding="utf-8")
    frame = page._repr_html_()
    assert frame.startswith('<iframe sandbox="" srcdoc="')
    assert html.unescape(frame.split('srcdoc="')[1].split('"')[0]) == page.html
    assert "Run report" in gpt.map(["a"]).report().html


# --- The last batch ---------------------------------------------------------------------------------------------------


def test_a_program_keeps_no_results_for_nobody(gpt: OpenAIResponder) -> None:
    """`last_batch` finds what something else holds, and no more than that."""
    batch = gpt.map(["a"])
    assert responder.last_batch() is batch
    del batch
    gc.collect()
    with pytest.raises(ConfigurationError, match="no last batch"):
        responder.last_batch()


def test_what_an_interrupt_left_is_the_last_batch(gpt: OpenAIResponder) -> None:
    """Also outside of a notebook, as long as the error is at hand."""

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        gpt.map(["a", "b"], max_workers=1, on_result=stop)
    assert responder.last_batch() is caught.value.batch  # type: ignore[attr-defined]  # the run that it ended put it there


def test_a_python_shell_keeps_the_last_batch(simulator: Simulator) -> None:
    """Whoever types goes on from it."""
    lines = "import responder\nresponder.OpenAIResponder('m').map(['a']) and None\nprint(responder.last_batch().texts())\n"
    env = environment(OPENAI_API_KEY="test-key", OPENAI_BASE_URL=simulator.base_url("openai"))
    done = subprocess.run([sys.executable, "-i", "-q"], input=lines, env=env, capture_output=True, text=True, check=False)
    assert "Simulated answer to: a" in done.stdout


# --- A real kernel ----------------------------------------------------------------------------------------------------


class Kernel:
    """A notebook's kernel, as Jupyter runs it."""

    def __init__(self, manager: KernelManager) -> None:
        self._manager = manager
        self._client = manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def begin(self, code: str) -> str:
        """Start a cell."""
        return self._client.execute(code)  # type: ignore[no-any-return]  # what the fixture or the kernel gives

    def end(self, cell: str) -> list[dict[str, Any]]:
        """Return all that a cell has shown."""
        found = []
        ends = time.monotonic() + 60
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=max(0.0, ends - time.monotonic()))
            except Empty:
                raise AssertionError(f"the cell did not end; it has shown {found}") from None
            if message["parent_header"].get("msg_id") != cell:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
            found.append(message)

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run a cell."""
        return self.end(self.begin(code))

    def interrupt(self) -> None:
        """Press the stop button."""
        self._manager.interrupt_kernel()

    def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(simulator: Simulator) -> Iterator[Kernel]:
    """Start a kernel that asks the simulator."""
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(
        env=environment(
            OPENAI_API_KEY="test-key", OPENAI_BASE_URL=simulator.base_url("openai"), PYDEVD_DISABLE_FILE_VALIDATION="1"
        )
    )
    found = Kernel(manager)
    yield found
    found.close()


def test_in_a_notebook(kernel: Kernel, simulator: Simulator) -> None:
    """The bar is the notebook's own, values show themselves, and after the stop button the results are at hand."""
    shown = kernel.run("import responder\ngpt = responder.OpenAIResponder('m')\nbatch = gpt.map(['a', 'b'])")
    displayed = [message["content"]["data"] for message in shown if message["msg_type"] == "display_data"]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in displayed), shown

    (result,) = [message for message in kernel.run("batch") if message["msg_type"] == "execute_result"]
    assert "Simulated answer to: a" in result["content"]["data"]["text/html"]
    assert "text/markdown" in result["content"]["data"]

    simulator.script_for("slow", Fault.silence())
    cell = kernel.begin("gpt.map(['c', 'd', 'slow'], max_workers=1, on_result=lambda result: print(result.index))")
    assert simulator.wait_for(5)
    kernel.interrupt()
    (failure,) = [message["content"] for message in kernel.end(cell) if message["msg_type"] == "error"]
    assert failure["ename"] == "KeyboardInterrupt"
    if sys.version_info >= (3, 11):  # the first that has notes
        assert any("responder.last_batch()" in line for line in failure["traceback"])
    (result,) = [
        message
        for message in kernel.run("[result.text for result in responder.last_batch() if result.ok]")
        if "data" in message["content"]
    ]
    assert result["content"]["data"]["text/plain"] == "['Simulated answer to: c', 'Simulated answer to: d']"
