"""Summarise many texts at once: a folder of .txt files, or a .jsonl file whose lines have a "text".

    python summarise.py texts.jsonl --workers 32 --output summaries.jsonl

Asks Azure OpenAI (AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY, and the deployment's name) unless RESPONDER_MODEL or --model
says otherwise. What is finished is kept beside the output: a second run asks only for the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from responder import ConfigurationError, for_model

HERE = Path(__file__).parent
SYSTEM = "Summarise the text in at most two sentences. Reply with the summary alone."


def read(source: Path) -> dict[str, str]:
    """Return the texts by name (the file's, or the line's number), in their order."""
    if source.is_dir():
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(source.glob("*.txt"))}
    lines = source.read_text(encoding="utf-8").split("\n")
    return {f"line {number}": json.loads(line)["text"] for number, line in enumerate(lines, 1) if line.strip()}


def main() -> int:
    """Write a line for each text, in order; return 1 when some failed."""
    parser = argparse.ArgumentParser(description="Summarise many texts at once.")
    parser.add_argument("source", type=Path, nargs="?", default=HERE / "texts.jsonl", help="a folder, or a .jsonl file")
    parser.add_argument("--output", type=Path, help="a .jsonl file; without it, the summaries are printed")
    parser.add_argument("--workers", type=int, default=16, help="how many are asked at once")
    parser.add_argument("--model", default=os.environ.get("RESPONDER_MODEL", "azure:gpt-4o-mini"), help="provider:model")
    given = parser.parse_args()

    texts = read(given.source)
    kept = given.output.with_suffix(".checkpoint.db") if given.output else None
    try:
        model = for_model(given.model, system=SYSTEM, temperature=0, max_tokens=200)
        batch = model.map(texts.values(), max_workers=given.workers, progress=True, checkpoint=kept)
    except ConfigurationError as error:
        sys.exit(f"summarise: {error}")

    summaries = [result.answer.text if result.answer else None for result in batch]
    lines = [json.dumps({"name": name, "summary": text}, ensure_ascii=False) for name, text in zip(texts, summaries, strict=True)]
    if given.output:
        given.output.write_text("\n".join([*lines, ""]), encoding="utf-8")
    else:
        print("\n".join(lines))
    for name, result in zip(texts, batch, strict=True):
        if not result.ok:
            print(f"failed: {name}: {result.error}", file=sys.stderr)
    print(batch.summary(), file=sys.stderr)
    return 0 if batch.ok else 1


if __name__ == "__main__":
    sys.exit(main())
