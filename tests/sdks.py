"""The SDKs of the providers, imported when a test uses one: that takes seconds, and each process collects all files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "anthropic",
    "anthropic_transform",
    "boto3",
    "botocore_exceptions",
    "cohere",
    "cohere_core",
    "errors",
    "genai",
    "openai",
    "openai_pydantic",
    "types",
]

if TYPE_CHECKING:
    import anthropic
    import anthropic.lib._parse._transform as anthropic_transform
    import boto3
    import botocore.exceptions as botocore_exceptions
    import cohere
    import cohere.core as cohere_core
    import openai
    import openai.lib._pydantic as openai_pydantic
    from google import genai
    from google.genai import errors, types
else:

    class _Module:
        """A module that is imported when something of it is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self._name), name)

    anthropic, boto3, cohere, openai = (_Module(name) for name in ("anthropic", "boto3", "cohere", "openai"))
    botocore_exceptions, cohere_core = _Module("botocore.exceptions"), _Module("cohere.core")
    anthropic_transform, openai_pydantic = _Module("anthropic.lib._parse._transform"), _Module("openai.lib._pydantic")
    genai, errors, types = (_Module(name) for name in ("google.genai", "google.genai.errors", "google.genai.types"))
