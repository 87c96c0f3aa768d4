"""Which models does the tab key complete, and how does bash take the colon in their names?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from responder.pace.prices import listed_models
from responder.providers import registry

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class ModelName(click.types.StringParamType):
    """PROVIDER:MODEL, as it was typed."""

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the providers that begin so; of one provider, the models that genai-prices lists."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in models_that_begin(incomplete)]


MODEL_NAME = ModelName()


def models_that_begin(incomplete: str) -> list[str]:
    """Return how a name may go on.

    Args:
        incomplete: The beginning of PROVIDER:MODEL.
    """
    provider, colon, _ = incomplete.partition(":")
    providers = [provider] if colon else [name for name in registry.all() if name.startswith(provider)]
    if len(providers) != 1:
        return [f"{name}:" for name in providers]
    models = ["demo"] if providers == ["simulated"] else listed_models(providers[0])
    found = [f"{providers[0]}:{model}" for model in models]
    return [name for name in found if name.startswith(incomplete)] or ([] if colon else [f"{providers[0]}:"])


def teach_bash() -> None:
    """Have bash's completion take PROVIDER:MODEL for one word; to bash, whose words end at a colon, it is three."""
    from click.shell_completion import BashComplete, add_completion_class, split_arg_string

    class Bash(BashComplete):
        before = ""  # what bash has of the word before the part that it completes

        def get_completion_args(self) -> tuple[list[str], str]:
            words, number = split_arg_string(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"])
            joined, is_glued = [""], False
            for word in words[1 : number + 1]:
                if word == ":" or joined[-1].endswith(":"):
                    joined[-1] += word
                    is_glued = True
                else:
                    joined.append(word)
                    is_glued = False
            incomplete = joined.pop() if number < len(words) else ""
            self.before = incomplete[: incomplete.rfind(":") + 1] if is_glued else ""
            return joined[1:], incomplete

        def format_completion(self, item: CompletionItem[Any]) -> str:
            item.value = item.value.removeprefix(self.before)
            return super().format_completion(item)

    add_completion_class(Bash)
