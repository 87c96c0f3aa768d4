"""The input of `responder map`: what each format means, and how each mistake is told."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from responder.call.question import Question
from responder.cli.rows import Row, Rows, Template
from responder.providers import for_model
from responder.values.errors import ConfigurationError


def rows(path: Path, content: str | bytes, **keywords: object) -> list[Row]:
    """Write a file and return its rows."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with Rows(str(path), **keywords) as found:  # type: ignore[arg-type]  # keywords of any kind
        listed = list(found)
        assert len(found) == len(listed)
        return listed


def test_a_txt_line_is_a_prompt_and_keeps_its_number(tmp_path: Path) -> None:
    """Empty lines are left out of the prompts, and counted; line ends of any system and a byte-order mark do no harm."""
    found = rows(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\n  \t\n  four \nfive")
    assert found == [Row(1, "one"), Row(4, "  four "), Row(5, "five")]


def test_a_csv_row_is_a_prompt_and_keeps_its_line(tmp_path: Path) -> None:
    """Quoted cells may hold line ends; a row's line is the one it begins on, and its id comes along."""
    found = rows(tmp_path / "a.csv", 'id,prompt\n7,"two\nlines"\n\n,"says ""hi"""\n')
    assert found == [Row(2, "two\nlines", "7"), Row(5, 'says "hi"')]


def test_a_csv_column_is_chosen_by_name(tmp_path: Path) -> None:
    """--column names another column, whatever the order of the columns."""
    assert rows(tmp_path / "a.csv", "a, text\nx,y\n", column="text") == [Row(2, "y")]


def test_a_csv_cell_may_be_longer_than_the_library_allows(tmp_path: Path) -> None:
    """A prompt of more than 128 KiB is read whole."""
    assert rows(tmp_path / "a.csv", "prompt\n" + "x" * 200_000)[0].prompt == "x" * 200_000


def test_a_jsonl_line_is_an_object_or_a_string(tmp_path: Path) -> None:
    """The prompt is a string, the key "prompt", or the key "messages"."""
    messages = [{"role": "user", "content": "m"}]
    content = '"s"\n\n{"prompt": "p", "id": 7}\n{"messages": [{"role": "user", "content": "m"}], "id": "x"}\n'
    assert rows(tmp_path / "a.jsonl", content) == [Row(1, "s"), Row(3, "p", 7), Row(4, messages, "x")]


def test_a_template_is_filled_from_the_row(tmp_path: Path) -> None:
    """Names in braces are columns, keys, or {line}; doubled braces stay; values may hold braces of their own."""
    template = Template("{{x}} {text}!")
    assert rows(tmp_path / "a.csv", "text\n{y}\n", template=template) == [Row(2, "{x} {y}!")]
    assert rows(tmp_path / "a.jsonl", '{"text": 5}', template=template) == [Row(1, "{x} 5!")]
    assert rows(tmp_path / "a.txt", "hi", template=Template("Say {line}")) == [Row(1, "Say hi")]
    assert rows(tmp_path / "b.jsonl", '"hi"', template=Template("Say {line}")) == [Row(1, "Say hi")]


def test_the_format_may_be_named(tmp_path: Path) -> None:
    """--format is stronger than the ending."""
    assert rows(tmp_path / "a.jsonl", '{"a": 1}', form="txt") == [Row(1, '{"a": 1}')]


@pytest.mark.parametrize(("content", "prompt"), [('{"prompt": "p"}\n', "p"), ("plain\n", "plain"), ("{not json\n", "{not json")])
def test_a_file_without_an_ending_is_known_by_its_first_line(tmp_path: Path, content: str, prompt: str) -> None:
    """Without an ending, JSON in the first line means jsonl, and anything else txt."""
    assert rows(tmp_path / "prompts", content) == [Row(1, prompt)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"prompt": "x"}\n\n{"prompt":', "line 3: not JSON"),
        ("a.jsonl", '"x"\n5\n', "line 2: neither an object nor a string"),
        ("a.jsonl", '{"text": "x"}', "line 1: neither 'prompt' nor 'messages' in it; there is 'text'"),
        ("a.jsonl", '{"prompt": null}', "line 1: the prompt is null: it must be a string"),
        ("a.jsonl", '{"prompt": 5.5}', "line 1: the prompt is a number: it must be a string"),
        ("a.jsonl", '{"prompt": true}', "line 1: the prompt is true or false: it must be a string"),
        ("a.jsonl", '[{"prompt": "x"}]', "line 1: neither an object nor a string: write one object a line"),
        ("a.jsonl", '[{"prompt": "x"},\n{"prompt": "y"}]', "line 1: one list over several lines: write one object a line"),
        ("a.jsonl", '{"messages": []}', "line 1: this is not a prompt"),
        ("a.jsonl", '{"messages": [{"role": "usr", "content": "x"}]}', "line 1: this is not a prompt: unknown role"),
        ("a.jsonl", '{"prompt": ""}', "line 1: the prompt is empty"),
        ("a.jsonl", '{"prompt": "x", "y": ' + "[" * 100_000, "line 1: not JSON (nested more than 200 levels deep)"),
        ("a.csv", "text\nx\n", "line 1: no column 'prompt'; the columns are 'text'"),
        ("a.csv", "", "line 1: a csv file must begin with the names of its columns"),
        ("a.csv", "prompt,prompt\n", "line 1: there are two columns named 'prompt'"),
        ("a.csv", "a,prompt\n1,2\n\n1\n", "line 4: 1 cell, but there are 2 columns: a cell that holds the delimiter"),
        ("a.csv", "prompt\n1,2\n", "line 2: 2 cells, but there is 1 column: a cell that holds the delimiter"),
        ("a.csv", 'prompt\nx\n"open\nend', "line 3: not CSV (a quote that begins here is not closed)"),
        ("a.csv", b"prompt,id\rx,1\ry,2\r", "line 1: not CSV (its lines end in CR alone"),
        ("a.csv", "prompt,id\n ,x\n", "line 2: the prompt is empty"),
        ("a.txt", b"fine\ncaf\xe9\n", "line 2: not UTF-8 text (byte 4 of the line)"),
        ("a.json", "[]", "write one object a line"),
        ("a.xlsx", b"PK\x03\x04", "save it from the spreadsheet as CSV"),
        ("a.parquet", b"PAR1", "write it as CSV first"),
        ("a.log", "x", "add --format txt"),
    ],
)
def test_a_mistake_names_the_file_and_the_line(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    """What cannot be used is told before anything is, with file and line."""
    with pytest.raises(ConfigurationError) as caught:
        rows(tmp_path / name, content)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert words in str(caught.value)


@pytest.mark.parametrize("template", ["no names", "{", "}", "{}", "{a!r}", "{a:>5}"])
def test_a_template_that_makes_no_sense_is_refused(template: str) -> None:
    """A template without a name, or with more than names in its braces, is refused at once."""
    with pytest.raises(ConfigurationError, match="--template"):
        Template(template)


def test_a_template_names_the_value_that_is_missing(tmp_path: Path) -> None:
    """A row without a value that the template wants is told with what there is."""
    with pytest.raises(ConfigurationError, match="line 2: --template needs 'b'; there is 'a'"):
        rows(tmp_path / "a.jsonl", '{"a": "x", "b": "y"}\n{"a": "x"}\n', template=Template("{b}"))


def test_a_template_that_no_column_fits_is_refused_at_the_header(tmp_path: Path) -> None:
    """Also where empty rows are skipped: with the wrong separator, every row would be."""
    with pytest.raises(ConfigurationError, match=r"line 1: --template needs 'b'; the columns are 'a'$"):
        rows(tmp_path / "a.csv", "a\nx\n", template=Template("{b}"), skip_empty=True)
    with pytest.raises(ConfigurationError, match="line 1: --template needs 'b'; the columns are 'a;b': add --delimiter ';'"):
        rows(tmp_path / "b.csv", "a;b\nx;y\n", template=Template("{b}"), skip_empty=True)


def test_a_file_in_which_every_row_would_be_skipped_is_refused(tmp_path: Path) -> None:
    """It is the wrong key or an empty column, and an empty output would look like a success."""
    with pytest.raises(ConfigurationError, match="none of the 2 rows has a prompt: see --column and --template"):
        rows(tmp_path / "a.jsonl", '{"text": "x"}\n{"text": "y"}\n', skip_empty=True)


def test_a_single_row_that_would_be_skipped_is_named_as_one(tmp_path: Path) -> None:
    """In the words of the command: texts are not made by a template."""
    with pytest.raises(ConfigurationError, match=r"the only row has no prompt: see --column and --template$"):
        rows(tmp_path / "a.jsonl", '{"prompt": null}\n', skip_empty=True)
    with pytest.raises(ConfigurationError, match=r"the only row has no text: see --column$"):
        rows(tmp_path / "b.jsonl", '{"prompt": null}\n', skip_empty=True, what="text", column="text")
    with pytest.raises(ConfigurationError, match=r"line 1: no column 'text'; the columns are 'a': add --column$"):
        rows(tmp_path / "c.csv", "a\nx\n", what="text", column="text")


def test_columns_without_a_name_are_no_mistake(tmp_path: Path) -> None:
    """A spreadsheet saves columns that were once used; one alone keeps its empty name, as the index of a data frame has it."""
    assert rows(tmp_path / "a.csv", "prompt,,\nhello,,5\n")[0].values == {"prompt": "hello", "column 2": "", "column 3": "5"}
    assert rows(tmp_path / "b.csv", ",prompt\n0,hello\n")[0].values == {"": "0", "prompt": "hello"}


def test_what_the_check_refuses_is_told_with_its_line(tmp_path: Path) -> None:
    """A prompt that the provider does not take is a mistake of its line."""

    def check(_prompt: object) -> None:
        raise ConfigurationError("no pictures, please")

    with pytest.raises(ConfigurationError, match="line 2: no pictures, please"):
        rows(tmp_path / "a.txt", "\nx\n", check=check)


_WORDS = ["user", "tool", "text", "image_url"]
_KEYS = ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "tool", "text", "image_url"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(_KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]) | json_values, "content": json_values})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.fixed_dictionaries({"messages": st.lists(messages, max_size=2) | json_values, "id": json_values}))
@pytest.mark.parametrize("model", ["openai:m", "anthropic:m", "gemini:m", "ollama:m"])
def test_a_row_that_passes_the_check_can_be_sent_and_written(tmp_path: Path, model: str, row: dict[str, object]) -> None:
    """Any JSON in a row is either refused with its line, or becomes a request and a line of output."""
    path = tmp_path / "a.jsonl"
    path.write_text('"Hi"\n' + json.dumps(row))
    with for_model(model, api_key="k") as responder:
        try:
            with Rows(str(path), check=lambda prompt: Question.of(responder, None, prompt, responder.options)) as found:
                kept = list(found)
        except ConfigurationError as error:
            refused = str(error)
        else:
            refused = ""
        if refused:
            assert refused.startswith(f"{path}, line 2: ")
            return
        Question.of(responder, None, kept[1].prompt, responder.options)
        json.dumps(kept[1].id, allow_nan=False)


def test_a_replaced_file_is_read_as_it_was_checked(tmp_path: Path) -> None:
    """Both readings see the same file, though another one has taken its name in between."""
    path = tmp_path / "a.txt"
    path.write_text("checked\n")
    with Rows(str(path)) as found:
        other = tmp_path / "b.txt"
        other.write_text("not checked\n")
        other.replace(path)
        assert list(found) == [Row(1, "checked")]


def test_a_large_file_is_never_held_in_memory(tmp_path: Path) -> None:
    """Counting, checking and reading 50,000 rows of 5 MB takes no more memory than a few of them."""
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{number} {'x' * 100}\n" for number in range(50_000)))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        with Rows(str(path)) as found:
            assert sum(1 for _ in found) == len(found) == 50_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 1_000_000
