"""Whatever bytes a file holds, a reader gives examples or a `LuthierError`, and loses no row in silence."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data import read_inputs, scan_examples
from luthier.errors import LuthierError

quick = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    # One folder serves all examples of a test: every file is written anew.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

keys = st.sampled_from(
    ["prompt", "completion", "messages", "conversations", "chosen", "rejected", "context", "answers", "input",
     "instruction", "output", "label", "system", "role", "content", "from", "value", "text", "paragraphs", "data"]
)  # fmt: skip
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("\ud800"))
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool"]),
            "content": st.one_of(st.text(max_size=5), leaves),
        }
    ),
    max_size=4,
)
texts = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)


@quick
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
)
@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d"])
def test_any_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    for read in (scan_examples, read_inputs):
        try:
            read(file)
        except LuthierError as error:
            assert error.fix and str(error)


@quick
@given(rows=st.lists(st.dictionaries(keys, values | messages, max_size=5) | values, min_size=2, max_size=6))
def test_any_json_as_lines_or_as_a_document(tmp_path: Path, rows: list[Any]) -> None:
    lines = tmp_path / "d.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = tmp_path / "d.json"
    document.write_text(json.dumps(rows, indent=1))
    for file in (lines, document):
        try:
            found = scan_examples(file)
        except LuthierError as error:
            assert error.fix and str(error)
            continue
        if file is lines:
            assert len(found.examples) + len(found.problems) == len(rows)
        assert all(e.output.strip() and e.messages[-1].role == "user" and e.id for e in found.examples)
        assert all(p.line for p in found.problems)


@quick
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6), delimiter=st.sampled_from([",", "\t", ";"]))
def test_tables_come_back_as_they_were_written(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows([("prompt", "completion"), *rows])
    (tmp_path / "d.csv").write_bytes(buffer.getvalue().encode())
    try:
        found = scan_examples(tmp_path / "d.csv")
    except LuthierError as error:
        assert "no rows" in error.what
        return
    assert len(found.examples) + len(found.problems) == len(rows)
    good = [(i, o) for i, o in rows if i.strip() and o.strip()]
    assert [(e.input_text, e.output) for e in found.examples] == good


@quick
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_lines_come_back_as_they_were_written(tmp_path: Path, rows: list[tuple[str, str]], end: str) -> None:
    text = "".join(json.dumps({"prompt": i, "completion": o}, ensure_ascii=False) + end for i, o in rows)
    (tmp_path / "d.jsonl").write_bytes(text.encode())
    found = scan_examples(tmp_path / "d.jsonl")
    assert len(found.examples) + len(found.problems) == len(rows)
    assert [(e.input_text, e.output) for e in found.examples] == [(i, o) for i, o in rows if i.strip() and o.strip()]
