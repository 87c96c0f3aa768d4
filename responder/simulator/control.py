"""How is a simulator in another process controlled? JSON over HTTP, below `/_simulator/`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from .engine import Engine
from .faults import Fault
from .reply import CONTROL_PREFIX


async def answer(engine: Engine, target: str, content: bytes) -> web.Response:
    """Carry out one command.

    Args:
        engine: The simulator.
        target: Path and query.
        content: JSON object with the command's arguments.
    """
    path, _, query = target.partition("?")
    values: dict[str, Any] = {name: given[0] for name, given in parse_qs(query).items()}
    try:
        if content:
            values.update(json.loads(content))
        result = await _obey(engine, path[len(CONTROL_PREFIX) :], values)
    except (ValueError, TypeError, KeyError) as error:
        return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
    return web.json_response(result)


async def _obey(engine: Engine, order: str, values: dict[str, Any]) -> Any:
    journal, script = engine.journal, engine.script
    if order == "ready":
        return {"simulator": "responder", "simulated": True}
    if order == "received":
        return [dataclasses.asdict(entry) for entry in journal.received(int(values.get("since", 0)))]
    if order == "counts":
        return {**journal.counts(), "pending_faults": script.pending()}
    if order == "script":
        script.add(_faults(values))
        return {}
    if order == "script_for":
        script.add_for(str(values["text"]), _faults(values))
        return {}
    if order == "always":
        script.set_always(None if values["fault"] is None else Fault.from_json(values["fault"]))
        return {}
    if order == "hold":
        return {"hold": engine.gates.build(int(values["size"]), asyncio.get_running_loop())}
    if order == "release":
        engine.gates.get(int(values["hold"])).release()
        return {}
    if order == "batches":
        return [dataclasses.asdict(batch) for batch in engine.batches.seen()]
    if order == "advance":
        engine.batches.advance(float(values["hours"]))
        return {}
    if order == "clear":
        engine.clear()
        return {}
    return await _wait(engine, order, values)


async def _wait(engine: Engine, order: str, values: dict[str, Any]) -> Any:
    timeout = float(values.get("timeout", 10.0))
    if order == "wait_for_hold":
        return {"done": await asyncio.to_thread(engine.gates.get(int(values["hold"])).opened.wait, timeout)}
    if order == "wait_for":
        return {"done": await asyncio.to_thread(engine.journal.wait_for, int(values["number"]), timeout)}
    if order == "wait_until_idle":
        return {"done": await asyncio.to_thread(engine.journal.wait_until_idle, timeout)}
    raise ValueError(f"there is no command {order!r}")


def _faults(values: dict[str, Any]) -> tuple[Fault, ...]:
    return tuple(Fault.from_json(fault) for fault in values["faults"])
