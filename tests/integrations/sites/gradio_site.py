"""A Gradio page with two boxes; prints its port, and runs until its input ends."""

from __future__ import annotations

import sys

import gradio as gr

from responder import OpenAIResponder
from responder.integrations.gradio import side_by_side

gpt = OpenAIResponder("m", api_key="test-key", max_retries=0)

with gr.Blocks(analytics_enabled=False) as blocks:
    boxes = [gr.Textbox(), gr.Textbox()]
    ask = side_by_side(lambda text: gpt.stream_map([text, text]), boxes=2)
    gr.Button().click(ask, gr.Textbox(), boxes, concurrency_limit=None)

if __name__ == "__main__":
    blocks.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, inbrowser=False)
    print(blocks.server_port, flush=True)
    sys.stdin.read()
