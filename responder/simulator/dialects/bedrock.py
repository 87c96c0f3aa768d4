"""How does Amazon Bedrock speak? Converse, its streams of frames, and the embeddings of Titan, Nova and Cohere by InvokeModel.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and the published service model of
bedrock-runtime (read 2026-11).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken, Tool, message_tokens, pieces
from responder.simulator.reply import Event, Problem, Reply, encode, refuse, to_bytes
from responder.simulator.schemas import refused_by_anthropic, schema_in_words

from .amazon_embeddings import read_amazon, write_amazon
from .base import Call, Dialect, bearer, new_id, texts, unknown_field, whole_number
from .frames import FRAMES_TYPE, event_frame, exception_frame

_FIELDS = frozenset(
    {
        "messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelRequestFields",
        "additionalModelResponseFieldPaths", "promptVariables", "requestMetadata", "performanceConfig", "outputConfig",
        "serviceTier",
    }
)  # fmt: skip
_BLOCKS = frozenset(
    {
        "text", "image", "document", "video", "audio", "toolUse", "toolResult", "guardContent", "cachePoint", "reasoningContent",
        "citationsContent", "searchResult",
    }
)  # fmt: skip
_IMAGES = ("png", "jpeg", "gif", "webp")
_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "filter": "content_filtered",
    "stop_sequence": "stop_sequence",
}
# kind of problem -> (error, usual words)
_ERRORS = {
    "invalid": ("ValidationException", "The request is not valid."),
    "authentication": ("UnrecognizedClientException", "The security token included in the request is invalid."),
    "billing": ("AccessDeniedException", "Your account is not authorized to invoke this API operation."),
    "permission": ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    "missing_path": ("UnknownOperationException", "The requested operation is not recognized by the service."),
    "missing_model": ("ValidationException", "The provided model identifier is invalid."),
    "too_large": ("ValidationException", "Input is too long for requested model."),
    "rate": ("ThrottlingException", "Too many requests, please wait before trying again."),
    "insufficient_quota": ("ServiceQuotaExceededException", "Your request exceeds the service quota for your account."),
    "daily_quota": ("ThrottlingException", "Too many tokens per day, please wait before trying again."),
    "server": (
        "InternalServerException",
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    "overloaded": ("ServiceUnavailableException", "Bedrock is unable to process your request."),
    "timeout": ("ModelTimeoutException", "Model has timed out in processing the request. Try your request again."),
}
# Any text will do: clients send it back unchanged and may not look inside.
_SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="
_SIGNED_BY = re.compile(r"^AWS4-HMAC-SHA256 Credential=([^/,]+)/")


class Bedrock(Dialect):
    """Converse, for all models on Bedrock."""

    name: ClassVar[str] = "bedrock"
    heartbeat = event_frame("ping", {})

    # Reading --------------------------------------------------------------------------------------------------------

    def key(self, call: Call) -> str:
        """Return Bedrock's key, or the id of the key that signed; the signature itself is not checked."""
        signed = _SIGNED_BY.match(call.headers.get("authorization", ""))
        return signed[1] if signed else bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a missing or wrong key with 403."""
        key = self.key(call)
        if not key:
            raise refuse(403, "Missing Authentication Token", kind="authentication", code="MissingAuthenticationTokenException")
        if accepted is not None and key not in accepted:
            raise refuse(403, "", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request for Converse, streamed or not."""
        body = call.body
        if not call.valid_json or not isinstance(body, dict):
            raise refuse(400, "The request body is not valid JSON.", code="SerializationException")
        if name := unknown_field(body, _FIELDS):
            raise refuse(400, f"The model returned the following errors: extraneous key [{name}] is not permitted")
        system = _texts_in(body.get("system") or ())
        prompt, characters, count = _conversation(body)
        limits = body.get("inferenceConfig") or {}
        limit = whole_number(limits, "maxTokens")
        if limit is not None and limit < 1:
            raise refuse(400, f"Value '{limit}' at 'inferenceConfig.maxTokens' failed to satisfy constraint: minimum 1")
        schema = _schema(body)
        if schema is None and "JSON Schema" in system:
            schema = schema_in_words(system) or None
        thinking = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
        return Question(
            model=call.model,
            prompt=prompt,
            input_tokens=message_tokens(characters + len(system), count + bool(system)),
            stream=call.action == "stream",
            max_tokens=limit,
            stop=texts(limits.get("stopSequences")),
            schema=schema,
            tool=_tool(body),
            thinking=thinking.get("type") in ("enabled", "adaptive"),
            extra={"tier": (body.get("serviceTier") or {}).get("type")},
        )

    def check_model(self, question: Question, models: Iterable[str]) -> None:
        """Refuse a model that does not exist: with 400, as was recorded."""
        if question.model not in models:
            raise refuse(400, question.model, kind="missing_model")

    def read_embeddings(self, call: Call) -> Question:
        """Read a request to a model for embeddings."""
        return read_amazon(call)

    # Answering ------------------------------------------------------------------------------------------------------

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return Converse's answer."""
        return self._whole(question, spoken, _FINISH.get(spoken.finish, spoken.finish), self._blocks(spoken))

    def _whole(self, question: Question, spoken: Spoken, stop: str, blocks: list[dict[str, Any]]) -> Reply:
        body = {
            "metrics": {"latencyMs": 1},
            "output": {"message": {"content": blocks, "role": "assistant"}},
            "stopReason": stop,
            **self._foot(question, spoken),
        }
        return Reply(to_bytes(encode(body)), headers=self._headers())

    def _foot(self, question: Question, spoken: Spoken) -> dict[str, Any]:
        made = spoken.answer_tokens + spoken.thought_tokens
        usage = {"inputTokens": question.input_tokens, "outputTokens": made, "totalTokens": question.input_tokens + made}
        tier = question.extra["tier"]
        return {"usage": usage, **({"serviceTier": {"type": tier}} if tier else {})}

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return the events of a ConverseStream, each in a frame."""
        return self._streamed(question, spoken, _FINISH.get(spoken.finish, spoken.finish), self._blocks(spoken))

    def _streamed(self, question: Question, spoken: Spoken, stop: str, blocks: list[dict[str, Any]]) -> Reply:
        told: list[tuple[str, dict[str, Any], int]] = [("messageStart", {"role": "assistant"}, 0)]
        for index, block in enumerate(blocks):
            place = {"contentBlockIndex": index}
            if "toolUse" in block:
                start = {"toolUse": {name: block["toolUse"][name] for name in ("toolUseId", "name")}}
                told.append(("contentBlockStart", {**place, "start": start}, 0))
            told += [("contentBlockDelta", {**place, "delta": delta}, tokens) for delta, tokens in _in_pieces(block)]
            told.append(("contentBlockStop", place, 0))
        told.append(("messageStop", {"stopReason": stop}, 0))
        told.append(("metadata", {"metrics": {"latencyMs": 1}, **self._foot(question, spoken)}, 0))
        events = [(event_frame(name, payload, number), tokens) for number, (name, payload, tokens) in enumerate(told)]
        return Reply(events=events, content_type=FRAMES_TYPE, headers=self._headers())

    def _blocks(self, spoken: Spoken) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if spoken.thoughts:
            blocks.append({"reasoningContent": {"reasoningText": {"text": spoken.thoughts, "signature": _SIGNATURE}}})
        if spoken.tool is not None:
            use = {"toolUseId": new_id("tooluse_"), "name": spoken.tool.name, "input": spoken.arguments}
            blocks.append({"toolUse": use})
        elif spoken.text:
            blocks.append({"text": spoken.text})
        return blocks

    def embeddings(self, question: Question) -> Reply:
        """Return the vectors in the form of the model's family."""
        return write_amazon(question, self._headers())

    def _headers(self) -> dict[str, str]:
        return {"x-amzn-requestid": new_id("")}

    # Refusing -------------------------------------------------------------------------------------------------------

    def problem(self, problem: Problem) -> Reply:
        """Return `{"message": text}`; which error it is stands in a header."""
        name, words = _ERRORS.get(problem.kind, _ERRORS["invalid"])
        if problem.kind == "missing_model":
            message = words
        elif problem.kind == "rate" and problem.scope == "tokens" and not problem.message:
            message = "Too many tokens, please wait before trying again."
        else:
            message = problem.message or words
        status = 400 if problem.kind == "insufficient_quota" else problem.status
        headers = {
            **self._headers(),
            "x-amzn-errortype": f"{problem.code or name}:http://internal.amazon.com/coral/com.amazon.bedrock/",
        }
        return Reply(to_bytes(encode({"message": message})), status, headers, error=True)

    def blocked_prompt(self, question: Question) -> Reply:
        """Answer with the stop reason of a guardrail, and its words."""
        blocks = [{"text": "Sorry, the model cannot answer this question."}]
        make = self._streamed if question.stream else self._whole
        return make(question, Spoken(), "guardrail_intervened", blocks)

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Answer without content, or with an empty text block."""
        make = self._streamed if question.stream else self._whole
        return make(question, Spoken(), "end_turn", [{"text": ""}] if null else [])

    def stream_error(self, message: str | None) -> Event:
        """Return the frame of an exception."""
        return exception_frame("modelStreamErrorException", message or "The model returned an error."), 0

    def model_list(self, models: Iterable[str]) -> Reply:
        """Say that there is none: another service of Amazon's lists the models."""
        return self.problem(Problem(404, "missing_path"))


def _conversation(body: Mapping[str, Any]) -> tuple[str, int, int]:
    """Return the last text of the user, and how many characters and messages there are; refuse what Bedrock refuses."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refuse(400, "The value at messages is empty. Add a message and try again.")
    prompt, characters, last, uses = "", 0, "assistant", set[str]()
    for index, message in enumerate(messages):
        role, blocks = message.get("role"), message.get("content")
        if role not in ("user", "assistant"):
            raise refuse(400, f"Value '{role}' at 'messages.{index}.member.role' failed to satisfy constraint: [user, assistant]")
        if role == last:
            words = (
                "A conversation must start with a user message. Try again with a conversation that starts with a user message."
                if index == 0
                else "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
                "between user and assistant roles and try again."
            )
            raise refuse(400, words)
        last = role
        if not isinstance(blocks, list) or not blocks:
            raise refuse(400, f"The content field in the Message object at messages.{index} is empty.")
        for place, block in enumerate(blocks):
            _check_block(block, f"messages.{index}.content.{place}")
        answered = {block["toolResult"].get("toolUseId") for block in blocks if "toolResult" in block}
        if uses - answered:
            missing = ", ".join(sorted(uses - answered))
            raise refuse(400, f"Expected toolResult blocks at messages.{index}.content for the following Ids: {missing}")
        if answered - uses:
            raise refuse(400, "The number of toolResult blocks exceeds the number of toolUse blocks of previous turn.")
        uses = {block["toolUse"].get("toolUseId") for block in blocks if "toolUse" in block}
        if (uses or answered) and "toolConfig" not in body:
            raise refuse(400, "The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        text = _texts_in(blocks)
        characters += len(text)
        prompt = text if role == "user" else prompt
    return prompt, characters, len(messages)


def _check_block(block: Any, where: str) -> None:
    if not isinstance(block, dict) or len(block) != 1 or not block.keys() <= _BLOCKS:
        raise refuse(400, f"The content block at {where} must have one known field.")
    if "text" in block and not block["text"].strip():
        raise refuse(400, f"The text field in the ContentBlock object at {where} is blank. Add text to the text field.")
    if "image" in block and block["image"].get("format") not in _IMAGES:
        raise refuse(400, f"Value at '{where}.image.format' failed to satisfy constraint: Member must be one of {_IMAGES}")


def _texts_in(blocks: Iterable[Any]) -> str:
    return "".join(block.get("text") or "" for block in blocks if isinstance(block, dict))


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("outputConfig") or {}).get("textFormat")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    text = ((wanted.get("structure") or {}).get("jsonSchema") or {}).get("schema")
    try:
        schema = json.loads(text or "")
    except (TypeError, ValueError):
        raise refuse(400, "outputConfig.textFormat.structure.jsonSchema.schema: the schema must be JSON in a text.") from None
    if reason := refused_by_anthropic(schema):
        raise refuse(400, f"output_config.format.schema: {reason}")
    return schema if isinstance(schema, dict) else None


def _tool(body: Mapping[str, Any]) -> Tool | None:
    settings = body.get("toolConfig") or {}
    tools = {tool["toolSpec"]["name"]: tool["toolSpec"] for tool in settings.get("tools") or () if "toolSpec" in tool}
    if "toolConfig" in body and not tools:
        raise refuse(400, "Value at 'toolConfig.tools' failed to satisfy constraint: Member must have a length of at least 1")
    choice = settings.get("toolChoice") or {}
    if "any" not in choice and "tool" not in choice:
        return None
    name = next(iter(tools)) if "any" in choice else choice["tool"].get("name")
    if name not in tools:
        raise refuse(400, f"The toolChoice names the tool {name}, which is not in tools.")
    return Tool(name, tools[name]["inputSchema"].get("json") or {"type": "object"})


def _in_pieces(block: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    if "text" in block:
        return [({"text": piece}, 1) for piece in pieces(block["text"]) or ("",)]
    if "toolUse" in block:
        return [({"toolUse": {"input": piece}}, 1) for piece in pieces(encode(block["toolUse"]["input"]))]
    thought = block["reasoningContent"]["reasoningText"]
    told = [({"reasoningContent": {"text": piece}}, 1) for piece in pieces(thought["text"])]
    return [*told, ({"reasoningContent": {"signature": thought["signature"]}}, 0)]
