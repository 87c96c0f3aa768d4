"""How is a model on Amazon Bedrock reached? By region, with a key of Bedrock's or with a signature."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from responder.providers.urls import in_host, quoted, under
from responder.responder import CommonKeywords, Responder
from responder.values.errors import ConfigurationError
from responder.values.keywords import Unpack
from responder.wire.credentials import Credential, KeyCredential
from responder.wire.signing import AmazonSigner, can_sign


class AmazonResponder(Responder):
    """A model on Amazon Bedrock: what Converse and Claude's own dialect there have in common.

    Args:
        model: The model's id, an inference profile's, or an ARN, such as "us.amazon.nova-micro-v1:0".
        region: Where it is asked; None: AWS_REGION, else AWS_DEFAULT_REGION.
        profile: A profile of `~/.aws/config` to sign with; None: the default. Needs the extra `bedrock`.
        api_key: A key of Bedrock's, or a callable that returns one; None: AWS_BEARER_TOKEN_BEDROCK. Without a key each request is
            signed with the credentials that botocore finds (the extra `bedrock`).
        base_url: Where the API is; None: the region's own.
        **keywords: As `Responder` takes them.
    """

    key_variables = ("AWS_BEARER_TOKEN_BEDROCK",)
    key_required = False
    instead_of_uploads = "put the bytes into the message, or the file into S3 and its s3:// URL into the message"

    def __init__(
        self,
        model: str,
        *,
        region: str | None = None,
        profile: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        **keywords: Unpack[CommonKeywords],
    ) -> None:
        base_url = base_url or self._base_url_of_environment()
        named = re.search(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.", base_url or "")
        environment = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self.region = region or (named[1] if named else None) or environment or ("us-east-1" if base_url else "")
        if not self.region:
            raise ConfigurationError("no AWS region: export AWS_REGION=us-east-1 (or another), or pass region=")
        in_host(self.region, "region")
        if profile is not None and api_key is not None:
            raise ConfigurationError("give api_key= or profile=, not both: a key needs no signature")
        has_key = profile is None and (api_key is not None or any(os.environ.get(name) for name in self.key_variables))
        if not has_key and not can_sign():
            raise ConfigurationError(
                f"no API key for {self.provider}: export AWS_BEARER_TOKEN_BEDROCK=... in the shell, or pass api_key=; or "
                "pip install 'responder-sdk[bedrock]' to sign with your AWS credentials",
                fatal=True,
            )
        self._signer = None if has_key else AmazonSigner("bedrock", self.region, profile)
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url or f"https://bedrock-runtime.{self.region}.amazonaws.com",
            **keywords,
        )

    def _make_credential(self, api_key: str | Callable[[], str] | None) -> Credential:
        # Without a signer there must be a key: a copy that arrives without its own says so, and does not ask unsigned.
        return KeyCredential(api_key, self.key_variables, self.provider, required=self._signer is None)

    def model_url(self, method: str) -> str:
        """Return the URL of a method of the model."""
        return under(self.base_url, f"/model/{quoted(self.model, safe='')}/{method}")

    def headers(self, secret: str) -> Mapping[str, str]:
        accepted = {"Accept": "*/*"}  # a stream here is no `text/event-stream`
        return {**accepted, "Authorization": f"Bearer {secret}"} if secret and self._signer is None else accepted

    def signed(self, url: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        return headers if self._signer is None else self._signer.signed(url, body, headers)
