"""What are Python's keywords called in the shell? The package's errors and advice, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable

# Where the option is not the keyword with dashes.
_OPTIONS = {
    "max_retries": "--retries",
    "max_workers": "--workers",
    "requests_per_minute": "--rpm",
    "tokens_per_minute": "--tpm",
}

_SENTENCES = (
    (
        "give price=Price(input=..., output=...), in US dollars for a million tokens",
        "add --price IN,OUT, in US dollars for a million tokens, such as --price 0.15,0.60",
    ),
    ("Price input must be", "--price: IN must be"),
    ("Price output must be", "--price: OUT must be"),
    ("set Limits(requests_per_minute=...) to", "set --rpm to"),
    ("fallbacks=[...]", "--fallback"),
    ("Raise budget=, and use checkpoint= so as not to pay twice", "Raise --budget; with --checkpoint FILE nothing is paid twice"),
    ("raise timeout=Timeout(connect=...)", "raise --timeout"),
    ("ask for JSON with schema={...}", "ask for JSON with --schema FILE"),
    ("raise budget", "raise --budget"),
    ("raise timeout", "raise --timeout"),
    (", or None, not ", ", not "),
    (" (math.inf: no limit), not ", ", not "),
    ("timeout total must be", "--timeout must be"),
    ("make another one for another model, such as OpenAIResponder('gpt-4o')", "name another model with --model"),
    ("check api_key and extra_headers", "check the key"),
    ("has not ended: call wait() first", "has not ended: add --wait"),
    ("it goes on: wait() again, in any process", "it goes on: the same command waits again"),
    ("or allow_http=True if you really mean it", "or add --option allow_http=true if you really mean it"),
    ("such as api_version='2024-10-21'", "such as --option api_version=2024-10-21"),
    ("ask with api='responses'", "add --option api=responses"),
    (" that can be submitted here: use map()", " that can be submitted here: use responder map"),
    ("such as OpenAIResponder('text-embedding-3-small')", "such as --model openai:text-embedding-3-small"),
)

# What Python passes, and a shell does not (a key), or by another option.
_PASSED: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r", or pass (?:api_key|credentials)="), ""),
    (re.compile(r"wait for it, as with job\('([^']+)'\)\.wait\(\)"), r"wait for it (responder job \1 --wait)"),
    (re.compile(r"\bpass base_url="), "add --base-url URL"),
    (re.compile(r"\bpass (endpoint|project|region|resource)="), r"add --option \1=..."),
    (re.compile(r"\b\w+Responder needs base_url=, such as"), "--base-url must be a URL, such as"),
    (re.compile(r"use one of (?:[\w-]+, ){9,}[\w-]+, as in"), "`responder models` lists them; write PROVIDER:MODEL, such as"),
    (re.compile(r"\berror_rate=|\bspike_rate="), lambda found: _option(found[0][:-1]) + " "),
    (re.compile(r"\bextra={'(\w+)': \.\.\.}"), r"""--option extra='{"\1": ...}'"""),
)

# Words that can only be the keyword; and words that are the keyword before "=" or at the beginning.
_LONG = "max_tokens|max_errors|max_retries|max_workers|base_url|run_deadline|requests_per_minute|tokens_per_minute"
_SHORT = "budget|hedge|price|timeout|deadline|checkpoint|temperature"
_ASSIGNED = re.compile(rf"(?<![\w-])({_LONG}|{_SHORT})=(?=[^\s,.])")
_NAMED = re.compile(rf"(?<![\w-])(?:({_LONG})\b=?|({_SHORT})=|^({_SHORT})(?= (?:is|must)\b))")


def in_shell_words(text: str) -> str:
    """Return a sentence with the options of the command line in place of Python's keywords."""
    for python, shell in _SENTENCES:
        text = text.replace(python, shell)
    for pattern, replacement in _PASSED:
        text = pattern.sub(replacement, text)
    text = _ASSIGNED.sub(lambda found: _option(found[1]) + " ", text)
    if text.startswith("unknown option "):  # what follows are names for --option
        return text
    return _NAMED.sub(lambda found: _option(found[1] or found[2] or found[3]), text)


def _option(keyword: str) -> str:
    return _OPTIONS.get(keyword, "--" + keyword.replace("_", "-"))
