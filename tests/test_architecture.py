"""The plan of the house, kept true: imports go down only, and each third-party package has one owner."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import environment

import responder
from responder.simulator import Simulator

HOUSE = Path(responder.__file__).parent

# The folders, and the modules beside them, from the ground up: each may import from those above it in this list. Inside a folder
# modules may know one another, as long as no import goes in a circle.
FLOORS = [
    {"_version"},
    {"values"},
    {"wire"},
    {"pace"},
    {"call"},
    {"report"},
    {"many"},
    {"recipe"},
    {"responder"},
    {"providers"},
    {""},  # the front door
    {"cli", "integrations", "limit_store", "stream"},  # the last two are old names for what stands at the front door now
    {"__main__"},
]

OWNERS = {
    "requests": {"wire.transport", "wire.adapter", "wire.foreign", "wire.patches", "wire.routes", "wire.translation"},
    "urllib3": {"wire.patches", "wire.translation"},
    "tenacity": {"call.retry"},
    "google": {"wire.credentials"},
    "botocore": {"wire.signing"},
    "tqdm": {"many.progress"},
    "genai_prices": {"pace.prices"},
    "click": {"cli"},
    "redis": {"pace.redis_store", "many.journal"},  # imported where a store or a journal in Redis is made
    "pandas": {"values.frames", "values.results", "integrations.pandas"},  # the frames of a batch: imported when one is asked for
    "polars": {"values.frames", "values.results", "integrations.polars"},
    "numpy": {"values.embeddings"},  # imported where `Embeddings.numpy` is called
    "pyarrow": {"cli.tables", "cli.vectors", "values.frames", "values.results", "integrations.arrow"},
    "aiohttp": {"simulator"},
    "multidict": {"simulator"},  # comes with aiohttp, which hands its values out
    "pytest": {"simulator"},
    "pydantic": {"values.schema", "values.functions"},
    "jsonschema": {"values.schema"},
    "referencing": {"values.schema"},  # comes with jsonschema, which resolves references with it
    "typing_extensions": {"values.keywords", "values.answer"},  # read by type checkers alone, which bring it along
}


def rooms() -> dict[str, Path]:
    """Return the file of each module, by its name without the package's."""
    found = {}
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


ROOMS = rooms()


def imports(room: str) -> Iterator[str]:
    """Yield the whole name of each module that a room imports, wherever in the file."""
    path = ROOMS[room]
    package = ["responder", *path.relative_to(HOUSE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                # `from responder import mapping` names a module; `from responder.values.answer import Answer` what is in one.
                yield name if name.removeprefix("responder.") in ROOMS else base


def inside(room: str) -> set[str]:
    """Return the rooms of our own that a room imports."""
    return {
        name.removeprefix("responder").removeprefix(".")
        for name in imports(room)
        if name == "responder" or name.startswith("responder.")
    }


def floor(room: str) -> int:
    for number, names in enumerate(FLOORS):
        if room.partition(".")[0] in names:
            return number
    raise AssertionError(f"responder/{room} has no floor: move it into a folder that has one")


def in_the_garden(room: str) -> bool:
    return room == "simulator" or room.startswith("simulator.")


HOUSE_ROOMS = [room for room in ROOMS if not in_the_garden(room)]


@pytest.mark.parametrize("room", HOUSE_ROOMS)
def test_imports_go_down(room: str) -> None:
    """Never up, and sideways only within a folder."""
    own = floor(room)
    for other in inside(room):
        if in_the_garden(other):
            assert room == "providers.simulated" or room.startswith("cli"), f"{room} imports the simulator"
            continue
        same_folder = room.partition(".")[0] == other.partition(".")[0]
        assert same_folder or floor(other) < own, f"{room} imports {other}"


def test_no_imports_go_in_circles() -> None:
    """Also where they may go sideways."""
    done: set[str] = set()

    def visit(room: str, way: tuple[str, ...]) -> None:
        assert room not in way, " -> ".join([*way, room])
        if room not in done:
            for other in inside(room):
                if other in ROOMS and not in_the_garden(other) and other not in ("cli", "integrations"):
                    visit(other, (*way, room))
            done.add(room)

    for room in HOUSE_ROOMS:
        visit(room, ())


@pytest.mark.parametrize("room", ROOMS)
def test_each_package_is_imported_by_its_owner_alone(room: str) -> None:
    """`requests` is known in one room, tenacity in another."""
    for name in imports(room):
        root = name.partition(".")[0]
        if room.startswith("integrations.") and root not in OWNERS:
            continue  # a framework's own integration imports it, and whatever the framework stands on
        if root != "responder" and root not in sys.stdlib_module_names:
            assert root in OWNERS, f"{room} imports {root}, which nobody owns"
            assert {room, room.partition(".")[0]} & OWNERS[root], f"{room} imports {root}"


@pytest.mark.parametrize("room", [room for room in ROOMS if in_the_garden(room)])
def test_the_simulator_imports_nothing_of_the_house(room: str) -> None:
    """A mistake that both sides share would hide itself."""
    assert all(in_the_garden(other) for other in inside(room))


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("providers.") and room != "providers.simulated"])
def test_a_provider_knows_no_threads_and_no_clock(room: str) -> None:
    """It is pure: a URL, a payload, a parse."""
    assert not {"threading", "time", "socket", "http", "concurrent"} & {name.partition(".")[0] for name in imports(room)}


def test_no_room_is_a_drawer_for_everything() -> None:
    """The door plate says what is inside."""
    assert not {name.rpartition(".")[2] for name in ROOMS} & {"utils", "helpers", "common", "misc", "base_utils"}


# In a process of its own: what other tests have registered (a tracer, a framework's context) has files of its own on the way.
_CALL = """
import json, socket, sys, traceback
from pathlib import Path
import responder

house, stacks, send = Path(responder.__file__).parent, [], socket.socket.send

def noting(self, *arguments):
    ours = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(house)]
    stacks.append([(Path(frame.filename).relative_to(house).as_posix(), frame.name) for frame in ours])
    return send(self, *arguments)

socket.socket.send = noting
with responder.OpenAIResponder("m", api_key="k", base_url=sys.argv[1]) as gpt:
    assert gpt.map(["Hi"], max_workers=1).ok
print(json.dumps([stack for stack in stacks if stack and stack[0][0] == "many/parallel.py"]))
"""


def test_the_documented_way_of_a_prompt_is_the_one_it_takes(simulator: Simulator) -> None:
    """From `map` to the socket, file by file, with the function to read in each."""
    page = (HOUSE.parent / "docs" / "contributing.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\d+\. `([a-z_/]+\.py)`, `(\w+)`", page, re.MULTILINE)
    command = [sys.executable, "-c", _CALL, simulator.base_url("openai")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (way,) = json.loads(done.stdout)
    assert list(dict.fromkeys(file for file, _ in way)) == [file for file, _ in documented]
    assert set(documented) <= {(file, name) for file, name in way}
