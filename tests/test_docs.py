"""The README and the documentation: what they show works, and what they list is complete.

Each page's Python blocks are run from top to bottom in one namespace, with the simulator behind every base URL, and so are the
`responder` commands of its shell blocks. A comment above a block says what else shall happen to it:

| comment | the block is |
| --- | --- |
| `<!-- test: compile -->` | compiled only: it needs a package or an account that is not here |
| `<!-- test: pytest -->` | run by pytest |
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generated
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pages import DOCS, FENCE, ROOT, Block, blocks, name_of, pages
from shell import environment, run

import responder
from responder.cli import main
from responder.simulator import Simulator

# Their blocks need a framework, and a server around it; the framework's own tests run such code.
FRAMEWORKS = ("django", "fastapi", "flask", "streamlit", "gradio", "pandas", "queues", "examples")

# Commands that do not end by themselves, or take long and have tests of their own: their options are read, and that is all.
READ_ONLY = ("simulate", "demo")

# What the environment points at the simulator; the models of all other providers are asked of the simulated one.
REDIRECTED = ("openai", "azure", "gemini", "vertex", "anthropic", "ollama", "simulated")


def compiled(block: Block, flags: int = 0) -> Any:
    """Return a block's code, with the page's own line numbers in its tracebacks."""
    return compile("\n" * block.line + block.code, str(block.page), "exec", flags=flags, dont_inherit=True)


def prose(page: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def pages_with(*languages: str) -> list[object]:
    return [pytest.param(page, id=name_of(page)) for page in pages() if blocks(page, *languages)]


@pytest.fixture(scope="session")
def service_account() -> dict[str, str]:
    """A service account of nobody's, in the form of Google's files."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return {
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "1",
        "private_key": key.private_bytes(*form).decode(),
        "client_email": "demo@demo.iam.gserviceaccount.com",
        "client_id": "1",
    }


@pytest.fixture
def provided(simulator: Simulator, service_account: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulator:
    """An environment as the pages assume it: keys, the simulator as every provider, and the files that they name."""
    for variable, provider in {
        "OPENAI_BASE_URL": "openai",
        "ANTHROPIC_BASE_URL": "anthropic",
        "AZURE_OPENAI_ENDPOINT": "azure",
        "GOOGLE_GEMINI_BASE_URL": "gemini",
        "GOOGLE_VERTEX_BASE_URL": "vertex",
        "OLLAMA_BASE_URL": "ollama",
    }.items():
        monkeypatch.setenv(variable, simulator.base_url(provider))
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY"):
        monkeypatch.setenv(variable, "test-key")
    monkeypatch.setenv("OPENROUTER_API_KEY", "test-key")
    account = tmp_path / "account.json"
    account.write_text(json.dumps({**service_account, "token_uri": f"{simulator.url}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")
    (tmp_path / "questions.txt").write_text("What is baseball?\nWhat is cricket?\n")
    (tmp_path / "questions.jsonl").write_text('{"id": "q1", "prompt": "What is baseball?"}\n')
    (tmp_path / "invoices.csv").write_text("id,prompt\n1,Invoice 1 over 9.50\n2,Invoice 2 over 3.00\n")
    (tmp_path / "invoice.json").write_text('{"type": "object", "properties": {"total": {"type": "number"}}}')
    (tmp_path / "reviews.csv").write_text("id,text\n1,Good.\n2,Bad.\n")
    (tmp_path / "contracts").mkdir()
    for name in ("lease.pdf", "sale.pdf"):
        (tmp_path / "contracts" / name).write_bytes(b"%PDF-1.4\n%%EOF\n")
    monkeypatch.chdir(tmp_path)
    return simulator


@pytest.mark.parametrize("page", pages_with("python"))
def test_runs_the_python_of(page: Path, provided: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of a page works, in the order in which a reader would paste them."""
    monkeypatch.setattr(
        responder.providers.registry, "_others", dict(responder.providers.registry._others)
    )  # what a page registers goes with it
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        if block.mark == "pytest":
            assert_passes(block)
        elif block.mark == "compile" or page.stem in FRAMEWORKS:
            compiled(block, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        else:
            exec(compiled(block), namespace)


def assert_passes(block: Block) -> None:
    """Run a block's own tests in a process of their own."""
    file = Path.cwd() / f"test_block_{block.line}.py"
    file.write_text(block.code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(file.parent), str(file)]
    finished = subprocess.run(command, env=environment(), cwd=file.parent, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@dataclass(frozen=True)
class Command:
    """A `responder` command of a shell block."""

    line: str
    arguments: list[str]
    is_piped: bool


def commands(block: Block) -> Iterator[Command]:
    """Yield the `responder` commands of a shell block: without what they are redirected to, and without the rest of the line."""
    for line in block.code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
        lexer.whitespace_split = True
        words = list(lexer)
        if words[:1] == ["responder"] or ("|", "responder") in itertools.pairwise(words):
            begin = words.index("responder")
            rest = words[begin + 1 :]
            ends = [rest.index(sign) for sign in ("|", ">", "&&", "&", ";") if sign in rest]
            yield Command(line.strip(), rest[: min(ends, default=len(rest))], begin > 0)


def asked_here(arguments: list[str]) -> list[str]:
    """Return the arguments with models that can be reached from here."""
    found = list(arguments)
    for place, word in enumerate(arguments[:-1]):
        if word in ("-m", "--model") and arguments[place + 1].partition(":")[0] not in REDIRECTED:
            found[place + 1] = "simulated:demo"
    return found


@pytest.mark.parametrize("page", pages_with("shell", "bash", "console", "sh"))
def test_runs_the_commands_of(page: Path, provided: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `responder` command of a page does what it should."""
    for block in blocks(page, "shell", "bash", "console", "sh"):
        for exported in re.findall(r"\bRESPONDER_MODEL=(\S+)", block.code):
            monkeypatch.setenv("RESPONDER_MODEL", exported)
        for command in commands(block):
            if command.arguments[0] in READ_ONLY:
                name, *options = command.arguments
                with main.make_context("responder", [name]) as parent:
                    main.commands[name].make_context(name, options, parent=parent)
                continue
            if "-o" in command.arguments and "--resume" not in command.arguments:
                Path(command.arguments[command.arguments.index("-o") + 1]).unlink(missing_ok=True)
            result = run(*asked_here(command.arguments), stdin="What is baseball?\n" if command.is_piped else None)
            assert result.exit_code == 0, f"{command.line}\n{result.output}"


@pytest.mark.parametrize("command", ["main", *main.commands])
def test_the_page_of_the_command_line_shows_the_help_of(command: str) -> None:
    """The command line's page has each command's `--help`, word for word (the line breaks are click's)."""
    arguments = ["--help"] if command == "main" else [command, "--help"]
    printed = CliRunner().invoke(main, arguments, prog_name="responder", terminal_width=100).stdout
    shown = [" ".join(block.code.split()) for block in blocks(DOCS / "command-line.md", "text")]
    assert " ".join(printed.split()) in shown


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    """Tables and help texts are those of this code; `python docs/generated.py` writes them anew."""
    for page in generated.PAGES:
        text = page.read_text(encoding="utf-8")
        assert generated.filled(text).split() == text.split(), f"{name_of(page)}: run python docs/generated.py"


def test_every_file_says_what_it_answers() -> None:
    """The first line of a docstring is whole, and short enough for the map of the house."""
    lines = {path: generated.first_line(path) for path in generated.HOUSE.rglob("*.py")}
    assert [str(path) for path, line in lines.items() if not line.endswith((".", "?")) or len(line) > 130] == []


def test_every_provider_is_listed() -> None:
    """The README and the page of providers name each provider, its class and the variables that hold its key."""
    for page in (ROOT / "README.md", DOCS / "providers" / "index.md"):
        rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
        for kind in responder.providers.PROVIDERS.values():
            row = next((row for row in rows if row.startswith(f"| `{kind.provider}` | `{kind.__name__}` |")), "")
            assert row, f"{name_of(page)} lacks {kind.provider}"
            assert all(f"`{variable}`" in row for variable in kind.key_variables), row


def test_every_error_is_explained() -> None:
    """The page of errors has each error class that can be caught."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    exported = [getattr(responder, name) for name in responder.__all__]
    errors = [thing for thing in exported if isinstance(thing, type) and issubclass(thing, responder.ResponderError)]
    assert [error.__name__ for error in errors if not re.search(rf"^ *{error.__name__}\b", page, re.MULTILINE)] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in pages()])
def test_links_lead_somewhere_from(page: Path) -> None:
    """Each link within the project names a file that is there, and a heading that is in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in anchors(found), f"{name_of(page)} links to {target}"


def messages() -> list[str]:
    """Return every text in the package's code, with `...` for what is filled in."""
    found = []
    for path in (ROOT / "responder").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values))
    return found


def test_troubleshooting_quotes_messages_that_exist() -> None:
    """Each heading of the page stands in the code, word for word, so that a search for a message finds it."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(quoted) >= 35
    texts = messages()
    for heading in quoted:
        pattern = re.compile(".*".join(re.escape(part) for part in heading.split("...")), re.DOTALL)
        assert any(pattern.search(text) for text in texts), f"no message says {heading!r}"


PROMISES = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (DOCS / "promises.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), PROMISES, ids=lambda part: part)
def test_the_test_behind_a_promise_exists(file: str, name: str) -> None:
    """A promise that nothing tests is none."""
    found = [path for path in Path(__file__).parent.rglob(file) if f"def {name}(" in path.read_text(encoding="utf-8")]
    assert found, f"docs/promises.md names {file}::{name}"


def test_the_promises_are_read() -> None:
    """The pattern above finds them."""
    assert len(PROMISES) >= 25
