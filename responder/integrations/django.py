"""How does a Django project ask, and stream to a browser? Settings, checks, a streaming response, closed connections.

    # settings.py
    INSTALLED_APPS = [..., "responder.integrations.django_app"]
    RESPONDER = {
        "default": {"model": "openai:gpt-4o-mini", "timeout": 30},
        "claude": {"model": "anthropic:claude-sonnet-4-5", "limits": {"requests_per_minute": 500}},
    }

    # views.py
    def ask(request):
        return stream_response(request, get_responder().stream(request.GET["prompt"]))

Nothing is made at import: the first `get_responder` of a process makes the responder, and all requests share it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from responder.integrations import missing
from responder.integrations.registry import Registry
from responder.integrations.sse import HEARTBEAT, Format, chunks_of
from responder.integrations.wsgi import client_watch, warn_about_worker
from responder.many.workers import carry_along
from responder.pace.limits import Limits
from responder.providers import for_model
from responder.providers.stand_ins import make_mute
from responder.responder import Responder
from responder.values.deadline import Timeout
from responder.values.errors import ConfigurationError

try:
    from django.apps import AppConfig
    from django.conf import settings
    from django.core import checks
    from django.core.handlers.asgi import ASGIRequest
    from django.core.signals import setting_changed
    from django.db import connections
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.http.response import HttpResponseBase
    from django.utils import timezone, translation
except ModuleNotFoundError as error:
    raise missing("Django", "django") from error

P = ParamSpec("P")
V = TypeVar("V")

_SETTING = "RESPONDER"
_EXAMPLE = 'RESPONDER = {"default": {"model": "openai:gpt-4o-mini"}}'

_responders = Registry()


# Responders from the settings


def get_responder(name: str = "default") -> Responder:
    """Return the responder with this name in the settings; one for each name and process.

    Args:
        name: A key of the `RESPONDER` setting. Its value holds "model" ("provider:model") and the keywords of the
            provider's class; "limits" and "timeout" may be dicts of what `Limits` and `Timeout` take.

    Raises:
        ConfigurationError: No such name, or invalid settings; the message says what to type.
    """
    return _responders.get(name, lambda: _make(name, _configured(name), for_model))


def _configured(name: str) -> Mapping[str, Any]:
    found = getattr(settings, _SETTING, None)
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"settings.{_SETTING} is missing or not a dict: write {_EXAMPLE} in the settings")
    if name not in found:
        raise ConfigurationError(f"settings.{_SETTING} has no {name!r}, only {', '.join(map(repr, found)) or 'nothing'}")
    keywords = found[name]
    if not isinstance(keywords, Mapping):
        raise ConfigurationError(f"settings.{_SETTING}[{name!r}] must be a dict, such as {{'model': 'openai:gpt-4o-mini'}}")
    return keywords


def _make(name: str, configured: Mapping[str, Any], maker: Callable[..., V]) -> V:
    keywords = dict(configured)
    model = keywords.pop("model", None)
    if not isinstance(model, str):
        raise ConfigurationError(f'settings.{_SETTING}[{name!r}] needs "model", such as "openai:gpt-4o-mini"')
    try:
        for keyword, kind in (("limits", Limits), ("timeout", Timeout)):
            if isinstance(keywords.get(keyword), Mapping):
                keywords[keyword] = kind(**keywords[keyword])
        return maker(model, **keywords)
    except (ConfigurationError, TypeError, ValueError) as error:
        raise ConfigurationError(f"settings.{_SETTING}[{name!r}]: {error}") from error


def _forget(*, setting: str, **_: Any) -> None:
    if setting == _SETTING:
        _responders.clear()


setting_changed.connect(_forget, dispatch_uid="responder.integrations.django")


# Checks


class ResponderConfig(AppConfig):
    """The app: its checks come with `manage.py check`, and with every `runserver` and `migrate`."""

    name = "responder.integrations.django"
    label = "responder"
    verbose_name = "Responder"


# Registered by the import, since a bare "responder.integrations.django" in INSTALLED_APPS makes a config of Django's own.
@checks.register
def check_settings(app_configs: Sequence[Any] | None = None, **_: Any) -> list[Any]:  # noqa: ARG001 - Django's signature
    """Check the `RESPONDER` setting: an Error for what cannot work, a Warning for a key that is missing (so far).

    No request is made. A machine that only builds or migrates has no keys, and that must not stop it.

    Returns:
        What was found: responder.E001 (the setting's form), responder.E002 (an entry), responder.W001 (a key).
    """
    found = getattr(settings, _SETTING, None)
    if found is None:
        return []
    if not isinstance(found, Mapping):
        return [checks.Error(f"{_SETTING} must be a dict of dicts.", hint=f"Write {_EXAMPLE}", id="responder.E001")]
    messages: list[Any] = []
    if found and "default" not in found:
        hint = "get_responder() without a name will fail: name one of them default, or always give a name."
        messages.append(checks.Warning(f'{_SETTING} has no "default".', hint=hint, id="responder.W002"))
    for name in found:
        messages += _check(name)
    return messages


def _check(name: str) -> list[Any]:
    try:
        responder, lacking = _make(name, _configured(name), make_mute)
    except ConfigurationError as error:
        return [checks.Error(str(error), id="responder.E002")]
    responder.close()
    if lacking is None:
        return []
    # What production has in its environment: keys, endpoints, projects.
    text = f"settings.{_SETTING}[{name!r}]: {lacking}"
    return [checks.Warning(text, hint="Set it where the server runs.", id="responder.W001")]


# Streaming


def stream_response(
    request: HttpRequest,
    stream: Iterable[Any],
    *,
    format: Format = "events",  # noqa: A002 - the plain word
    heartbeat: float | None = HEARTBEAT,
) -> HttpResponseBase:
    """Return a response that shows a stream as it comes, under WSGI and ASGI, and cancels it when the browser leaves.

    Args:
        request: The view's request (Django's, or the one of Django REST framework); it tells WSGI from ASGI.
        stream: A Stream, MergedStreams, a Run, or any iterable of texts or JSON objects. A generator may use the ORM: it runs
            in a thread of its own, whose connections are closed at the end.
        format: "events" (server-sent events, see `responder.integrations.sse`) or "text" (plain text, as it comes).
        heartbeat: Seconds of silence after which a comment is sent, so that proxies and servers see activity; None: never.

    Raises:
        ConfigurationError: An unknown format, or one that cannot show this source.
    """
    request = getattr(request, "_request", request)
    is_async = isinstance(request, ASGIRequest)
    gone = None
    if not is_async:
        environ = getattr(request, "environ", {})
        warn_about_worker(environ)
        gone = client_watch(environ)
    chunks, headers = chunks_of(stream, format, heartbeat, gone=gone, around=with_connections_closed)
    if request.method == "HEAD":
        chunks.cancel("only the headers were asked for")  # nothing was sent to the provider
        return HttpResponse(headers=headers)
    return StreamingHttpResponse(chunks.awaited() if is_async else chunks, headers=headers)


# What belongs to a thread


def _of_this_thread() -> Iterator[tuple[Any, Any]]:
    # Where neither was set, Django looks for an attribute that is missing, and on Python 3.10 that error and its frames keep one
    # another, and the frames of all callers, until a garbage collection: the prompt, the run, its connections. A generator's
    # frame knows its caller only while it runs.
    yield translation.get_language(), timezone.get_current_timezone()


def _language_and_time_zone() -> Callable[[], contextlib.AbstractContextManager[object]]:
    """Return what gives a worker the language and the time zone of the current thread, where Django keeps them."""
    if not settings.configured:
        return contextlib.nullcontext
    language, zone = next(_of_this_thread())

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with timezone.override(zone), translation.override(language):
            yield

    return both


carry_along(_language_and_time_zone)


def with_connections_closed(function: Callable[P, V]) -> Callable[P, V]:
    """Wrap a function that uses the ORM in a worker thread: connections that it opens are closed when it returns.

    Django keeps a connection for each thread and closes it at the end of a request, which a worker never sees: each would leave
    one behind, until the database refuses more.

        batch = parallel_map(with_connections_closed(translate), list(Article.objects.all()))

    A connection that the calling thread had before stays open, so the same function may be called in a view, inside of
    `transaction.atomic`, too. `on_result` runs in the caller's thread and needs no wrapping.
    """

    @functools.wraps(function)
    def wrapped(*arguments: P.args, **keywords: P.kwargs) -> V:
        had = set()
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:  # Django's `close_old_connections` would close that one, too
                connection.close_if_unusable_or_obsolete()
            if connection.connection is not None:
                had.add(connection.alias)
        try:
            return function(*arguments, **keywords)
        finally:
            for connection in connections.all(initialized_only=True):
                if connection.alias not in had:
                    connection.close()

    return wrapped
