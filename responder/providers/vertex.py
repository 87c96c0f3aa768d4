"""What is on Vertex AI is reached with Google's tokens, by project and location: Gemini, and the models of other publishers.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (read 2026-08)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from responder.providers.gemini import GeminiResponder
from responder.providers.google_embeddings import VertexEmbeddings
from responder.providers.openai import CHAT, OpenAIResponder
from responder.providers.prompt import refuse_options
from responder.providers.urls import in_host, quoted, under
from responder.recipe.recipe import first_set
from responder.responder import CommonKeywords, Responder
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack
from responder.values.messages import Message
from responder.values.options import Options
from responder.wire.credentials import Credential, GoogleCredential

# How the keys of Google's express mode begin; access tokens begin with "ya29." or, as JWTs, with "eyJ".
_EXPRESS_KEYS = ("AIza", "AQ.")
# "my-project-1", a number, or (older ones of a domain) "example.com:my-project".
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")

_INSTEAD_OF_UPLOADS = (
    "put the bytes into the message, or the file into Cloud Storage ('gcloud storage cp walk.mp4 gs://BUCKET/') and "
    "its URL into the message, as in Video('gs://BUCKET/walk.mp4')"
)


class GoogleCloudResponder(Responder):
    """A model on Vertex AI, in whatever dialect.

    Args:
        model: The model's name, such as "gemini-2.5-flash".
        project: The Google Cloud project; None: GOOGLE_CLOUD_PROJECT, else the one of the default credentials.
        location: A region, "global", "us" or "eu"; None: GOOGLE_CLOUD_LOCATION, else "global".
        credentials: google-auth credentials, a token, or a callable that returns one; None: Application Default
            Credentials (`gcloud auth application-default login`).
        api_key: Another word for a token or a callable that returns one; or a key of the express mode, which needs no project.
        base_url: Where the API is; None: the host of the location.
        **keywords: As `Responder` takes them.
    """

    project_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_CLOUD_PROJECT",)
    """Environment variables that name the project."""
    location_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_CLOUD_LOCATION",)
    """Environment variables that name the location."""
    publisher: ClassVar[str] = "google"
    """Whose the models are that are named without one."""

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
            raise ConfigurationError(f"{type(self).__name__} takes credentials= or api_key=, not both")
        self._credentials_given = credentials if credentials is not None else api_key
        self._is_express = isinstance(api_key, str) and api_key.strip().startswith(_EXPRESS_KEYS)
        self.project = project or first_set(self.project_variables)
        self.location = location or first_set(self.location_variables) or "global"
        in_host(self.location, "location")
        if self.project is not None:
            _checked_project(self.project)
        super().__init__(model, base_url=base_url or self._base_url_of_environment() or _host(self.location), **keywords)
        del self._credentials_given

    def _make_credential(self, api_key: str | Callable[[], str] | None) -> Credential:  # noqa: ARG002 - see credentials
        return GoogleCredential(self._credentials_given, self._session)

    def _in_location(self, path: str) -> str:
        """Return the path of something in the project's location; express keys know their project.

        Raises:
            ConfigurationError: The project is given nowhere.
        """
        if self.project is None and not self._is_express:
            self.project = self._credential.project()
            if self.project is not None:
                _checked_project(self.project)
            else:
                raise ConfigurationError("no Google Cloud project: export GOOGLE_CLOUD_PROJECT=..., or pass project=", fatal=True)
        return path if self.project is None else f"projects/{self.project}/locations/{self.location}/{path}"

    def _url(self, path: str, method: str = "") -> str:
        return under(self.base_url, f"/{quoted(path)}{method}", unless=("/v1", "/v1beta1"), prefix="/v1")

    def model_url(self, method: str = "") -> str:
        """Return the URL of a method of the model; the model may name its publisher, or its whole path."""
        kind, slash, rest = self.model.partition("/")
        if not slash:
            path = f"publishers/{self.publisher}/models/{self.model}"
        elif kind in ("projects", "publishers", "models", "endpoints"):
            path = self.model
        else:  # "publisher/model", as Google's SDK takes it
            path = f"publishers/{kind}/models/{rest}"
        return self._url(path if path.startswith("projects/") else self._in_location(path), method)

    def headers(self, secret: str) -> Mapping[str, str]:
        if self._is_express:
            return {"x-goog-api-key": secret}
        billed = self._credential.quota_project()
        headers = {"x-goog-user-project": billed} if billed else {}
        return {"Authorization": f"Bearer {secret}", **headers} if secret else headers


class VertexAIResponder(GoogleCloudResponder, VertexEmbeddings, GeminiResponder):
    """Gemini on Vertex AI, in Gemini's dialect.

    Args:
        model: The model's name, such as "gemini-2.5-flash".
        project: The Google Cloud project; None: GOOGLE_CLOUD_PROJECT, else the one of the default credentials.
        location: A region, "global", "us" or "eu"; None: GOOGLE_CLOUD_LOCATION, else "global".
        credentials: google-auth credentials, a token, or a callable that returns one; None: Application Default
            Credentials (`gcloud auth application-default login`).
        api_key: Another word for a token or a callable that returns one; or a key of the express mode, which needs no project.
        base_url: Where the API is; None: the host of the location.
        **keywords: As `Responder` takes them.
    """

    provider = "vertex"
    base_url = ""
    base_url_variables = ("GOOGLE_VERTEX_BASE_URL",)
    key_variables = ()
    takes_uploads = False
    batches = None
    instead_of_uploads = _INSTEAD_OF_UPLOADS
    largest_request = None

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        # https://docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo (read 2026-11)
        advice = "make the responder with extra_headers={'X-Vertex-AI-LLM-Shared-Request-Type': 'flex'}"
        refuse_options(options, ("service_tier",), "Vertex AI", advice)
        return super().payload(messages, options)


class VertexPartnerResponder(GoogleCloudResponder, OpenAIResponder):
    """A model of another publisher on Vertex AI (Llama, Mistral, DeepSeek, Qwen, ... as "publisher/model"), in OpenAI's dialect.

    `project`, `location` and `credentials` as for Gemini there.
    """

    provider = "vertex-partner"
    takes_uploads = False
    takes_cache_lifetime = False
    batches = None
    largest_request = None
    base_url = ""
    base_url_variables = ("GOOGLE_VERTEX_BASE_URL",)
    key_variables = ()
    default_api = CHAT
    max_tokens_field = "max_tokens"

    def chat_url(self) -> str:
        return self._url(self._in_location("endpoints/openapi"), "/chat/completions")


def _checked_project(project: str) -> None:
    if _PROJECT.fullmatch(project) is None:
        raise ConfigurationError(f"project={project!r} is not a project id: one looks like 'my-project-1'", fatal=True)


def _host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
