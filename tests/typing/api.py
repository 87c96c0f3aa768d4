"""The public API as a user writes it. Read by `docs/typecheck.py` (mypy in its strict mode, and pyright), and never run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import requests

from responder import (
    Answer,
    AnthropicResponder,
    APIError,
    Audio,
    AzureOpenAIResponder,
    Batch,
    BatchError,
    CancelToken,
    File,
    GeminiResponder,
    Image,
    ItemBatch,
    Message,
    OpenAIResponder,
    Progress,
    RateLimitError,
    Responder,
    Result,
    Timeout,
    Tool,
    ToolCall,
    Usage,
    VertexAIResponder,
    Video,
    for_model,
    parallel_imap,
    parallel_imap_unordered,
    parallel_map,
    system,
    user,
)


def token() -> str:
    return "token"


def make() -> Sequence[Responder]:
    return [
        OpenAIResponder("m", temperature=0.5, max_tokens=100, stop="END", seed=1, extra={"user": "me"}),
        OpenAIResponder("m", api_key=token, base_url="http://h/v1", system="Be brief.", timeout=Timeout(total=60, connect=5)),
        OpenAIResponder("m", timeout=30, deadline=60.0, max_retries=0, session=requests.Session(), extra_headers={"X": "y"}),
        AzureOpenAIResponder("d", endpoint="https://x.openai.azure.com", api_version="2024-10-21"),
        GeminiResponder("m"),
        VertexAIResponder("m", project="p", location="us-central1", credentials=token),
        AnthropicResponder("m", tools=[Tool("f", "Adds.", {"type": "object"})]),
        for_model("groq:llama", temperature=0),
    ]


def one(gpt: Responder) -> str:
    answer: Answer = gpt.answer("Hi", deadline=10, cancel=CancelToken(), temperature=0.1)
    gpt.answer(user("What is this?", Image(url="https://h/a.png")))
    gpt.answer(user("Look", Image("a.png"), Audio(data=b"x"), Video(file_id="f"), File("https://h/a.pdf")))
    print([part.read() for part in gpt.answer("Draw").media])
    print(gpt.upload("a.pdf", deadline=30).file_id)
    gpt.answer({"role": "user", "content": "Hi"})
    print([message.text for message in gpt.answer("Hi", tools=[token, Tool("f")], max_turns=3).messages])
    gpt.map(["Hi"], tools=[token], max_turns=3)
    gpt.answer([system("Be brief."), {"role": "user", "content": "Hi"}, Message("assistant", "Yes?")])
    usage: Usage = answer.usage
    calls: tuple[ToolCall, ...] = answer.tool_calls
    total: int = usage.input_tokens + usage.output_tokens
    request_id: str | None = answer.request_id
    truncated: bool = answer.truncated
    return f"{answer.text} {total} {request_id} {truncated} {calls} {answer.finish_reason} {answer.elapsed}"


@dataclass
class Invoice:
    total: float


def typed(gpt: Responder, texts: list[str]) -> list[Invoice]:
    one: Invoice = gpt.answer("Read this", schema=Invoice).parsed
    lists: list[list[Invoice]] = gpt.map(texts, schema=list[Invoice], reasks=2).parsed()
    for result in gpt.imap(texts, schema=Invoice):
        if result.ok:
            total: float = result.parsed.total + result.answer.parsed.total + one.total
            print(total)
    gpt.answer("Which?", schema=Literal["a", "b"]).parsed.upper()
    gpt.answer("Which?", schema=int | None)
    gpt.answer("Which?", schema={"type": "object"}).parsed["name"].upper()
    OpenAIResponder("m", schema=Invoice).answer("Hi", schema=None)
    print(lists)
    return gpt.map(texts, schema=Invoice).parsed()


def many(gpt: Responder, prompts: list[str]) -> list[str]:
    batch: Batch = gpt.map(prompts, max_workers=32, progress=True, on_error="collect", max_errors=5, run_deadline=60)
    for result in batch:
        answer: Answer | None = result.answer
        error: Exception | None = result.error
        print(result.index, result.prompt, result.ok, answer, error, result.attempts, result.elapsed, result.waited)
    first: Result = batch[0]
    some: Sequence[Result] = batch[1:3]
    failures: list[Result] = batch.failures()
    answers: list[Answer] = batch.answers()
    print(first.unwrap().text, some, failures, answers, batch.usage.total_tokens, batch.summary().p95)
    return batch.texts()


def lazily(gpt: Responder, prompts: Iterator[str]) -> Iterator[str]:
    with gpt.imap(prompts, max_workers=4, on_result=print) as run:
        for result in run:
            yield result.unwrap().text
    for result in gpt.imap_unordered(["a", "b"]):
        yield result.unwrap().text


def shown(progress: Progress) -> None:
    print(progress.done, progress.total)


def anything() -> list[int]:
    batch: ItemBatch[str, int] = parallel_map(len, ["a", "bb"], max_workers=2, progress=shown)
    for result in parallel_imap(len, ["a"]):
        value: int | None = result.value
        print(result.item.upper(), value)
    for result in parallel_imap_unordered(len, ["a"]):
        print(result.unwrap() + 1)
    return batch.values()


def caught(gpt: Responder) -> None:
    try:
        gpt.map(["Hi"]).answers()
    except BatchError as error:
        print(len(error.results))
    except RateLimitError as error:
        seconds: float | None = error.retry_after
        print(seconds, error.status, error.body)
    except APIError as error:
        print(error.provider, error.model, error.request_id, error.attempts, error.retryable)
