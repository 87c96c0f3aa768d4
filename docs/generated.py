"""What in the documentation is made from the code: the tables of providers, the help texts, the map of the house, and the
front page's numbers (from the page of benchmarks).

Run `python docs/generated.py` after changing a provider, a command, the first line of a file or a benchmark's table; a test fails
if you forget.
Everything between `<!-- made:NAME -->` and `<!-- end -->` is replaced.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
from pathlib import Path

from click.testing import CliRunner
from pages import DOCS, ROOT

import responder
from responder.cli import main
from responder.providers import PROVIDERS
from responder.providers.hosts import HOSTS
from responder.responder import Responder

PAGES = (
    ROOT / "README.md",
    ROOT / "README.ja.md",
    DOCS / "providers" / "index.md",
    DOCS / "providers" / "compatible.md",
    DOCS / "command-line.md",
    DOCS / "contributing.md",
    DOCS / "index.md",
)

HOUSE = ROOT / "responder"

# The folders and the recipe between them, from the ground up, as the imports go.
ROOMS = (
    *("values", "wire", "pace", "call", "report", "many", "recipe", "responder.py", "providers", "__init__.py"),
    *("cli", "integrations", "simulator"),
)

_MADE = re.compile(r"(<!-- made:(?P<name>[\w ]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)

# What a class cannot say of itself in one word.
_GOOGLE = "Google's Application Default Credentials"
_AMAZON = "`AWS_BEARER_TOKEN_BEDROCK`, or AWS credentials"
_KEYS = {
    "vertex": _GOOGLE,
    "vertex-partner": _GOOGLE,
    "anthropic-vertex": _GOOGLE,
    "bedrock": _AMAZON,
    "anthropic-bedrock": _AMAZON,
    "compatible": "`api_key=`, if it needs one",
}
_BASES = {
    "azure": "yours, from `AZURE_OPENAI_ENDPOINT`",
    "vertex": "by location, or `GOOGLE_VERTEX_BASE_URL`",
    "vertex-partner": "by location, or `GOOGLE_VERTEX_BASE_URL`",
    "anthropic-vertex": "by location, or `ANTHROPIC_VERTEX_BASE_URL`",
    "bedrock": "by `AWS_REGION`, or `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`",
    "anthropic-bedrock": "by `AWS_REGION`, or `ANTHROPIC_BEDROCK_BASE_URL`",
    "anthropic-foundry": "yours, from `ANTHROPIC_FOUNDRY_RESOURCE` or `ANTHROPIC_FOUNDRY_BASE_URL`",
    "compatible": "yours, as `base_url=`",
    "simulated": "in this process",
}


def key(kind: type[Responder]) -> str:
    """Return where a provider's key comes from, as Markdown."""
    names = " or ".join(f"`{name}`" for name in kind.key_variables)
    if kind.provider in _KEYS:
        return _KEYS[kind.provider]
    if not names:
        return "none"
    return names if kind.key_required else f"none, or {names}"


def base(kind: type[Responder]) -> str:
    """Return where a provider is, as Markdown."""
    if kind.provider in _BASES:
        return _BASES[kind.provider]
    variables = "".join(f" or `{name}`" for name in kind.base_url_variables)
    return f"`{kind.base_url}`{variables}"


def providers() -> str:
    """Return the short table of the README."""
    rows = [f"| `{kind.provider}` | `{kind.__name__}` | {key(kind)} |" for kind in PROVIDERS.values()]
    return "\n".join(["| name | class | key |", "|---|---|---|", *rows]) + "\n"


def bases() -> str:
    """Return the table with the base URLs."""
    rows = [f"| `{kind.provider}` | `{kind.__name__}` | {key(kind)} | {base(kind)} |" for kind in PROVIDERS.values()]
    return "\n".join(["| name | class | key | base URL |", "|---|---|---|---|", *rows]) + "\n"


def first_line(path: Path) -> str:
    """Return the first line of a file's docstring: the question that the file answers, or its answer."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def rooms() -> str:
    """Return the table of the rooms, each with the first line of its folder's `__init__.py`, in the order of the imports."""
    found = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    if differing := sorted(found ^ {room for room in ROOMS if not room.endswith(".py")}):
        raise ValueError(f"docs/generated.py: ROOMS and the folders of responder/ differ in {differing}")
    plates = {room: HOUSE / (room if room.endswith(".py") else f"{room}/__init__.py") for room in ROOMS}
    rows = [f"| `{room}{'' if room.endswith('.py') else '/'}` | {first_line(path)} |" for room, path in plates.items()]
    return "\n".join(["| room | what you find there |", "|---|---|", *rows]) + "\n"


def house() -> str:
    """Return the map of the house: a table for each folder, with the first line of each file."""
    return "\n".join([*(_files(HOUSE / room, "**/*.py") for room in ROOMS if not room.endswith(".py")), _files(HOUSE, "*.py")])


def _files(folder: Path, pattern: str) -> str:
    files = sorted(folder.glob(pattern), key=lambda path: (len(path.parts), path))
    cells = [(path.relative_to(folder).as_posix(), first_line(path).replace("|", "\\|")) for path in files]
    title = f"`{folder.relative_to(ROOT).as_posix()}/`"
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| `{name}` | {line} |" for name, line in cells)]) + "\n"


def hosts() -> str:
    """Return the table of the hosts that have no section of their own."""
    lines = [line for line in HOSTS.values() if PROVIDERS[line.name].__name__ not in responder.__all__]
    rows = [
        f"| [{line.title}]({line.docs}) | `{line.name}` | {key(PROVIDERS[line.name])} | `{line.base_url}` |" for line in lines
    ]
    return "\n".join(["| host | name | key | base URL |", "|---|---|---|---|", *rows]) + "\n"


# What comes with each client as the benchmark uses it, with its defaults.
_GIVES = {
    "responder map": "an answer or an error for each prompt, retries, limits shared by all threads, resume, cost, a report",
    "requests, threads": "the first failure ends it",
    "aiohttp + uvloop, gather": "the first failure ends it; asyncio",
    "openai SDK, threads": "retries; the first failure ends it",
    "AsyncOpenAI, gather": "retries; the first failure ends it; asyncio",
    "litellm.batch_completion": "an answer or an error for each prompt, retries",
    "LangChain batch": "an answer or an error for each prompt, retries",
}


def lines_of_code() -> dict[str, int]:
    """Return how many lines the benchmark needs for each client: without imports, comments and blank lines."""
    path = ROOT / "benchmarks" / "contenders.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    source = path.read_text(encoding="utf-8").splitlines()
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    table = next(node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONTENDERS")
    found = {}
    for entry in ast.walk(table):
        if isinstance(entry, ast.Call):
            label, _, name = (ast.unparse(argument) for argument in entry.args)
            function = functions[name]
            imported = {
                line
                for node in ast.walk(function)
                if isinstance(node, (ast.Import, ast.ImportFrom))
                for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
            }
            numbers = range(function.lineno + 1, (function.end_lineno or 0) + 1)
            code = [source[number - 1].strip() for number in numbers if number not in imported]
            found[ast.literal_eval(label)] = sum(bool(line) and not line.startswith("#") for line in code) - (
                "return run" in code
            )
    return found


def peers() -> str:
    """Return how clients compare, for the front page: the first table of the throughput benchmark, and the lines it needs."""
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    lines = page.partition("<!-- table:throughput -->")[2].partition("<!-- end:throughput -->")[0].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("HTTP: "))
    header = ["client", *re.split(r"  +", lines[start + 1].strip())]
    code = lines_of_code()
    rows = []
    for line in itertools.takewhile(str.strip, lines[start + 3 :]):
        found = dict(zip(header, re.split(r"  +", line.strip()), strict=True))
        client, seconds = found["client"], 1000 * float(found["wall s"]) / int(found["calls"])
        # A number stays with its unit.
        numbers = f"{seconds:.2f}&nbsp;s | {float(found['CPU us/call']) / 1000:.2f}&nbsp;ms | {found['peak MB']}&nbsp;MB"
        rows.append(f"| {client} | {code[client]} | {numbers} | {_GIVES[client]} |")
    titles = "| client | lines of code | 1,000 calls | CPU per call | memory | what you get |"
    return "\n".join([titles, "|---|---:|---:|---:|---:|---|", *rows]) + "\n"


def speedup_in_japanese() -> str:
    """Return the README's table of the speed-up with a Japanese header."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- table:speedup -->\n")[2].partition("<!-- end:speedup -->")[0]
    _, rule, *rows = table.splitlines()
    header = "| 呼び出し回数 | ワーカー数 | 逐次実行 | `map` | 速度比 |"
    return "\n".join([header, rule, *(row.replace(" s |", " 秒 |").replace("x |", " 倍 |") for row in rows)]) + "\n"


def help_text(command: str) -> str:
    """Return what `responder COMMAND --help` prints in a terminal of 100 columns; "main" is `responder --help`."""
    arguments = [] if command == "main" else [command]
    result = CliRunner().invoke(main, [*arguments, "--help"], prog_name="responder", terminal_width=100)
    return f"```text\n{result.stdout.rstrip()}\n```\n"


def filled(text: str) -> str:
    """Return a page with its generated parts made anew."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        tables = {
            "providers": providers,
            "base urls": bases,
            "hosts": hosts,
            "rooms": rooms,
            "house": house,
            "peers": peers,
            "speedup ja": speedup_in_japanese,
        }
        return found[1] + (tables[name]() if name in tables else help_text(name.removeprefix("help "))) + found[4]

    return _MADE.sub(made, text)


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
