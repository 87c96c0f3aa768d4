"""Gemini on Vertex AI: Gemini's dialect with Google's tokens, by project and location.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (read 2026-08)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from responder.providers.gemini import GeminiResponder
from responder.providers.urls import under
from responder.responder import CommonKeywords
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack
from responder.wire.credentials import Credential, GoogleCredential


class VertexAIResponder(GeminiResponder):
    """Gemini on Vertex AI.

    Args:
        model: The model's name, such as "gemini-2.5-flash".
        project: The Google Cloud project; None: GOOGLE_CLOUD_PROJECT, else the one of the default credentials.
        location: A region, "global", "us" or "eu"; None: GOOGLE_CLOUD_LOCATION, else "global".
        credentials: google-auth credentials, a token, or a callable that returns one; None: Application Default
            Credentials (`gcloud auth application-default login`).
        api_key: Another word for a token or a callable that returns one.
        base_url: Where the API is; None: the host of the location.
        **keywords: As `Responder` takes them.
    """

    provider = "vertex"
    base_url = ""
    base_url_variables = ("GOOGLE_VERTEX_BASE_URL",)
    key_variables = ()

    _credential: GoogleCredential

    def __init__(
        self,
        model: str,
        *,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        **keywords: Unpack[CommonKeywords],
    ) -> None:
        if credentials is not None and api_key is not None:
            raise ConfigurationError("VertexAIResponder takes credentials= or api_key=, not both")
        self._credentials_given = credentials if credentials is not None else api_key
        self.project = project or os.environ.get("GOOGLE_CLOUD_PROJECT")
        self.location = location or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
        super().__init__(model, base_url=base_url or self._base_url_of_environment() or _host(self.location), **keywords)
        del self._credentials_given

    def _make_credential(self, api_key: str | Callable[[], str] | None) -> Credential:  # noqa: ARG002 - see credentials
        return GoogleCredential(self._credentials_given, self._session)

    def model_url(self, method: str = "") -> str:
        if self.project is None:
            self.project = self._credential.project()
            if self.project is None:
                raise ConfigurationError("no Google Cloud project: export GOOGLE_CLOUD_PROJECT=..., or pass project=", fatal=True)
        kind, slash, rest = self.model.partition("/")
        if not slash:
            path = f"publishers/google/models/{self.model}"
        elif kind in ("projects", "publishers", "models", "endpoints"):
            path = self.model
        else:  # "publisher/model", as Google's SDK takes it
            path = f"publishers/{kind}/models/{rest}"
        path = path if path.startswith("projects/") else f"projects/{self.project}/locations/{self.location}/{path}"
        return under(self.base_url, f"/{quote(path, safe='/@.-_~')}{method}", unless=("/v1", "/v1beta1"), prefix="/v1")

    def headers(self, secret: str) -> Mapping[str, str]:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        billed = self._credential.quota_project()
        if billed:
            headers["x-goog-user-project"] = billed
        return headers


def _host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
