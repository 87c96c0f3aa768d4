"""A queryset in, a field out: in chunks, and a second run goes on with the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from integrations.test_django import project as project  # the same Django for all tests of a process

from responder import BudgetExceededError, ConfigurationError, OpenAIResponder, Price
from responder.simulator import Fault, Simulator


@pytest.fixture
def articles(project: None) -> Iterator[Any]:
    """Make a table with five rows, one of them filled."""
    from django.db import models

    global Article
    if "Article" not in globals():
        fields = {"text": models.TextField(), "summary": models.TextField(null=True, default="")}
        meta = type("Meta", (), {"app_label": "responder_tests"})
        Article = type("Article", (models.Model,), {**fields, "Meta": meta, "__module__": __name__})
    with connection.schema_editor() as editor:
        editor.create_model(Article)
    for number in range(4):
        Article.objects.create(text=f"text {number}", summary=None if number % 2 else "")
    Article.objects.create(text="done", summary="there already")
    yield Article
    with connection.schema_editor() as editor:
        editor.delete_model(Article)
    connection.close()


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"))


def summaries(articles: Any) -> list[str | None]:
    return list(articles.objects.order_by("pk").values_list("summary", flat=True))


def fill(articles: Any, gpt: OpenAIResponder, **keywords: Any) -> Any:
    from responder.integrations.django_fill import fill

    assert settings.configured
    return fill(articles.objects.all(), "summary", lambda row: row.text, responder=gpt, **keywords)


def test_empty_fields_are_filled_in_chunks(articles: Any, gpt: OpenAIResponder, simulator: Simulator) -> None:
    """What is there already is neither asked nor touched."""
    filled = fill(articles, gpt, chunk_size=3)
    assert (filled.answered, filled.failed, filled.first_error) == (4, 0, None)
    assert summaries(articles) == [*(f"Simulated answer to: text {number}" for number in range(4)), "there already"]
    assert len(simulator.received) == 4


def test_a_second_run_goes_on_with_the_rest(articles: Any, gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A failed row keeps its empty field, and is the only one that is asked again."""
    simulator.script_for("text 1", Fault.status(400, "no"))
    filled = fill(articles, gpt, chunk_size=2)
    assert (filled.answered, filled.failed) == (3, 1)
    assert "400" in str(filled.first_error)
    simulator.clear()
    assert fill(articles, gpt).answered == 1
    assert [call.prompt for call in simulator.received] == ["text 1"]


def test_what_was_finished_before_an_interrupt_is_saved(articles: Any, gpt: OpenAIResponder) -> None:
    """Nothing that was paid for is lost."""

    def stop(result: Any) -> None:
        if result.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(articles, gpt, max_workers=1, on_result=stop)
    assert sum(bool(text) for text in summaries(articles)) >= 3


def test_what_other_processes_had_finished_before_an_interrupt_is_saved(
    articles: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an executor nothing is done by threads of the run's own; threads stand in for the processes here."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")

    def stop(result: Any) -> None:
        if result.index == 2:
            raise KeyboardInterrupt

    with (
        ThreadPoolExecutor(1) as executor,
        OpenAIResponder("gpt-4o-mini", base_url=simulator.base_url("openai")) as gpt,
        pytest.raises(KeyboardInterrupt),
    ):
        fill(articles, gpt, executor=executor, shard_size=1, max_workers=1, on_result=stop)
    assert sum(bool(text) for text in summaries(articles)) >= 3


def test_a_wrong_key_ends_it(articles: Any, gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Nothing more is asked, and the rows that were not are counted apart from the one that failed."""
    simulator.always(Fault.status(401, "no"))
    filled = fill(articles, gpt, chunk_size=1, max_workers=1)
    assert (filled.failed, filled.not_sent) == (1, 3)
    assert "401" in str(filled.first_error)
    assert len(simulator.received) == 1


def test_a_budget_holds_for_the_whole_run_not_for_a_chunk(
    articles: Any, responder_for: Callable[..., OpenAIResponder], simulator: Simulator
) -> None:
    """Four answers of a dollar each, one row a chunk, and three and a half dollars."""
    gpt = responder_for(simulator, base_url=simulator.base_url("openai"), price=Price(0, 1_000_000 / 5))
    filled = fill(articles, gpt, chunk_size=1, max_workers=1, max_tokens=5, budget=3.5)
    assert (filled.answered, filled.failed, filled.not_sent) == (3, 0, 1)
    assert isinstance(filled.first_error, BudgetExceededError)
    assert filled.summary is not None
    assert filled.summary.cost == pytest.approx(3)


def test_a_prompt_may_skip_a_row_and_a_limit_tries_a_prompt_out(articles: Any, gpt: OpenAIResponder) -> None:
    """A row without a prompt costs nothing, and does not count in the limit."""
    from responder.integrations.django_fill import fill

    found = fill(
        articles.objects.all(), "summary", lambda row: None if row.text == "text 0" else row.text, responder=gpt, limit=2
    )
    assert (found.answered, found.skipped, found.not_sent) == (2, 1, 0)
    assert [bool(text) for text in summaries(articles)] == [False, True, True, False, True]


def test_a_field_that_does_not_exist_is_refused(articles: Any, gpt: OpenAIResponder) -> None:
    """Before anything is asked."""
    from responder.integrations.django_fill import fill

    with pytest.raises(ConfigurationError, match="no field 'sumary', only id, summary, text"):
        fill(articles.objects.all(), "sumary", lambda row: row.text, responder=gpt)
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match=r"\.id cannot hold text: name a text field"):
            fill(articles.objects.all(), "id", lambda row: row.text, responder=gpt, overwrite=overwrite)
    with pytest.raises(ConfigurationError, match="not sliced"):
        fill(articles.objects.all()[:2], "summary", lambda row: row.text, responder=gpt)
