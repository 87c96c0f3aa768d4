"""How does each client make many calls? Every contender hands over typed text and usage for each prompt, in order.

Each is written as its own documentation teaches it, with default settings, and does the same work: connect, send
JSON, read JSON, take text and usage. `prepare` imports (not on the clock); the function that it returns builds the
client and calls.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness import Contender, Job, Outcome, Reply

MODEL = "benchmark"
API_KEY = "benchmark-key"


def responder_map(job: Job) -> Callable[[], Outcome]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    def run() -> Outcome:
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:
            batch = model.map(job.prompts(), max_workers=job.workers)
            return Outcome([Reply(r.answer.text, r.answer.usage.output_tokens) if r.ok else r.error for r in batch])

    return run


def responder_imap_unordered(job: Job) -> Callable[[], Outcome]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    def run() -> Outcome:
        replies: list[Reply | BaseException | None] = [None] * job.calls
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:
            for r in model.imap_unordered(job.prompts(), max_workers=job.workers):
                replies[r.index] = Reply(r.answer.text, r.answer.usage.output_tokens) if r.ok else r.error
        return Outcome(replies)

    return run


def responder_sequential(job: Job) -> Callable[[], Outcome]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    def run() -> Outcome:
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:
            answers = [model.answer(prompt) for prompt in job.prompts()]
        return Outcome([Reply(answer.text, answer.usage.output_tokens) for answer in answers])

    return run


def requests_threads(job: Job) -> Callable[[], Outcome]:
    import requests
    from requests.adapters import HTTPAdapter

    def run() -> Outcome:
        session = requests.Session()
        session.mount(job.url, HTTPAdapter(pool_maxsize=job.workers))

        def call(prompt: str) -> Reply:
            reply = session.post(
                f"{job.url}/v1/chat/completions",
                json={"model": MODEL, "messages": [{"role": "user", "content": prompt}]},
                headers={"Authorization": f"Bearer {API_KEY}"},
                timeout=600,
            )
            reply.raise_for_status()
            data = reply.json()
            return Reply(data["choices"][0]["message"]["content"], data["usage"]["completion_tokens"])

        with ThreadPoolExecutor(job.workers) as pool:
            return Outcome(list(pool.map(call, job.prompts())))

    return run


def openai_threads(job: Job) -> Callable[[], Outcome]:
    from openai import OpenAI

    def run() -> Outcome:
        client: Any = OpenAI(api_key=API_KEY, base_url=f"{job.url}/v1")

        def call(prompt: str) -> Reply:
            reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
            return Reply(reply.choices[0].message.content, reply.usage.completion_tokens)

        with ThreadPoolExecutor(job.workers) as pool:
            return Outcome(list(pool.map(call, job.prompts())))

    return run


def openai_async(job: Job) -> Callable[[], Outcome]:
    import asyncio

    from openai import AsyncOpenAI

    async def main() -> list[Any]:
        places = asyncio.Semaphore(job.workers)
        client: Any
        async with AsyncOpenAI(api_key=API_KEY, base_url=f"{job.url}/v1") as client:

            async def call(prompt: str) -> Reply:
                async with places:
                    messages = [{"role": "user", "content": prompt}]
                    reply = await client.chat.completions.create(model=MODEL, messages=messages)
                return Reply(reply.choices[0].message.content, reply.usage.completion_tokens)

            return await asyncio.gather(*map(call, job.prompts()))

    return lambda: Outcome(asyncio.run(main()))


def aiohttp_uvloop(job: Job) -> Callable[[], Outcome]:
    import asyncio

    import aiohttp
    import uvloop

    async def main() -> list[Any]:
        places = asyncio.Semaphore(job.workers)
        connector = aiohttp.TCPConnector(limit=job.workers)
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def call(prompt: str) -> Reply:
                body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
                async with places, session.post(f"{job.url}/v1/chat/completions", json=body) as reply:
                    reply.raise_for_status()
                    data = await reply.json()
                return Reply(data["choices"][0]["message"]["content"], data["usage"]["completion_tokens"])

            return await asyncio.gather(*map(call, job.prompts()))

    return lambda: Outcome(uvloop.new_event_loop().run_until_complete(main()))


def litellm_batch(job: Job) -> Callable[[], Outcome]:
    import litellm

    def run() -> Outcome:
        replies = litellm.batch_completion(
            model=f"openai/{MODEL}",
            messages=[[{"role": "user", "content": prompt}] for prompt in job.prompts()],
            api_key=API_KEY,
            api_base=f"{job.url}/v1",
            max_workers=job.workers,
        )
        return Outcome(
            [
                r if isinstance(r, BaseException) else Reply(r.choices[0].message.content, r.usage.completion_tokens)
                for r in replies
            ]
        )

    return run


def langchain_batch(job: Job) -> Callable[[], Outcome]:
    from langchain_openai import ChatOpenAI

    def run() -> Outcome:
        model = ChatOpenAI(model=MODEL, api_key=API_KEY, base_url=f"{job.url}/v1")
        replies = model.batch(job.prompts(), config={"max_concurrency": job.workers}, return_exceptions=True)
        return Outcome(
            [r if isinstance(r, BaseException) else Reply(r.content, r.usage_metadata["output_tokens"]) for r in replies]
        )

    return run


CONTENDERS = {
    "responder": Contender("responder map", ("responder",), responder_map),
    "responder_unordered": Contender("responder imap_unordered", ("responder",), responder_imap_unordered),
    "responder_sequential": Contender("responder, one after another", ("responder",), responder_sequential),
    "requests": Contender("requests, threads", ("requests",), requests_threads),
    "openai": Contender("openai SDK, threads", ("openai",), openai_threads),
    "openai_async": Contender("AsyncOpenAI, gather", ("openai",), openai_async),
    "aiohttp": Contender("aiohttp + uvloop, gather", ("aiohttp", "uvloop"), aiohttp_uvloop),
    "litellm": Contender("litellm.batch_completion", ("litellm",), litellm_batch),
    "langchain": Contender("LangChain batch", ("langchain_openai",), langchain_batch),
}
