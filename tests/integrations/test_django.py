"""Django inside of one process: settings, checks, connections of workers, and views under the test clients."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.utils import timezone, translation

from responder import ConfigurationError, OpenAIResponder, parallel_imap, parallel_map
from responder.integrations.django import ResponderConfig, get_responder, stream_response, with_connections_closed
from responder.simulator import Fault, Simulator

GPT = {"model": "openai:gpt-4o-mini", "api_key": "test-key"}


@pytest.fixture(autouse=True, scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Configure Django, once a process, with a database in a file: each thread has a connection of its own to it."""
    if not settings.configured:
        import django

        database = tmp_path_factory.mktemp("django") / "database.sqlite3"
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}},
            INSTALLED_APPS=["responder.integrations.django_app"],
            USE_TZ=True,
        )
        django.setup()


@pytest.fixture(autouse=True)
def no_connection_left() -> Iterator[None]:
    """Close what the test's own thread opened."""
    yield
    connection.close()


def found(responder: Any) -> list[str]:
    """Return the ids of what the checks say about a setting."""
    with override_settings(RESPONDER=responder):
        return [message.id for message in run_checks() if message.id.startswith("responder.")]


@pytest.mark.pain(25)
@pytest.mark.parametrize("way", [parallel_map, parallel_imap])
def test_workers_speak_the_callers_language_and_live_in_its_time_zone(way: Any) -> None:
    """Django keeps both for the thread; each item has those that held when it was started, and none is left behind."""

    def seen(number: int) -> tuple[str | None, str]:
        return translation.get_language(), timezone.get_current_timezone_name()

    def items() -> Iterator[int]:
        for number, language in enumerate(["de", "fr"] * 4):
            translation.activate(language)
            yield number

    with timezone.override("Asia/Tokyo"), translation.override("en"):
        results = list(way(seen, items(), max_workers=2))
    assert [result.value for result in results] == [("de", "Asia/Tokyo"), ("fr", "Asia/Tokyo")] * 4
    assert parallel_map(seen, [0])[0].value == (translation.get_language(), timezone.get_current_timezone_name())


def test_items_are_let_go_without_a_garbage_collection() -> None:
    """Where no language and no time zone was set, an error inside of Django must not keep the frames of those who asked."""

    class Thing:
        pass

    def nothing(thing: Thing) -> None:
        pass

    translation.deactivate()
    timezone.deactivate()
    things = [Thing() for _ in range(20)]
    seen = [weakref.ref(thing) for thing in things]
    gc.collect()
    gc.disable()
    try:
        for result in parallel_imap(nothing, iter(things), max_workers=2):
            assert result.ok
        del result
        things.clear()
        assert not [thing for thing in seen if thing() is not None]
    finally:
        gc.enable()


def test_a_responder_is_made_once_and_shared() -> None:
    """All requests of a process share one responder for each name."""
    with override_settings(RESPONDER={"default": GPT, "other": {**GPT, "temperature": 0}}):
        assert get_responder() is get_responder("default")
        assert get_responder("other").options.temperature == 0


def test_changed_settings_make_another_responder() -> None:
    """`override_settings` in a test takes effect at once."""
    with override_settings(RESPONDER={"default": GPT}):
        before = get_responder()
    with override_settings(RESPONDER={"default": {**GPT, "model": "openai:gpt-5"}}):
        assert get_responder() is not before
        assert get_responder().model == "gpt-5"


def test_limits_and_timeout_may_be_dicts() -> None:
    """Settings need no imports from the package."""
    entry = {**GPT, "limits": {"requests_per_minute": 500}, "timeout": {"total": 60.0, "gap": 5.0}}
    with override_settings(RESPONDER={"default": entry}):
        assert get_responder().timeout.gap == 5.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_makes_its_own() -> None:
    """A worker that was forked after the first use (gunicorn --preload) starts with none, and does not hang."""
    with override_settings(RESPONDER={"default": GPT}):
        before = get_responder()
        child = os.fork()
        if child == 0:
            os._exit(0 if get_responder() is not before else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("responder", "says"),
    [
        ({}, "no 'default'"),
        (None, "missing or not a dict"),
        ({"default": "openai:m"}, "must be a dict"),
        ({"default": {}}, 'needs "model"'),
        ({"default": {**GPT, "limits": {"speed": 1}}}, "speed"),
    ],
)
def test_wrong_settings_say_what_to_type(responder: Any, says: str) -> None:
    """The error names the setting and what it wants."""
    with override_settings(RESPONDER=responder), pytest.raises(ConfigurationError, match=says):
        get_responder()


@pytest.mark.parametrize(
    ("responder", "ids"),
    [
        (None, []),
        ({"default": GPT}, []),
        ({"default": {"model": "simulated:demo"}}, []),
        ([], ["responder.E001"]),
        ({"default": {"model": "opnai:m"}}, ["responder.E002"]),
        ({"default": {**GPT, "temprature": 0}}, ["responder.E002"]),
        ({"default": {"model": "openai:m"}}, ["responder.W001"]),
        ({"default": {"model": "azure:m"}}, ["responder.W001"]),
        ({"default": {"model": "openai:m", "temprature": 0}}, ["responder.E002"]),
        ({"claude": GPT}, ["responder.W002"]),
        ({"default": GPT, "claude": {"model": "anthropic:m"}}, ["responder.W001"]),
    ],
)
def test_checks_tell_errors_from_missing_keys(responder: Any, ids: list[str]) -> None:
    """What can never work is an Error; what production has in its environment is a Warning, which stops no build."""
    assert found(responder) == ids


def test_the_app_config_has_a_name_of_its_own() -> None:
    """For those who write "responder.integrations.django.ResponderConfig"."""
    assert (ResponderConfig.name, ResponderConfig.label) == ("responder.integrations.django", "responder")


@pytest.mark.acceptance(13)
@pytest.mark.pain(25)
def test_workers_leave_no_connection_behind() -> None:
    """Each connection that a worker opens is closed when its function returns, also when that raises."""
    opened: list[Any] = []
    barrier = threading.Barrier(4)

    def note(connection: Any, **_: Any) -> None:
        opened.append(connection)

    @with_connections_closed
    def query(number: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", [number])
            (value,) = cursor.fetchone()
        barrier.wait(60)
        if number == 3:
            raise ValueError("no")
        return int(value)

    connection_created.connect(note)
    try:
        batch = parallel_map(query, range(4), max_workers=4)
    finally:
        connection_created.disconnect(note)
    assert [result.value for result in batch] == [0, 1, 2, None]
    assert len(opened) == 4
    assert [wrapper.connection for wrapper in opened] == [None] * 4


def test_the_callers_own_connection_stays_open() -> None:
    """In a view, inside of a transaction, the wrapped function takes part in it and closes nothing."""

    @with_connections_closed
    def query() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return connection.in_atomic_block

    with transaction.atomic():
        assert query()
        assert connection.connection is not None
        assert query()


def test_a_generator_with_queries_leaves_no_connection_behind() -> None:
    """A generator that is streamed runs in a thread of its own, whose connection is closed at the end."""
    opened: list[Any] = []

    def note(connection: Any, **_: Any) -> None:
        opened.append(connection)

    def rows() -> Iterator[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 7")
            yield {"row": cursor.fetchone()[0]}

    connection_created.connect(note)
    try:
        response = stream_response(RequestFactory().get("/"), rows())
        body = b"".join(response)
    finally:
        connection_created.disconnect(note)
    assert b'{"row": 7}' in body
    assert [wrapper.connection for wrapper in opened] == [None]


def test_the_request_tells_wsgi_from_asgi(simulator: Simulator) -> None:
    """A WSGI request gets an iterator, an ASGI one an asynchronous iterator; both say the same."""
    gpt = OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai"))
    blocking = stream_response(RequestFactory().get("/"), gpt.stream("Hi"))
    awaited = stream_response(AsyncRequestFactory().get("/"), gpt.stream("Hi"))

    async def read() -> bytes:
        return b"".join([chunk async for chunk in awaited])

    assert not blocking.is_async
    assert awaited.is_async
    assert b"".join(blocking) == asyncio.run(read())


def test_the_request_of_rest_framework_is_understood(simulator: Simulator) -> None:
    """Its Request wraps the one that tells WSGI from ASGI."""

    class Wrapped:
        method = "GET"

        def __init__(self) -> None:
            self._request = AsyncRequestFactory().get("/")

    response = stream_response(Wrapped(), [])
    assert response.is_async
    response.close()


def test_closing_a_response_frees_the_provider(simulator: Simulator) -> None:
    """What a WSGI server does when its client has gone."""
    gpt = OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai"))
    simulator.script(Fault.silence())
    response = stream_response(RequestFactory().get("/"), gpt.stream("Hi"))
    next(iter(response))
    assert simulator.wait_for(1)
    response.close()
    assert simulator.wait_until_idle()


def test_a_head_request_asks_nothing(simulator: Simulator) -> None:
    """The headers come without a stream."""
    gpt = OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai"))
    response = stream_response(RequestFactory().head("/"), gpt.stream("Hi"))
    assert isinstance(response, HttpResponse)
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    assert simulator.received == []
