"""Do the types of what the pages show hold? mypy and pyright read each page's Python, and the programs in tests/typing.

Run `python docs/typecheck.py`; `make lint` does. Both read a page's blocks as one program, on the page's own line numbers. The
READMEs have to pass mypy's strict mode. On the other pages a function may lack annotations, as those of many readers do, and its
body is checked all the same. A block that is marked `<!-- test: compile -->` needs a package that is not here, and is left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import READMES, ROOT, blocks, name_of, pages

# What users write.
PROGRAMS = ROOT / "tests" / "typing"

# What they should not: a checker has to refuse each line that ends in "# wrong" or names it ("# wrong for mypy"), and no other.
MISTAKES = PROGRAMS / "wrong.py"

# Pages that do not pass yet, with the reason. A page that passes must not stand here.
NOT_YET: dict[str, str] = {}

# Django has no types, and what pyright reads out of its code instead is wrong (a response takes text as well as bytes).
_NOT_FOR_PYRIGHT = ("docs_django.py",)

_UNANNOTATED = (
    "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators, allow-subclassing-any"
)

# The oldest Python that the package supports, so that a page shows nothing that is newer.
_PYTHON = "3.10"

# A block uses what the one above has made, also where that stands in a `try`: a reader goes on when it went well. In a notebook
# the last line is an expression that shows itself.
_PYRIGHT = """{
  "pythonVersion": "%s",
  "typeCheckingMode": "standard",
  "reportPossiblyUnboundVariable": "none",
  "reportUnusedExpression": "none",
  "reportUnnecessaryTypeIgnoreComment": "error",
  "extraPaths": ["%s"],
  "exclude": %s
}
"""


def program(page: Path) -> str:
    """Return a page's Python as one program, each line where it stands on the page; nothing when there is none."""
    lines: list[str] = []
    for block in blocks(page, "python"):
        if block.mark != "compile":
            lines += [""] * (block.line - len(lines)) + block.code.splitlines()
    if lines and page not in READMES:
        lines[0] = _UNANNOTATED  # no code stands in a page's first line
    return "\n".join(lines) + "\n" if lines else ""


def write(folder: Path) -> dict[str, str]:
    """Write all that is read into a folder, and return the name in the checkout for each file's."""
    names = {}
    for page in pages():
        if code := program(page):
            file = re.sub(r"\W", "_", name_of(page).removesuffix(".md")) + ".py"
            (folder / file).write_text(code, encoding="utf-8")
            names[file] = name_of(page)
    for path in sorted(PROGRAMS.glob("*.py")):
        file = f"typing_{path.name}"
        (folder / file).write_bytes(path.read_bytes())
        names[file] = name_of(path)
    (folder / "pyrightconfig.json").write_text(
        _PYRIGHT % (_PYTHON, ROOT.as_posix(), json.dumps(_NOT_FOR_PYRIGHT)), encoding="utf-8"
    )
    return names


def mypy(folder: Path) -> subprocess.Popen[str]:
    """Start mypy on a folder, with this project's settings and cache."""
    options = ["--config-file", "pyproject.toml", "--no-error-summary", "--hide-error-context", *map(str, folder.glob("*.py"))]
    return _start("mypy", *options)


def pyright(folder: Path) -> subprocess.Popen[str]:
    """Start pyright on a folder."""
    return _start("pyright", "--pythonpath", sys.executable, "--project", str(folder))


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")


def complaints(output: str, names: dict[str, str]) -> dict[str, list[str]]:
    """Return what a checker says of each page, and under the empty name what it says of other files."""
    found: dict[str, list[str]] = {}
    page = ""
    for line in output.splitlines():
        if place := re.match(r"\s*(?P<file>\S+\.py):(?P<rest>\d+.*)", line):
            page = names.get(Path(place["file"]).name, "")
            found.setdefault(page, []).append(f"{page}:{place['rest']}" if page else line)
        elif page and line.startswith("    "):
            found[page].append(line)  # pyright's reasons stand in lines of their own
    return found


def not_refused(checker: str, lines: list[str]) -> list[str]:
    """Return what is amiss in the program of mistakes: lines that are refused and should not be, and the other way round."""
    ends = "# wrong", f"# wrong for {checker}"
    marked = {n for n, line in enumerate(MISTAKES.read_text(encoding="utf-8").splitlines(), 1) if line.endswith(ends)}
    refused = {int(found[1]) for line in lines if "error" in line and (found := re.match(r"[^:]*:(\d+)", line))}
    amiss = [f"{name_of(MISTAKES)}:{number} passes, and should be refused" for number in sorted(marked - refused)]
    return amiss + [f"{name_of(MISTAKES)}:{number} is refused, and should pass" for number in sorted(refused - marked)]


def main() -> int:
    """Run both checkers, print what they found, and return the exit code."""
    failed: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        names = write(folder)
        checkers = {"mypy": mypy(folder), "pyright": pyright(folder)}
        for name, checker in checkers.items():
            output, _ = checker.communicate()
            found = complaints(output, names)
            if checker.returncode and not found:
                print(output, file=sys.stderr)  # it did not get as far as reading
                return checker.returncode
            found[name_of(MISTAKES)] = not_refused(name, found.get(name_of(MISTAKES), []))
            for page, lines in found.items():
                if lines:
                    failed.setdefault(page, []).extend([f"{name}:", *lines])
    wrong = sorted(failed.keys() - NOT_YET.keys())
    for page in wrong:
        print("\n".join(failed[page]), file=sys.stderr)
    passing = sorted(NOT_YET.keys() - failed.keys())
    for page in passing:
        print(f"{page} passes now: take it out of NOT_YET in docs/typecheck.py", file=sys.stderr)
    if not wrong and not passing:
        print(f"mypy and pyright: no issues found in {len(names) - len(NOT_YET)} pages and programs")
    return 1 if wrong or passing else 0


if __name__ == "__main__":
    sys.exit(main())
