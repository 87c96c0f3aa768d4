"""The hosts that speak OpenAI's dialect: what each of them does differently, and nothing else.

Base URLs and key names: each host's API reference (read 2026-08).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from responder.providers.openai import OpenAIResponder
from responder.values.options import Options


class CompatibleResponder(OpenAIResponder):
    """Any server that speaks OpenAI's dialect: give its `base_url`, and an `api_key` if it wants one."""

    provider = "compatible"
    base_url = ""
    base_url_variables: ClassVar[tuple[str, ...]] = ()
    key_variables: ClassVar[tuple[str, ...]] = ()
    key_required = False
    max_tokens_field = "max_tokens"


class GroqResponder(CompatibleResponder):
    """Groq. https://console.groq.com/docs/api-reference"""

    provider, base_url = "groq", "https://api.groq.com/openai/v1"
    key_variables, key_required = ("GROQ_API_KEY",), True


class MistralResponder(CompatibleResponder):
    """Mistral. https://docs.mistral.ai/api"""

    provider, base_url = "mistral", "https://api.mistral.ai/v1"
    key_variables, key_required = ("MISTRAL_API_KEY",), True
    stream_options = None  # refused with 422 in the past, and not needed: the last chunk always has the usage

    def payload(self, messages: tuple[Any, ...], options: Options) -> dict[str, Any]:
        payload = super().payload(messages, options)
        if "seed" in payload:
            payload["random_seed"] = payload.pop("seed")
        if payload.get("tool_choice") == "required":
            payload["tool_choice"] = "any"
        return payload


class DeepSeekResponder(CompatibleResponder):
    """DeepSeek. https://api-docs.deepseek.com"""

    provider, base_url = "deepseek", "https://api.deepseek.com"
    key_variables, key_required = ("DEEPSEEK_API_KEY",), True

    def response_format(self, _schema: Mapping[str, Any]) -> dict[str, Any]:
        # It makes any JSON object, but takes no schema: the prompt has to describe it.
        return {"type": "json_object"}


class OpenRouterResponder(CompatibleResponder):
    """OpenRouter. https://openrouter.ai/docs/api-reference"""

    provider, base_url = "openrouter", "https://openrouter.ai/api/v1"
    key_variables, key_required = ("OPENROUTER_API_KEY",), True


class TogetherResponder(CompatibleResponder):
    """Together AI. https://docs.together.ai/reference"""

    provider, base_url = "together", "https://api.together.xyz/v1"
    key_variables, key_required = ("TOGETHER_API_KEY",), True


class FireworksResponder(CompatibleResponder):
    """Fireworks AI. https://docs.fireworks.ai/api-reference"""

    provider, base_url = "fireworks", "https://api.fireworks.ai/inference/v1"
    key_variables, key_required = ("FIREWORKS_API_KEY",), True


class XAIResponder(CompatibleResponder):
    """xAI. https://docs.x.ai/docs/api-reference"""

    provider, base_url = "xai", "https://api.x.ai/v1"
    key_variables, key_required = ("XAI_API_KEY",), True


class CerebrasResponder(CompatibleResponder):
    """Cerebras. https://inference-docs.cerebras.ai/api-reference"""

    provider, base_url = "cerebras", "https://api.cerebras.ai/v1"
    key_variables, key_required = ("CEREBRAS_API_KEY",), True
    max_tokens_field = "max_completion_tokens"


class HuggingFaceResponder(CompatibleResponder):
    """Hugging Face's router to many hosts. https://huggingface.co/docs/inference-providers"""

    provider, base_url = "huggingface", "https://router.huggingface.co/v1"
    key_variables, key_required = ("HF_TOKEN",), True


class ZAIResponder(CompatibleResponder):
    """Z.ai. https://docs.z.ai/api-reference"""

    provider, base_url = "zai", "https://api.z.ai/api/paas/v4"
    key_variables, key_required = ("ZAI_API_KEY",), True


class VLLMResponder(CompatibleResponder):
    """A vLLM server. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"""

    provider, base_url = "vllm", "http://localhost:8000/v1"
    base_url_variables, key_variables = ("VLLM_BASE_URL",), ("VLLM_API_KEY",)


class LMStudioResponder(CompatibleResponder):
    """LM Studio on this machine. https://lmstudio.ai/docs/app/api"""

    provider, base_url = "lmstudio", "http://localhost:1234/v1"


class LlamaCppResponder(CompatibleResponder):
    """A llama.cpp server. https://github.com/ggml-org/llama.cpp/tree/master/tools/server"""

    provider, base_url = "llamacpp", "http://127.0.0.1:8080/v1"
