"""Put the tables of a run into the documentation: `python benchmarks/report.py FOLDER`.

FOLDER holds what the scripts printed, in files of their names (`python benchmarks/speedup.py > FOLDER/speedup.txt`). Each goes
between the markers of its name in docs/benchmarks.md; a script that was not run keeps its last table.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def table(printed: str) -> str:
    """Return the tables and the goals of a script's output; its question stands on the page already."""
    lines = printed.strip().splitlines()
    return "```text\n" + "\n".join(line.rstrip() for line in lines[1:]).strip() + "\n```"


def main(folder: str) -> int:
    """Rewrite the page; tell what was put in."""
    page = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- table:(\w+) -->", PAGE.read_text(encoding="utf-8")):
        printed = Path(folder, f"{name}.txt")
        if not printed.is_file():
            print(f"{name}: no {printed}, kept as it was")
            continue
        begin, end = f"<!-- table:{name} -->", f"<!-- end:{name} -->"
        before, _, after = page.partition(begin)
        made = table(printed.read_text(encoding="utf-8"))
        page = f"{before}{begin}\n{made}\n{end}{after.partition(end)[2]}"
        print(f"{name}: put in")
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
