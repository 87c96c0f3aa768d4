"""How is a host that speaks OpenAI's dialect a class? From its line in `hosts.py`; here stands what no column can say."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping
from typing import Any, ClassVar

from responder.call.batch_form import BatchForm
from responder.providers.hosts import HOSTS, Host
from responder.providers.openai import OpenAIResponder
from responder.providers.openai_batches import GroqBatches, MistralBatches, TogetherBatches, XAIBatches
from responder.providers.openai_reading import content_of
from responder.providers.urls import in_host
from responder.values.errors import ConfigurationError
from responder.values.messages import Message, Opaque, Part, Text, ToolCall
from responder.values.options import Options
from responder.values.reading import whole


class CompatibleResponder(OpenAIResponder):
    """Any server that speaks OpenAI's dialect: give its `base_url`, and an `api_key` if it needs one.

    A subclass with `host="name"` is the host of that line in the table.
    """

    provider = "compatible"
    base_url = ""
    base_url_variables: ClassVar[tuple[str, ...]] = ()
    key_variables: ClassVar[tuple[str, ...]] = ()
    key_required = False
    max_tokens_field = "max_tokens"
    default_api = "chat"  # some hosts have Responses, by model: never assumed, but taken with `api="responses"`

    _host: ClassVar[Host | None] = None

    def __init_subclass__(cls, host: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if host is None:
            return
        line = HOSTS[host]
        cls._host = line
        cls.provider, cls.base_url, cls.base_url_variables = line.name, line.base_url, line.base_url_variables
        cls.key_variables, cls.key_required = line.keys, line.key_required
        cls.max_tokens_field, cls.stream_options, cls.takes_schemas = (
            line.max_tokens_field,
            line.stream_options,
            line.takes_schemas,
        )
        cls.returned, cls.returned_with_calls = line.returned, line.returned_with_calls
        cls.__doc__ = cls.__doc__ or f"{line.title}. {line.docs}"

    def _base_url_of_environment(self) -> str | None:
        found = super()._base_url_of_environment()
        line = self._host
        if found is not None or line is None or not line.variables or "{" not in type(self).base_url:
            return found
        values = {name: _host_name(os.environ.get(name, "")) for name in line.variables}
        missing = [name for name, value in values.items() if not value]
        if missing:
            raise ConfigurationError(
                f"{type(self).__name__} needs the URL of your account: export {missing[0]}=..., or pass base_url= "
                f"({line.base_url} with it filled in)"
            )
        return line.base_url.format_map({name: in_host(value, name) for name, value in values.items()})

    takes_uploads = False
    takes_cache_lifetime = False
    batches: ClassVar[type[BatchForm] | None] = None
    largest_request = None


def _host_name(value: str) -> str:
    """Return the value of a variable as a part of a URL; Databricks' own tools write `https://` before the host."""
    return value.strip().removeprefix("https://").rstrip("/")


class GroqResponder(CompatibleResponder, host="groq"):
    """Groq. https://console.groq.com/docs/api-reference"""

    batches = GroqBatches


class MistralResponder(CompatibleResponder, host="mistral"):
    """Mistral. https://docs.mistral.ai/api"""

    dimensions_field = "output_dimension"
    batches = MistralBatches

    def chat_payload(self, messages: tuple[Any, ...], options: Options) -> dict[str, Any]:
        payload = super().chat_payload(messages, options)
        if "seed" in payload:
            payload["random_seed"] = payload.pop("seed")
        if payload.get("tool_choice") == "required":
            payload["tool_choice"] = "any"
        return payload

    def _said_again(self, message: Mapping[str, Any], text: str, calls: tuple[ToolCall, ...]) -> tuple[Part, ...]:
        thoughts = whole(content_of(message)[1])
        again = (Opaque(self.provider, {"thinking": thoughts}), *((Text(text),) if text else ()), *calls)
        return again if thoughts else ()

    def messages_on_the_wire(self, message: Message) -> list[dict[str, Any]]:
        wire = super().messages_on_the_wire(message)
        for built in wire:
            thoughts = built.pop("thinking", None)
            if thoughts is not None:
                said = built.get("content") or []
                parts = [{"type": "text", "text": said}] if isinstance(said, str) else said
                built["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": thoughts}]}, *parts]
        return wire


class DeepSeekResponder(CompatibleResponder, host="deepseek"):
    """DeepSeek. https://api-docs.deepseek.com"""


class OpenRouterResponder(CompatibleResponder, host="openrouter"):
    """OpenRouter. https://openrouter.ai/docs/api-reference"""


class TogetherResponder(CompatibleResponder, host="together"):
    """Together AI. https://docs.together.ai/reference"""

    batches = TogetherBatches


class FireworksResponder(CompatibleResponder, host="fireworks"):
    """Fireworks AI. https://docs.fireworks.ai/api-reference"""


class XAIResponder(CompatibleResponder, host="xai"):
    """xAI. https://docs.x.ai/docs/api-reference"""

    batches = XAIBatches


class CerebrasResponder(CompatibleResponder, host="cerebras"):
    """Cerebras. https://inference-docs.cerebras.ai/api-reference"""


class HuggingFaceResponder(CompatibleResponder, host="huggingface"):
    """Hugging Face's router to many hosts. https://huggingface.co/docs/inference-providers"""


class ZAIResponder(CompatibleResponder, host="zai"):
    """Z.ai. https://docs.z.ai/api-reference"""


class VLLMResponder(CompatibleResponder, host="vllm"):
    """A vLLM server. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"""


class LMStudioResponder(CompatibleResponder, host="lmstudio"):
    """LM Studio on this machine. https://lmstudio.ai/docs/app/api"""


class LlamaCppResponder(CompatibleResponder, host="llamacpp"):
    """A llama.cpp server. https://github.com/ggml-org/llama.cpp/tree/master/tools/server"""


def _class_of(line: Host) -> type[CompatibleResponder]:
    """Return the class of a host: the one above, or one that is made from its line alone."""
    for kind in CompatibleResponder.__subclasses__():
        if kind._host is line:
            return kind
    made: type[CompatibleResponder] = types.new_class(
        line.class_name, (CompatibleResponder,), {"host": line.name}, lambda names: names.update(__module__=__name__)
    )
    globals()[line.class_name] = made  # where pickle looks for it
    return made


HOST_CLASSES: Mapping[str, type[CompatibleResponder]] = {name: _class_of(line) for name, line in HOSTS.items()}
"""The class of each host's name."""
