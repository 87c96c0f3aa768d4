"""Where else is Claude? On Vertex AI, Amazon Bedrock and Microsoft Foundry: the same dialect at another URL, with other keys.

https://docs.anthropic.com/en/api/claude-on-vertex-ai (and claude-on-amazon-bedrock, claude-in-microsoft-foundry; read 2026-11)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from responder.providers.amazon import AmazonResponder
from responder.providers.anthropic import AnthropicResponder
from responder.providers.urls import in_host
from responder.providers.vertex import GoogleCloudResponder
from responder.responder import CommonKeywords
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack
from responder.values.messages import Message
from responder.values.options import Options


class AnthropicVertexResponder(GoogleCloudResponder, AnthropicResponder):
    """Claude on Vertex AI, such as "claude-opus-4-1@20250805"; `project`, `location` and `credentials` as for Gemini there.

    ANTHROPIC_VERTEX_PROJECT_ID, CLOUD_ML_REGION and ANTHROPIC_VERTEX_BASE_URL, Anthropic's own variables, come first.
    """

    provider = "anthropic-vertex"
    takes_uploads = False
    batches = None
    base_url = ""
    base_url_variables = ("ANTHROPIC_VERTEX_BASE_URL",)
    key_variables = ()
    project_variables = ("ANTHROPIC_VERTEX_PROJECT_ID", "GOOGLE_CLOUD_PROJECT")
    location_variables = ("CLOUD_ML_REGION", "GOOGLE_CLOUD_LOCATION")
    publisher = "anthropic"

    def url(self) -> str:
        return self.model_url(":rawPredict")

    def stream_url(self) -> str:
        return self.model_url(":streamRawPredict")

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        payload = super().payload(messages, options)
        del payload["model"]  # the URL names it
        return {"anthropic_version": "vertex-2023-10-16", **payload}


class AnthropicBedrockResponder(AmazonResponder, AnthropicResponder):
    """Claude on Amazon Bedrock in its own dialect, such as "us.anthropic.claude-sonnet-4-5-20250929-v1:0".

    Keys and region as for `BedrockResponder`; another base URL from ANTHROPIC_BEDROCK_BASE_URL.
    """

    provider = "anthropic-bedrock"
    takes_uploads = False
    batches = None
    base_url = ""
    base_url_variables = ("ANTHROPIC_BEDROCK_BASE_URL",)
    key_variables = AmazonResponder.key_variables
    key_required = False

    def url(self) -> str:
        return self.model_url("invoke")

    def stream_url(self) -> str:
        return self.model_url("invoke-with-response-stream")

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload  # the URL says it

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        payload = super().payload(messages, options)
        del payload["model"]  # the URL names it
        return {"anthropic_version": "bedrock-2023-05-31", **payload}


class AnthropicFoundryResponder(AnthropicResponder):
    """Claude in Microsoft Foundry: a deployment of a resource of yours.

    Args:
        model: The deployment's name.
        resource: The resource's name, as in https://NAME.services.ai.azure.com; None: ANTHROPIC_FOUNDRY_RESOURCE.
        api_key: A key, or a callable that returns a token of Entra ID; None: ANTHROPIC_FOUNDRY_API_KEY.
        base_url: The resource's URL, which ends in /anthropic; None: ANTHROPIC_FOUNDRY_BASE_URL, else made from `resource`.
        **keywords: As `Responder` takes them.
    """

    provider = "anthropic-foundry"
    takes_uploads = False
    batches = None
    base_url = ""
    base_url_variables = ("ANTHROPIC_FOUNDRY_BASE_URL",)
    key_variables = ("ANTHROPIC_FOUNDRY_API_KEY",)

    def __init__(
        self,
        model: str,
        *,
        resource: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        **keywords: Unpack[CommonKeywords],
    ) -> None:
        resource = resource or (None if base_url else os.environ.get("ANTHROPIC_FOUNDRY_RESOURCE"))
        if resource and base_url:
            raise ConfigurationError("give resource= or base_url=, not both")
        made = f"https://{in_host(resource, 'resource')}.services.ai.azure.com/anthropic" if resource else None
        found = base_url or made or self._base_url_of_environment()
        if not found:
            raise ConfigurationError(
                "no Foundry resource: export ANTHROPIC_FOUNDRY_RESOURCE=NAME, as in https://NAME.services.ai.azure.com, or "
                "pass resource="
            )
        self._gives_tokens = callable(api_key)
        super().__init__(model, api_key=api_key, base_url=found, **keywords)

    def headers(self, secret: str) -> Mapping[str, str]:
        is_token = self._gives_tokens or secret.startswith("eyJ")
        key = {"Authorization": f"Bearer {secret}"} if is_token else {"api-key": secret}
        return {**key, "anthropic-version": "2023-06-01"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._gives_tokens = False  # the callable stayed behind: the environment has the key now
