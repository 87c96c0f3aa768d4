"""Which hosts speak OpenAI's dialect? A line each: adding one is one line in `HOSTS`, and nothing anywhere else.

`for_model`, the command line, Django, the tables of the documentation and the contract tests all read this table. A host that
departs from the dialect in more than a column has a class in `compatible.py`, which takes its line from here, too.

Base URLs and key names: each host's API reference (read 2026-08 and 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Host:
    """A host that speaks OpenAI's Chat Completions.

    Attributes:
        name: As in `for_model("name:model")`.
        base_url: Where its API is; `{NAME}` stands for the value of an environment variable, such as an account.
        keys: Environment variables that hold the key; the first that is set wins.
        title: What people call it.
        docs: The page that documents it.
        key_required: False for servers that answer without a key.
        base_url_variables: Environment variables that hold another base URL.
        max_tokens_field: What the limit of an answer is called.
        stream_options: What makes a stream report its usage; None where the field is refused, or not needed.
        takes_schemas: False where it makes any JSON object, but takes no schema.
        returned: What else of an answer's message it wants to see again.
        returned_with_calls: The same, in turns of tool calls alone.
    """

    name: str
    base_url: str
    keys: tuple[str, ...]
    title: str
    docs: str
    key_required: bool = True
    base_url_variables: tuple[str, ...] = ()
    max_tokens_field: str = "max_tokens"
    stream_options: Mapping[str, Any] | None = None
    takes_schemas: bool = True
    returned: tuple[str, ...] = ()
    returned_with_calls: tuple[str, ...] = ()

    @property
    def class_name(self) -> str:
        """What its class is called, where it has none in `compatible.py`."""
        return "".join(word.capitalize() for word in self.name.split("-")) + "Responder"

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that its base URL is made with."""
        return tuple(re.findall(r"\{(\w+)\}", self.base_url))


_ASKED = {"include_usage": True}


def _host(name: str, base_url: str, keys: str, title: str, docs: str, **departures: Any) -> Host:
    return Host(name, base_url, tuple(keys.split()), title, docs, **{"stream_options": _ASKED, **departures})


# fmt: off
_ALL = (
    _host("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "Groq", "https://console.groq.com/docs/api-reference"),
    # `stream_options` was refused with 422 in the past, and is not needed: the last chunk always has the usage. Its thoughts go
    # back to it as a part of the content: https://docs.mistral.ai/capabilities/reasoning
    _host("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "Mistral", "https://docs.mistral.ai/api",
          stream_options=None, returned=("thinking",)),
    # It makes any JSON object, but takes no schema: https://api-docs.deepseek.com/guides/json_mode; its thoughts go back to it
    # in turns of tools, and in no other: https://api-docs.deepseek.com/guides/thinking_mode
    _host("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", "DeepSeek", "https://api-docs.deepseek.com",
          takes_schemas=False, returned_with_calls=("reasoning_content",)),
    # Unchanged and in order: https://openrouter.ai/docs/use-cases/reasoning-tokens
    _host("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "OpenRouter",
          "https://openrouter.ai/docs/api-reference", returned=("reasoning_details",)),
    _host("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "Together AI", "https://docs.together.ai/reference"),
    _host("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "Fireworks AI",
          "https://docs.fireworks.ai/api-reference"),
    _host("xai", "https://api.x.ai/v1", "XAI_API_KEY", "xAI", "https://docs.x.ai/docs/api-reference"),
    _host("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "Cerebras",
          "https://inference-docs.cerebras.ai/api-reference", max_tokens_field="max_completion_tokens"),
    _host("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN", "Hugging Face's router to many hosts",
          "https://huggingface.co/docs/inference-providers"),
    # It makes any JSON object, but takes no schema: https://docs.z.ai/guides/capabilities/struct-output
    _host("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "Z.ai", "https://docs.z.ai/api-reference", takes_schemas=False),
    _host("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY NVIDIA_NIM_API_KEY", "NVIDIA NIM",
          "https://docs.api.nvidia.com/nim/reference"),
    # As DeepSeek: https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model
    _host("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY MOONSHOTAI_API_KEY", "Moonshot AI (Kimi)",
          "https://platform.moonshot.ai/docs/api/chat", returned_with_calls=("reasoning_content",)),
    _host("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY ALIBABA_API_KEY",
          "Alibaba's DashScope (Qwen)", "https://www.alibabacloud.com/help/en/model-studio/", takes_schemas=False),
    _host("minimax", "https://api.minimax.io/v1", "MINIMAX_API_KEY", "MiniMax", "https://platform.minimax.io/docs",
          takes_schemas=False),
    # Every chunk has the usage.
    _host("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", "Perplexity",
          "https://docs.perplexity.ai/api-reference", stream_options=None),
    _host("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY", "SambaNova", "https://docs.sambanova.ai"),
    _host("nebius", "https://api.studio.nebius.com/v1", "NEBIUS_API_KEY", "Nebius", "https://docs.studio.nebius.com"),
    _host("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY", "DeepInfra", "https://deepinfra.com/docs"),
    _host("novita", "https://api.novita.ai/v3/openai", "NOVITA_API_KEY", "Novita AI", "https://novita.ai/docs"),
    _host("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY", "Hyperbolic", "https://docs.hyperbolic.xyz"),
    _host("baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY", "Baseten", "https://docs.baseten.co"),
    _host("friendli", "https://api.friendli.ai/serverless/v1", "FRIENDLI_API_KEY FRIENDLI_TOKEN", "Friendli",
          "https://friendli.ai/docs"),
    _host("scaleway", "https://api.scaleway.ai/v1", "SCW_SECRET_KEY", "Scaleway", "https://www.scaleway.com/en/docs/generative-apis/"),
    _host("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "OVHCLOUD_API_KEY", "OVHcloud AI Endpoints",
          "https://endpoints.ai.cloud.ovh.net"),
    _host("crusoe", "https://api.inference.crusoecloud.com/v1", "CRUSOE_API_KEY", "Crusoe", "https://docs.crusoecloud.com"),
    _host("inception", "https://api.inceptionlabs.ai/v1", "INCEPTION_API_KEY", "Inception", "https://docs.inceptionlabs.ai"),
    _host("featherless", "https://api.featherless.ai/v1", "FEATHERLESS_API_KEY", "Featherless", "https://featherless.ai/docs"),
    _host("venice", "https://api.venice.ai/api/v1", "VENICE_API_KEY", "Venice", "https://docs.venice.ai"),
    _host("heroku", "https://us.inference.heroku.com/v1", "HEROKU_INFERENCE_KEY", "Heroku",
          "https://devcenter.heroku.com/articles/heroku-inference"),
    _host("vercel", "https://ai-gateway.vercel.sh/v1", "VERCEL_AI_GATEWAY_API_KEY AI_GATEWAY_API_KEY", "Vercel's AI Gateway",
          "https://vercel.com/docs/ai-gateway"),
    _host("meta", "https://api.meta.ai/v1", "META_API_KEY", "Meta", "https://llama.developer.meta.com/docs"),
    _host("cloudflare", "https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1", "CLOUDFLARE_API_TOKEN",
          "Cloudflare Workers AI", "https://developers.cloudflare.com/workers-ai/"),
    _host("databricks", "https://{DATABRICKS_HOST}/serving-endpoints", "DATABRICKS_TOKEN", "Databricks",
          "https://docs.databricks.com/aws/en/machine-learning/model-serving/"),
    _host("snowflake", "https://{SNOWFLAKE_ACCOUNT}.snowflakecomputing.com/api/v2/cortex/v1", "SNOWFLAKE_PAT", "Snowflake Cortex",
          "https://docs.snowflake.com/en/user-guide/snowflake-cortex/"),
    _host("vllm", "http://localhost:8000/v1", "VLLM_API_KEY", "A vLLM server",
          "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", key_required=False,
          base_url_variables=("VLLM_BASE_URL",)),
    _host("lmstudio", "http://localhost:1234/v1", "", "LM Studio on this machine", "https://lmstudio.ai/docs/app/api",
          key_required=False),
    _host("llamacpp", "http://127.0.0.1:8080/v1", "", "A llama.cpp server",
          "https://github.com/ggml-org/llama.cpp/tree/master/tools/server", key_required=False),
)
# fmt: on
HOSTS: Mapping[str, Host] = {host.name: host for host in _ALL}
"""Each host by its name."""
