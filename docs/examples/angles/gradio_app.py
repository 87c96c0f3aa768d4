"""One question, four angles, four answers that grow side by side: with Gradio."""

from __future__ import annotations

import os

import gradio as gr
from angles import ANGLES, prompts

from responder import MergedStreams, Timeout, for_model
from responder.integrations.gradio import side_by_side

MODEL = os.environ.get("RESPONDER_MODEL", "gemini:gemini-2.5-flash")
# A person waits: long answers are fine, silence is not.
model = for_model(MODEL, timeout=Timeout(total=300, first=30, gap=30))


def ask(question: str) -> MergedStreams:
    """Ask from every angle at once."""
    if not question.strip():
        raise gr.Error("Type a question first.", print_exception=False)
    return model.stream_map(prompts(question))


with gr.Blocks(title="Four angles", analytics_enabled=False) as page:
    gr.Markdown(f"# Four angles\nOne question, asked from four angles at once. Answers come from `{MODEL}`.")
    with gr.Row(equal_height=True):
        question = gr.Textbox(
            "Why did the Roman Republic fall?", show_label=False, container=False, scale=8, autofocus=True, elem_id="question"
        )
        button = gr.Button("Ask", variant="primary", min_width=90, elem_id="ask")
        stop = gr.Button("Stop", min_width=90, elem_id="stop")
    with gr.Row(equal_height=False):
        boxes = []
        for name in ANGLES:
            with gr.Column(min_width=240):
                gr.Markdown(f"### {name}")
                boxes.append(gr.Markdown(container=True, min_height=420, elem_classes="answer"))

    asking = gr.on(
        [button.click, question.submit],
        side_by_side(ask, boxes=len(boxes)),
        question,
        boxes,
        concurrency_limit=None,  # Gradio's default is one visitor at a time
        show_progress="hidden",
    )
    stop.click(None, cancels=asking)

STYLE = """
.gradio-container { max-width: 78rem !important }
.block.answer { padding: 1rem 1.2rem; border: 1px solid var(--border-color-primary) }
footer { display: none !important }
"""

if __name__ == "__main__":
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # no fonts from the internet
    page.launch(theme=theme, css=STYLE)
