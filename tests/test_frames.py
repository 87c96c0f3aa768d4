"""A batch as a data frame: the same columns for pandas, polars and Arrow, whatever happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from responder import Answer, Answered, BadRequestError, Batch, Failed, Message, Usage

USAGE = Usage(3, 5, known=True)
NAMES = [
    *("prompt", "text", "error", "finish_reason", "model", "input_tokens", "output_tokens", "cost", "attempts", "elapsed"),
]


def batch() -> Batch:
    """Return one answer, one failure without tokens, and one answer that took no request."""
    error = BadRequestError("first\nsecond", status=400)
    return Batch(
        [
            Answered(0, "one", Answer("eins", usage=USAGE, model="m"), None, 1, 0.5, 0.0, USAGE, 0.25),
            Failed(1, [Message("system", "brief"), Message("user", "two")], None, error, 2, 1.5, 0.0, Usage(), None),
            Answered(2, Message("user", "three"), Answer("drei", model="m"), None, 0, 0.0, 0.0, Usage(), 0.0),
        ]
    )


def rows(frame: Any) -> list[dict[str, Any]]:
    """Return a frame of any of the three as dicts, what is missing as None."""
    if isinstance(frame, pd.DataFrame):
        return [
            {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict(orient="records")
        ]
    return frame.to_dicts() if isinstance(frame, pl.DataFrame) else frame.to_pylist()


@pytest.mark.parametrize("method", ["to_pandas", "to_polars", "to_arrow"])
def test_a_batch_becomes_a_frame(method: str) -> None:
    """One row a prompt; errors are texts in one line, and what is not known is missing rather than 0."""
    found = rows(getattr(batch(), method)())
    assert list(found[0]) == NAMES
    assert found[0] == dict(zip(NAMES, ["one", "eins", None, "stop", "m", 3, 5, 0.25, 1, 0.5], strict=True))
    assert found[1]["prompt"] == "system: brief\n\nuser: two"
    assert found[1]["error"] == "BadRequestError: first second"
    assert (found[1]["text"], found[1]["input_tokens"], found[1]["cost"]) == (None, None, None)
    assert (found[2]["prompt"], found[2]["input_tokens"], found[2]["cost"], found[2]["attempts"]) == ("three", 0, 0.0, 0)


@pytest.mark.parametrize("method", ["to_pandas", "to_polars", "to_arrow"])
def test_an_empty_batch_has_the_same_columns(method: str) -> None:
    """And the same types, so that frames of several runs can be put together."""
    empty, full = getattr(Batch([]), method)(), getattr(batch(), method)()
    if isinstance(empty, pd.DataFrame):
        assert list(empty.dtypes) == list(full.dtypes)
    else:
        assert empty.schema == full.schema


def test_a_batch_with_failures_is_written_as_parquet(tmp_path: Path) -> None:
    """From each of the three, and read back by Arrow with the same types of columns."""
    batch().to_pandas().to_parquet(tmp_path / "pandas.parquet")
    batch().to_polars().write_parquet(tmp_path / "polars.parquet")
    pq.write_table(batch().to_arrow(), tmp_path / "arrow.parquet")
    for name in ("pandas", "polars", "arrow"):
        found = pq.read_table(tmp_path / f"{name}.parquet")
        assert found.column("error").to_pylist() == [None, "BadRequestError: first second", None]
        assert pa.types.is_int64(found.schema.field("input_tokens").type)


def test_odd_texts_and_counts_lose_no_table() -> None:
    """Half of a surrogate pair, and a count beyond 64 bits, have no place in a column."""
    usage = Usage(2**70, 1, known=True)
    odd = Batch([Answered(0, "\ud83d", Answer("\ud83d", usage=usage, model="m"), None, 1, 0.1, 0.0, usage, None)])
    for frame in (odd.to_pandas(), odd.to_polars(), odd.to_arrow()):
        assert (rows(frame)[0]["text"], rows(frame)[0]["input_tokens"]) == ("?", None)


@pytest.mark.parametrize(
    ("method", "package", "extra"),
    [("to_pandas", "pandas", "pandas"), ("to_polars", "polars", "polars"), ("to_arrow", "pyarrow", "arrow")],
)
def test_a_missing_package_is_named_with_what_to_type(method: str, package: str, extra: str) -> None:
    """The error says which extra brings it, and importing responder needs none of them."""
    program = f"""
import sys
import responder
assert not {{"pandas", "polars", "pyarrow"}} & set(sys.modules)
sys.modules[{package!r}] = None
try:
    responder.Batch([]).{method}()
except ImportError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == f'{package} is not installed: pip install "responder-sdk[{extra}]"'
