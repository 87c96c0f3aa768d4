"""Azure OpenAI: OpenAI's dialect at a resource of one's own, by deployment.

https://learn.microsoft.com/azure/ai-foundry/openai/reference (read 2026-08)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from responder.call.addresses import AMBIGUOUS
from responder.providers.openai import Api, OpenAIResponder
from responder.providers.openai_batches import AzureBatches
from responder.providers.urls import quoted, under
from responder.responder import CommonKeywords
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack
from responder.values.messages import Audio, File, Part

_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<name>[^/]+)(?:/.*)?$")
# A key is 32 hexadecimal digits, or (newer resources) 84 letters and digits; anything else is a token of Entra ID.
_KEY = re.compile(r"[0-9a-fA-F]{32}|[0-9A-Za-z]{84}")


class AzureOpenAIResponder(OpenAIResponder):
    """A deployment on Azure OpenAI.

    `endpoint` may be whatever the portal shows:

    | endpoint | asked |
    | --- | --- |
    | `https://NAME.openai.azure.com` with an `api_version` | `/openai/deployments/MODEL/chat/completions?api-version=...` |
    | `https://NAME.openai.azure.com` without | `/openai/v1/chat/completions` |
    | `https://NAME.openai.azure.com/openai/v1` | `/openai/v1/chat/completions` |
    | a full deployment URL | that URL; `model` and `api_version` may be left out |

    Args:
        model: The deployment's name (not the model's).
        endpoint: The resource's URL; None: AZURE_OPENAI_ENDPOINT. `base_url` means the same.
        api_version: A dated API version such as "2024-10-21"; None: OPENAI_API_VERSION, or what the URL says.
        api_key: A key, or a callable that returns an Entra token (such as azure-identity's `get_bearer_token_provider`)
            or a key; None: AZURE_OPENAI_AD_TOKEN, else AZURE_OPENAI_API_KEY.
        api: As `OpenAIResponder` takes it.
        **keywords: As `Responder` takes them.
    """

    provider = "azure"
    batches = AzureBatches
    # It has no "user_data": https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses (read 2026-11)
    files_purpose = "assistants"
    base_url = ""
    base_url_variables = ("AZURE_OPENAI_ENDPOINT",)
    key_variables = ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY")

    def __init__(
        self,
        model: str | None = None,
        *,
        endpoint: str | None = None,
        api_version: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        api: Api | None = None,
        **keywords: Unpack[CommonKeywords],
    ) -> None:
        if endpoint is not None and base_url is not None:
            raise ConfigurationError("AzureOpenAIResponder takes endpoint= or base_url=, which mean the same, not both")
        given = endpoint or base_url or os.environ.get("AZURE_OPENAI_ENDPOINT")
        if not given:
            raise ConfigurationError(
                "no Azure endpoint: export AZURE_OPENAI_ENDPOINT=https://NAME.openai.azure.com, or pass endpoint="
            )
        given = given.strip()
        try:
            parts = urlsplit(given if "://" in given else f"https://{given}")
            is_url = AMBIGUOUS.search(given) is None
        except ValueError:
            is_url = False
        if not is_url:
            raise ConfigurationError(f"{given!r} is not an endpoint: one looks like https://NAME.openai.azure.com")
        root = f"{parts.scheme}://{parts.netloc}"
        query_version = next(iter(parse_qs(parts.query).get("api-version", [])), None)
        deployment = _DEPLOYMENT.search(parts.path)
        if deployment is not None:
            named = unquote(deployment["name"])
            if model is not None and model != named:
                raise ConfigurationError(
                    f"the endpoint names the deployment {named!r} and model= names {model!r}: give one of them, or the same"
                )
            model = named
            prefix = parts.path[: deployment.start()]
        else:
            prefix = re.sub(r"/(?:chat/completions|responses|embeddings)$", "", parts.path.rstrip("/"))
            prefix = re.sub(r"/openai$", "", prefix)
        is_v1 = prefix.endswith("/openai/v1")
        self.api_version = api_version or query_version or (None if is_v1 else os.environ.get("OPENAI_API_VERSION"))
        if is_v1 and self.api_version and re.match(r"\d{4}-", self.api_version):
            raise ConfigurationError(
                f"an endpoint that ends in /openai/v1 needs no dated api_version ({self.api_version}): leave it out, or "
                f"use endpoint={root!r}"
            )
        if deployment is not None and not self.api_version:
            raise ConfigurationError("a deployment URL needs an api_version, such as api_version='2024-10-21'")
        self.uses_v1 = is_v1 or not self.api_version
        if self.uses_v1 and not is_v1:
            prefix += "/openai/v1"
        if model is None:
            raise ConfigurationError("AzureOpenAIResponder needs the deployment's name, or an endpoint that contains it")
        self._key_is_callable = callable(api_key)
        others = "&".join(pair for pair in parts.query.split("&") if pair and not pair.startswith("api-version="))
        super().__init__(model, api_key=api_key, base_url=f"{root}{prefix}{'?' if others else ''}{others}", api=api, **keywords)

    def responses_url(self, path: str = "") -> str:
        return self._resource_url(f"/responses{path}")

    def files_url(self) -> str:
        return self._resource_url("/files")

    def _resource_url(self, path: str) -> str:
        """Return the URL of what belongs to the resource, and to no deployment."""
        path = path if self.uses_v1 else f"/openai{path}"
        return under(self.base_url, f"{path}?api-version={quote(self.api_version, safe='')}" if self.api_version else path)

    def chat_url(self) -> str:
        return self._deployment_url("/chat/completions")

    def embed_url(self) -> str:
        return self._deployment_url("/embeddings")

    def _deployment_url(self, path: str) -> str:
        if not self.uses_v1:
            path = f"/openai/deployments/{quoted(self.model, safe='')}{path}"
        if self.api_version:
            path += f"?api-version={quote(self.api_version, safe='')}"
        return under(self.base_url, path)

    def headers(self, secret: str) -> Mapping[str, str]:
        is_token = (
            secret.startswith("eyJ")
            or secret == os.environ.get("AZURE_OPENAI_AD_TOKEN", "").strip()
            or (self._key_is_callable and _KEY.fullmatch(secret) is None)
        )
        return {"Authorization": f"Bearer {secret}"} if is_token else {"api-key": secret}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._key_is_callable = False  # it stayed behind: the environment has the key now

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        if isinstance(part, File) and not isinstance(part, Audio):
            raise ConfigurationError(
                "Azure's Chat Completions does not accept files: ask with api='responses', or put the text in the prompt"
            )
        return super().part_on_the_wire(part)
