"""What a type checker has to refuse. Read by `docs/typecheck.py`, and never run: each line that ends so is an error.

pyright does not take a union apart by the truth of an attribute, and lets what stands behind `result.ok` pass.
"""

from __future__ import annotations

from responder import AzureOpenAIResponder, Batch, OpenAIResponder, VertexAIResponder, for_model

gpt = OpenAIResponder("m", temperature=0.5)
OpenAIResponder("m", temprature=0.5)  # wrong
OpenAIResponder("m", temperature="hot")  # wrong
AzureOpenAIResponder("m", endpoint="https://x", timeuot=3)  # wrong
VertexAIResponder("m", projekt="p")  # wrong
for_model("openai:m", timeuot=3)  # wrong
gpt.answer("Hi", temprature=0)  # wrong
gpt.stream("Hi", max_tokens="many")  # wrong
gpt.map(["Hi"], temprature=0)  # wrong
gpt.map(["Hi"], max_workers="all")  # wrong
gpt.imap(["Hi"], max_wokers=3)  # wrong
gpt.imap_unordered(["Hi"], on_error="ignore")  # wrong
gpt.stream_map(["Hi"], budget="little")  # wrong
gpt.answer("Hi", schema=3)  # wrong
gpt.map(["Hi"], reasks="often")  # wrong


class Invoice:
    total: float


print(gpt.answer("Hi", schema=Invoice).parsed.totel)  # wrong
text: list[str] = gpt.map(["Hi"], schema=Invoice).parsed()  # wrong


def read(batch: Batch) -> None:
    for result in batch:
        print(result.answer.text)  # wrong for mypy
        if result.ok:
            print(result.answer.text, result.text.upper())
            print(result.error.args)  # wrong for mypy
        else:
            print(result.error.args, result.text.upper())
            print(result.answer.text)  # wrong for mypy
