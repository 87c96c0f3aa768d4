"""How do the bytes reach the client, intact or not?

A healthy reply goes out through aiohttp. Most faults of the connection are below what an HTTP library lets one do, so
they write to the transport themselves. The line of the log is finished *before* the last byte leaves: a client that
has read the answer finds it in the log.
"""

from __future__ import annotations

import asyncio
import http
import json
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from .engine import Verdict
from .faults import Fault
from .reply import Reply, to_bytes

Finish = Callable[[str, int | None], None]

_HTML = b"<!DOCTYPE html>\n<html><head><title>Simulated proxy</title></head><body>Please sign in.</body></html>\n"
_DRAIN_STEP_S = 0.001
_NEEDS_TRANSPORT = frozenset(
    {"reset", "close", "silence", "silence_after_headers", "drip", "short_body", "stall_stream", "heartbeats"}
)


class Gone(web.StreamResponse):
    """Tells aiohttp that the connection is finished: nothing more is written to it."""

    async def prepare(self, request: Any) -> Any:  # noqa: ARG002 - the parent class sets the name
        """Refuse to start a response."""
        raise ConnectionResetError("The simulator ended this connection on purpose.")


async def deliver(
    request: web.BaseRequest, verdict: Verdict, tokens_per_second: float | None, finish: Finish
) -> web.StreamResponse:
    """Send a reply, spoiled by its fault if it has one.

    Args:
        request: The request that is answered.
        verdict: What to send.
        tokens_per_second: Pace of a stream; None for as fast as possible.
        finish: Called once with outcome and status, just before the last byte goes out.

    Returns:
        What aiohttp wants back from its handler.
    """
    fault = verdict.fault
    reply = verdict.reply
    outcome = "refused" if reply.error else "answered"
    if fault is not None:
        outcome = f"fault:{fault.name}"
        if fault.name in _NEEDS_TRANSPORT:
            transport = request.transport
            if transport is None:
                raise ConnectionResetError("The client has left.")
            await _Raw(transport, verdict, finish, outcome).send(fault)
            return Gone()
        reply = _spoiled(verdict, fault)
    headers = CIMultiDict(reply.headers)
    headers["content-type"] = reply.content_type
    if reply.events is None:
        _check(request)
        response = web.Response(body=reply.body, status=reply.status, headers=headers)
        finish(outcome, reply.status)
        await response.prepare(request)
        await response.write_eof()
        return response
    return await _stream(request, reply, headers, tokens_per_second, lambda: finish(outcome, reply.status))


async def _stream(
    request: web.BaseRequest,
    reply: Reply,
    headers: CIMultiDict[str],
    tokens_per_second: float | None,
    finish: Callable[[], None],
) -> web.StreamResponse:
    events = reply.events or []
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    due = loop.time()
    last = len(events) - 1
    for number, (data, tokens) in enumerate(events):
        if tokens_per_second is not None and tokens:
            due += tokens / tokens_per_second
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
        if number == last:
            _check(request)
            finish()
        await response.write(data)
    if not events:
        finish()
    await response.write_eof()
    return response


def _check(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client has left.")


def _spoiled(verdict: Verdict, fault: Fault) -> Reply:
    """Return the reply with what the fault does to its content."""
    reply, name = verdict.reply, fault.name
    if name == "cut_json":
        body = reply.whole()
        return Reply(body[: len(body) // 2], reply.status, reply.headers, reply.content_type)
    if name == "empty_body":
        return Reply(b"", 200, reply.headers, reply.content_type)
    if name == "reply":
        more = dict(fault.headers)
        content_type = more.pop("content-type", reply.content_type)
        return Reply(to_bytes(fault.body or ""), fault.http_status, more, content_type)
    if name == "not_json":
        return Reply(_HTML, 200, {}, "text/html; charset=utf-8")
    if name == "wrong_content_type":
        return Reply(reply.body, reply.status, reply.headers, fault.headers[0][1], reply.events)
    if name == "redirect":
        return Reply(b"", fault.http_status, dict(fault.headers), "text/plain")
    if name == "error_in_200":
        code = int(fault.error_code) if fault.error_code and fault.error_code.isdigit() else fault.error_code
        return Reply(to_bytes(json.dumps({"error": {"message": fault.message, "code": code}})), 200, reply.headers)
    if reply.events is not None and name == "cut_stream":
        return Reply(b"", reply.status, reply.headers, reply.content_type, reply.events[: fault.after_events])
    if reply.events is not None and name == "stream_error":
        error = verdict.dialect.stream_error(fault.message)
        return Reply(b"", reply.status, reply.headers, reply.content_type, [*reply.events[: fault.after_events], error])
    return reply


class _Raw:
    """Writes to the transport itself, for what an HTTP library would never do."""

    def __init__(self, transport: asyncio.Transport, verdict: Verdict, finish: Finish, outcome: str) -> None:
        self._transport = transport
        self._reply = verdict.reply
        self._heartbeat = verdict.dialect.heartbeat
        self._finish = finish
        self._outcome = outcome

    async def send(self, fault: Fault) -> None:
        reply = self._reply
        if fault.name in ("reset", "close"):
            if not fault.before_headers:
                self._transport.write(self._head() + self._framed(reply.whole()[: fault.after_bytes]))
            await self._end(reset=fault.name == "reset", sent=not fault.before_headers)
        elif fault.name == "short_body":
            whole = reply.whole()
            self._transport.write(self._head() + self._framed(whole[: len(whole) // 2]))
            await self._end(reset=False, sent=True)
        elif fault.name == "silence":
            await _for_ever()
        elif fault.name == "silence_after_headers":
            self._transport.write(self._head())
            await _for_ever()
        elif fault.name == "drip":
            await self._drip(fault)
        elif fault.name == "stall_stream":
            self._transport.write(self._head() + self._start(fault.after_events))
            await _for_ever()
        else:
            await self._heartbeats(fault)

    def _head(self, *, chunked: bool | None = None, more: str = "") -> bytes:
        reply = self._reply
        if chunked is None:
            chunked = reply.events is not None
        length = "transfer-encoding: chunked" if chunked else f"content-length: {len(reply.body)}"
        fields = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        reason = http.HTTPStatus(reply.status).phrase if reply.status in _STATUSES else "Unknown"
        return (
            f"HTTP/1.1 {reply.status} {reason}\r\ndate: {formatdate(usegmt=True)}\r\ncontent-type: "
            f"{reply.content_type}\r\n"
            f"{length}\r\n{fields}{more}\r\n"
        ).encode("latin-1", "replace")

    def _framed(self, data: bytes) -> bytes:
        """Frame body bytes; a chunk announces one byte more than it holds, so that it is never complete."""
        if self._reply.events is None or not data:
            return data
        return b"%x\r\n" % (len(data) + 1) + data

    def _start(self, events: int) -> bytes:
        if self._reply.events is None:
            return self._reply.body[: len(self._reply.body) // 2]
        return b"".join(_chunk(data) for data, _ in self._reply.events[:events])

    async def _drip(self, fault: Fault) -> None:
        head = self._head(more="connection: close\r\n")
        chunked = self._reply.events is not None
        whole = self._reply.whole()
        units = [bytes([byte]) for byte in head] if fault.with_headers else [head]
        units += [_chunk(bytes([byte])) if chunked else bytes([byte]) for byte in whole]
        if chunked:
            units.append(b"0\r\n\r\n")
        for number, unit in enumerate(units):
            if number:
                await asyncio.sleep(fault.seconds)
            if number == len(units) - 1:
                self._finish(self._outcome, self._reply.status)
            self._transport.write(unit)
        self._transport.close()

    async def _heartbeats(self, fault: Fault) -> None:
        streamed = self._reply.events is not None
        self._transport.write(self._head(chunked=True))
        if streamed:
            self._transport.write(self._start(fault.after_events))
        beat = _chunk(self._heartbeat if streamed else b"\n")
        while True:
            self._transport.write(beat)
            await asyncio.sleep(fault.seconds)

    async def _end(self, *, reset: bool, sent: bool) -> None:
        """End the connection: a FIN, or with `reset` a RST."""
        while self._transport.get_write_buffer_size() and not self._transport.is_closing():
            await asyncio.sleep(_DRAIN_STEP_S)
        self._finish(self._outcome, self._reply.status if sent else None)
        if not reset:
            self._transport.close()
            return
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            # Lingering for zero seconds turns the close into a RST.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


_STATUSES = frozenset(int(status) for status in http.HTTPStatus)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


async def _for_ever() -> None:
    """Wait until the client goes away or the simulator stops: both cancel the request."""
    await asyncio.get_running_loop().create_future()
