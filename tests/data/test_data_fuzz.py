"""A few of the damaged files of `benchmarks/fuzz.py`, which runs 2,000 of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import luthier.data
from luthier.data import Reading, scan_examples


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).parents[2] / "benchmarks" / "fuzz.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["fuzz"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_of_every_format_end_in_findings_or_an_error(fuzz: ModuleType) -> None:
    outcomes = fuzz.run(range(70, 112), seed=7)
    assert [(o.number, o.recipe, o.why) for o in outcomes if o.ended == "failed"] == []
    assert {o.ended for o in outcomes} == {"findings", "refused"}
    assert {o.recipe.split()[0] for o in outcomes} == set(fuzz.FORMATS)


def test_a_row_that_is_dropped_in_silence_is_noticed(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run would be worth nothing if it could not fail."""

    def forgetful(path: Path, **options: object) -> Reading:
        reading = scan_examples(path)
        return Reading(reading.examples[:-1], reading.problems)

    monkeypatch.setattr(luthier.data, "scan_examples", forgetful)
    assert "failed" in {o.ended for o in fuzz.run(range(7), seed=7)}


@pytest.mark.parametrize(
    ("kind", "content", "rows"),
    [
        ("jsonl", b'{"a": 1}\n\n{"b"\n  \n', 2),
        ("json", json.dumps({"version": 1, "data": [1, {}, {}]}).encode(), 3),
        ("json", json.dumps([{"paragraphs": [{"qas": [1, 2]}, 3]}, {}]).encode(), 4),
        ("csv", b'a,b\n"x\ny",1\n\n2,3\n', 2),
    ],
)
def test_rows_are_counted_without_the_readers(
    fuzz: ModuleType, tmp_path: Path, kind: str, content: bytes, rows: int
) -> None:
    file = tmp_path / f"d.{kind}"
    file.write_bytes(content)
    assert fuzz.count(file, kind, rows, [])[1] == rows
