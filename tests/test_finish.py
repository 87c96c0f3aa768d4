"""Why the model stopped: the words of all providers, read by family."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from strategies import json_values

from responder.values.finish import finish_reason, google_verdict, verdict


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("length", "length LENGTH max_tokens MAX_TOKENS maxTokens max_output_tokens max_completion_tokens max_new_tokens"),
        ("length", "token_limit tokens_limit model_length context_window_exceeded model_context_window_exceeded limit truncated"),
        ("length", "FinishReason.MAX_TOKENS FINISH_REASON_MAX_TOKENS max_tokens_exceeded incomplete unfinished max_token"),
        ("content_filter", "content_filter CONTENT_FILTER content_filtered sensitive safety SAFETY PROHIBITED_CONTENT blocklist"),
        ("content_filter", "recitation SPII MODEL_ARMOR guardrail_intervened IMAGE_SAFETY IMAGE_RECITATION moderation flagged"),
        ("broken", "network_error insufficient_system_resource abort aborted server_error internal_error upstream_error timeout"),
        ("broken", "engine_overloaded cancelled connection_error model_error rate_limit"),
        ("stop", "stop STOP eos eos_token end_turn stop_sequence STOP_SEQUENCE COMPLETE completed compaction done finished"),
        ("tool_calls", "tool_calls tool_use function_call TOOL_CALL toolUse"),
        (
            "other",
            "MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS malformed_tool_use pause_turn LANGUAGE NO_IMAGE",
        ),
        ("refusal", "refusal refused"),
        ("unknown", "a_new_one OTHER load unload weird"),
        ("none", "null None FINISH_REASON_UNSPECIFIED unspecified"),
        ("error", "error ERROR"),
    ],
)
def test_a_word_belongs_to_its_family_however_it_is_written(family: str, words: str) -> None:
    """Letters alone count."""
    assert {word: verdict(word) for word in words.split()} == dict.fromkeys(words.split(), family)


@pytest.mark.parametrize(
    ("word", "family"),
    [
        (None, "none"),
        ("", "none"),
        (False, "none"),
        ({"type": "length", "length": 16}, "length"),
        ({"type": ["length"]}, "unknown"),
        ({}, "unknown"),
        (["length"], "unknown"),
        (5, "unknown"),
        ("length" * 100, "unknown"),
    ],
)
def test_what_is_no_word_is_read_as_far_as_it_goes(word: Any, family: str) -> None:
    """SGLang writes an object."""
    assert verdict(word) == family


def test_google_may_write_numbers() -> None:
    """Some gateways ask it to."""
    assert [google_verdict(number) for number in (0, 1, 2, 3, 2.0, 99, -1, 1e300, float("nan"))] == [
        *("none", "stop", "length", "content_filter", "length", "other", "unknown", "unknown", "unknown")
    ]


def test_tool_calls_decide_by_being_there_and_never_hide_a_cut() -> None:
    """With a tool forced by name OpenAI itself says "stop"."""
    words = ("stop", "a_new_one", None, "max_tokens", "sensitive", "MALFORMED_FUNCTION_CALL")
    assert [finish_reason(verdict(word), has_calls=True) for word in words] == [
        *("tool_calls", "tool_calls", "tool_calls", "length", "content_filter", "other")
    ]


@given(json_values)
def test_any_json_has_a_verdict_and_a_reason(word: Any) -> None:
    """Never an exception."""
    for found in (verdict(word), google_verdict(word)):
        assert finish_reason(found, has_calls=False) in ("stop", "length", "tool_calls", "content_filter", "refusal", "other")
