"""A chat page in front of the chat service: `streamlit run page.py`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

import requests
import streamlit as st

log = logging.getLogger("chat")
SERVICE = os.environ.get("CHAT_SERVICE", "http://127.0.0.1:8502")


@st.cache_data(show_spinner=False)
def model() -> str:
    """Return who answers."""
    return str(requests.get(f"{SERVICE}/model", timeout=10).json())


def pieces(turns: list[dict[str, str]]) -> Iterator[str]:
    """Ask the service, and yield the answer as it comes."""
    # Leaving the block closes the connection, and the service then ends the provider's stream.
    with requests.post(f"{SERVICE}/chat", json={"turns": turns}, stream=True, timeout=(5, 60)) as response:
        response.raise_for_status()
        event = "message"
        for line in response.iter_lines():
            field, _, value = line.decode().partition(": ")
            if field == "event":
                event = value
            elif field == "data" and event == "message":
                yield json.loads(value)["piece"]
            elif field == "data" and event == "failed":
                raise RuntimeError(json.loads(value)["error"])
            elif not field:  # a ping: touching the session lets Streamlit stop here when its reader has left
                st.session_state.turns = turns


st.set_page_config(page_title="Chat", page_icon="💬")
st.title("Chat")
st.caption(f"Answers come from `{model()}`.")

turns: list[dict[str, str]] = st.session_state.setdefault("turns", [])
for turn in turns:
    st.chat_message(turn["role"]).write(turn["content"])

if question := st.chat_input("Ask something"):
    turns.append({"role": "user", "content": question})
    st.chat_message("user").write(question)
    with st.chat_message("assistant"):
        try:
            turns.append({"role": "assistant", "content": str(st.write_stream(pieces(turns)))})
        except RuntimeError as error:  # the service's sentence for its visitors
            turns.pop()  # a question without an answer is not sent along with the next one
            st.error(f"No answer: {error}")
        except requests.RequestException:
            turns.pop()
            log.exception("the chat service did not answer")  # with its address, which is nobody's business
            st.error("No answer: the chat service cannot be reached right now.")
