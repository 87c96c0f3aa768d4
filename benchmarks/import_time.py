"""What does `import` cost, and what does it pull in?

The wall time of `python -c "import X"` less that of `python -c ""`, each in a process of its own, interleaved, the
median of ten; then which heavy modules are loaded afterwards, though nothing was used yet.

Expected of `responder`: at most 120 ms, and none of google.auth, tqdm, click, asyncio, pydantic, jsonschema.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time

import harness
from harness import Report

NAMES = ("responder", "requests", "openai", "litellm", "langchain_openai")
FORBIDDEN = ("google.auth", "tqdm", "click", "asyncio", "pydantic", "jsonschema")
"""What `import responder` must not load."""
HEAVY = (*FORBIDDEN, "tenacity", "cryptography", "httpx", "httpx2", "aiohttp", "numpy", "multiprocessing")


def seconds(code: str) -> float:
    """Wall time of a process that runs the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=harness.workshop())
    return time.perf_counter() - start


def loaded(name: str) -> tuple[list[str], int]:
    """The heavy modules that importing `name` loads, and how many modules in all."""
    code = f"import {name}, sys; print(len(sys.modules)); print(*(m for m in {HEAVY!r} if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=harness.workshop())
    # A module may print while it is imported: ours are the last two lines.
    count, modules = out.stdout.split("\n")[-3:-1]
    return modules.split(), int(count)


def main() -> int:
    arguments = harness.parse(harness.parser(__doc__))
    repeat = 3 if arguments.quick else 10
    report = Report("What does import cost, and what does it pull in?", arguments)
    names = [name for name in harness.chosen(arguments, NAMES) if importlib.util.find_spec(name)]
    codes = {"bare": "", **{name: f"import {name}" for name in names}}
    for code in codes.values():  # once unmeasured, so that the bytecode is written and the files are cached
        seconds(code)
    samples: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(repeat):
        for name, code in codes.items():
            harness.progress(f"{turn + 1}/{repeat} {name}")
            samples[name].append(seconds(code))
    harness.progress("")
    bare = statistics.median(samples["bare"])
    lines, record = [["python -c ''", f"{bare * 1000:.0f}", "", ""]], []
    for name in harness.chosen(arguments, NAMES):
        if name not in names:
            lines.append([name, "skipped: not installed"])
            continue
        cost = statistics.median(samples[name]) - bare
        heavy, count = loaded(name)
        lines.append([name, f"{cost * 1000:.0f}", str(count), ", ".join(heavy) or "none"])
        record.append({"module": name, "import_seconds": cost, "modules": count, "heavy": heavy})
        if name == "responder":
            report.goal("import responder", cost * 1000, 120, unit=" ms")
            report.goal(f"modules loaded of {', '.join(FORBIDDEN)}", len(set(heavy) & set(FORBIDDEN)), 0)
    report.extra["imports"] = record
    header = ["", "ms", "modules", "heavy modules loaded"]
    print(f"\n{harness.table(header, lines, words=(0, 3))}")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
