"""The chat: Gemini on Vertex AI behind a FastAPI service, and a Streamlit page in front of it, in a browser."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apps.browser import Window
from apps.conftest import EXAMPLES, LEFT, LONG, App, free_port, run, wait_until_served
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from shell import environment

from responder.simulator import Fault, Simulator

INPUT = "textarea[data-testid=stChatInputTextArea]"
MESSAGES = "[data-testid=stChatMessage]"


@pytest.fixture
def chat(launch: Callable[[str], App]) -> App:
    """The page and its service."""
    return launch("streamlit")


def ask(window: Window, question: str) -> None:
    """Type a question and send it."""
    window.type(INPUT, question)


def wait_for_growth(window: Window, question: str) -> None:
    """Wait until the last message answers a question, and then for more of it."""
    window.wait(lambda: f"Simulated answer to: {question}" in "".join(window.texts(MESSAGES)[-1:]), "the answer's start")
    before = window.texts(MESSAGES)[-1]
    window.wait(lambda: len(window.texts(MESSAGES)[-1]) > len(before), "the answer's growth")


def test_an_answer_grows_while_gemini_writes_it(chat: App) -> None:
    """Text grows on the page before the provider has ended."""
    window = chat.open("/")
    ask(window, f"What is tea, {LONG}?")
    wait_for_growth(window, f"What is tea, {LONG}?")
    assert chat.provider.in_flight == 1
    assert "streamGenerateContent" in chat.provider.received[0].path


@pytest.mark.parametrize("fault", [None, Fault.stall_stream(8), Fault.silence()], ids=["talking", "pausing", "silent"])
def test_a_closed_tab_frees_the_provider(chat: App, fault: Fault | None) -> None:
    """Closing the tab ends the answer, through page and service, whatever the provider does at that time."""
    chat.provider.always(fault)
    window = chat.open("/")
    ask(window, f"What is salt, {LONG}?")
    if fault is None:
        wait_for_growth(window, f"What is salt, {LONG}?")
    assert chat.provider.wait_for(1)
    window.close()
    assert chat.provider.wait_until_idle(LEFT)
    assert len(chat.provider.received) == 1


def test_the_next_question_carries_the_conversation(chat: App, picture: Callable[[Window, str], None]) -> None:
    """The model sees what was said before; the page shows all of it."""
    window = chat.open("/")
    ask(window, "What is bread?")
    window.wait(lambda: len(window.texts(MESSAGES)) == 2, "an answer")
    answer = " ".join(run.essay("What is bread?").split())
    window.wait(lambda: " ".join(window.texts(MESSAGES)[1].split()).endswith(answer), "the whole answer")
    chat.provider.script(Fault.stall_stream(70))
    ask(window, "And who baked the first one?")
    window.wait(lambda: len(window.texts(MESSAGES)) == 4 and len(window.texts(MESSAGES)[3]) > 150, "the second answer")
    picture(window, "chat")
    first, second = chat.provider.received
    assert [part["role"] for part in first.body["contents"]] == ["user"]
    assert [part["role"] for part in second.body["contents"]] == ["user", "model", "user"]
    assert second.body["contents"][1]["parts"][0]["text"] == run.essay("What is bread?")


def test_a_failure_is_told_and_the_chat_goes_on(chat: App) -> None:
    """The page says why there is no answer; the question that failed is not sent along with the next one."""
    chat.provider.script(Fault.status(400, "not today"))
    window = chat.open("/")
    ask(window, "What is honey?")
    window.wait(lambda: any("could not be answered" in text for text in window.texts("[data-testid=stAlert]")), "the failure")
    ask(window, "What is ice?")
    wait_for_growth(window, "What is ice?")
    assert [len(call.body["contents"]) for call in chat.provider.received] == [1, 1]


def test_two_users_are_served_at_once(chat: App) -> None:
    """Two windows fill at the same time, each with its own conversation."""
    questions = [f"What is glass, {LONG}?", f"What is paper, {LONG}?"]
    windows = [chat.open("/") for _ in questions]
    for window, question in zip(windows, questions, strict=True):
        ask(window, question)
    for window, question in zip(windows, questions, strict=True):
        wait_for_growth(window, question)
    assert chat.provider.in_flight == 2


def test_the_page_needs_nothing_from_elsewhere(chat: App) -> None:
    """Fonts, scripts and styles all come from the application's own server."""
    window = chat.open("/")
    window.wait_for(INPUT)
    assert [url for url in window.loaded() if not url.startswith((chat.url, "data:", "blob:"))] == []


@pytest.fixture
def vertex_service(provider: Simulator, tmp_path: Path) -> Iterator[int]:
    """The service as it is without RESPONDER_MODEL: Vertex AI, with a service account; give its port."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "robot@my-project.iam.gserviceaccount.com",
        "token_uri": f"{provider.url}/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    env = environment(
        GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "account.json"),
        GOOGLE_VERTEX_BASE_URL=provider.base_url("vertex"),
        RESPONDER_MODEL="vertex:simulated",
    )
    port = free_port()
    service = run.EXAMPLES["chat"].commands(port - 1)[0]
    program = subprocess.Popen(service, cwd=EXAMPLES / "chat", env=env)
    try:
        wait_until_served(f"http://127.0.0.1:{port}/model")
        yield port
    finally:
        run.stop([program])


def test_the_service_streams_gemini_on_vertex(vertex_service: int, provider: Simulator) -> None:
    """A service account's token and project are found, and pieces come out before the provider has ended."""
    connection = http.client.HTTPConnection("127.0.0.1", vertex_service, timeout=30)
    body = json.dumps({"turns": [{"role": "user", "content": f"What is moss, {LONG}?"}]})
    connection.request("POST", "/chat", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    pieces = (json.loads(line[6:])["piece"] for line in response if line.startswith(b"data: "))
    text = "".join(next(pieces) for _ in range(12))
    assert text.startswith("Simulated answer to: What is moss")
    assert provider.in_flight == 1
    response.close()
    connection.close()
    assert provider.wait_until_idle(LEFT)
    token, call = provider.received
    assert (token.path, call.outcome) == ("/token", "client left")
    assert call.path.startswith("/v1/projects/my-project/locations/global/publishers/google/models/simulated:stream")
