"""How is a request to Amazon signed? By botocore, with whatever credentials it finds; imported when one is signed.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from responder.values.errors import AuthenticationError, ConfigurationError
from responder.values.process import adopt, getpid
from responder.wire.masking import Secret


class AmazonSigner:
    """Signs requests (SigV4). Safe for threads; picklable without its credentials.

    Args:
        service: The service's name in a signature.
        region: Where it is asked.
        profile: A profile of `~/.aws/config`; None: the default.
    """

    def __init__(self, service: str, region: str, profile: str | None = None) -> None:
        self._service = service
        self._region = region
        self._profile = profile
        self.process = getpid()
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: the lock, and those inside botocore's credentials, may be held by a thread that is not there."""
        self._lock = threading.Lock()
        self._credentials: Any = None

    def signed(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers with the signature of this moment: each attempt needs its own.

        Raises:
            ConfigurationError: botocore is not installed, or finds no credentials.
            AuthenticationError: They could not be refreshed.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        # Signed is what nobody on the way changes.
        request = AWSRequest("POST", url, data=body, headers={"Content-Type": headers.get("Content-Type", "")})
        try:
            SigV4Auth(self._found().get_frozen_credentials(), self._service, self._region).add_auth(request)
        except BotoCoreError as error:
            raise AuthenticationError(f"AWS gave no credentials: {error}", provider="bedrock", fatal=True) from error
        return {**headers, **{name: Secret(value) for name, value in request.headers.items()}}  # a session's token is one of them

    def _found(self) -> Any:
        if self.process != getpid():
            adopt(self)
        if self._credentials is None:
            with self._lock:  # botocore's own are safe for threads, finding them is not
                if self._credentials is None:
                    self._credentials = self._find()
        return self._credentials

    def _find(self) -> Any:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            found = Session(profile=self._profile).get_credentials()
        except BotoCoreError as error:
            raise ConfigurationError(f"no AWS credentials: {error}", fatal=True) from error
        if found is None:
            raise ConfigurationError(
                "no AWS credentials: export AWS_BEARER_TOKEN_BEDROCK=..., or run 'aws configure', or pass api_key=", fatal=True
            )
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"_service": self._service, "_region": self._region, "_profile": self._profile}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.process = getpid()
        self.start_anew()

    def __repr__(self) -> str:
        return f"AmazonSigner({self._service!r}, {self._region!r})"


def can_sign() -> bool:
    """Return whether botocore is installed."""
    import importlib.util

    return importlib.util.find_spec("botocore") is not None
