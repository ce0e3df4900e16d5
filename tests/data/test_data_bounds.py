"""Files that would fill memory are refused by what they say of themselves, or passed over piece by piece."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.data import _arrow, _files, scan_examples
from luthier.errors import DataError, PathError
from luthier.spec import load_task

GOOD = '{"prompt": "p", "completion": "c"}\n'


@pytest.mark.parametrize("name", ["d.jsonl", "d.txt"])
@pytest.mark.parametrize("first", [True, False])
def test_a_line_without_end_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: bool
) -> None:
    monkeypatch.setattr(_files, "MAX_LINE", 100_000)
    monkeypatch.setattr(_files, "BLOCK", 50_000)
    file = tmp_path / name
    with file.open("wb") as out:
        out.write(b"" if first else GOOD.encode() * 2)
        out.write(b'{"prompt": "' + b"x" * 70_000)
        out.seek(200_000_000, 1)
        out.write(b'"}\n' + GOOD.encode() * 2)
    tracemalloc.start()
    found = scan_examples(file) if name == "d.jsonl" or not first else None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if found is not None:
        assert [(p.line, p.code) for p in found.problems] == [(1 if first else 3, "long-line")]
        assert len(found.examples) == (2 if first else 4)
    assert peak < 5_000_000


def _write(tmp_path: Path, table: pa.Table) -> Path:
    file = tmp_path / "bomb.parquet"
    pq.write_table(table, file, compression="zstd", store_schema=False)
    return file


def test_a_value_that_stands_once_and_is_repeated(tmp_path: Path) -> None:
    once = pa.DictionaryArray.from_arrays(np.zeros(1_000_000, "int32"), pa.array(["x" * 1_000_000]))
    file = _write(tmp_path, pa.table({"prompt": once, "completion": once}))
    assert file.stat().st_size < 100_000
    with pytest.raises(DataError, match="unpacks to more than"):
        scan_examples(file)


def test_the_same_inside_lists(tmp_path: Path) -> None:
    n = 100_000
    content = pa.DictionaryArray.from_arrays(np.zeros(2 * n, "int32"), pa.array(["x" * 1_000_000]))
    turns = pa.StructArray.from_arrays([pa.array(["user", "assistant"] * n), content], ["role", "content"])
    file = _write(
        tmp_path, pa.table({"messages": pa.ListArray.from_arrays(np.arange(0, 2 * n + 1, 2, "int32"), turns)})
    )
    with pytest.raises(DataError, match="unpacks to more than"):
        scan_examples(file)


def test_more_rows_than_a_file_can_honestly_have(tmp_path: Path) -> None:
    file = _write(tmp_path, pa.table({"prompt": pa.nulls(30_000_000, pa.string())}))
    with pytest.raises(DataError, match="says that it holds 30,000,000 rows"):
        scan_examples(file)


def test_what_repeats_honestly_is_read(tmp_path: Path) -> None:
    system = "You are the clerk of a very large library. " * 20
    rows = [
        {
            "messages": [
                {"role": r, "content": c} for r, c in (("system", system), ("user", f"q{n}"), ("assistant", "a"))
            ]
        }
        for n in range(3000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    found = scan_examples(tmp_path / "d.parquet")
    assert len(found.examples) == 3000 and not found.problems
    assert found.examples[-1].messages[0].content == system


def test_a_saved_dataset_names_no_file_elsewhere(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list([{"prompt": "secret", "completion": "c"}]).save_to_disk(str(tmp_path / "other"))
    Dataset.from_list([{"prompt": "p", "completion": "c"}]).save_to_disk(str(tmp_path / "set"))
    state = json.loads((tmp_path / "set" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../other/data-00000-of-00001.arrow"}]
    (tmp_path / "set" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="outside of its folder"):
        scan_examples(tmp_path / "set")


@pytest.mark.parametrize("what", ["file", "shard"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "elsewhere.jsonl").write_text(GOOD)
    folder = tmp_path / "task"
    (folder / "set").mkdir(parents=True)
    link = folder / ("d.jsonl" if what == "file" else "set/train-0.jsonl")
    link.symlink_to(tmp_path / "elsewhere.jsonl")
    examples = "d.jsonl" if what == "file" else "set"
    task = {"task": "t", "goal": "g", "examples": examples, "score": {"kind": "exact"}, "base": "smollm2-135m"}
    (folder / "luthier.yaml").write_text(json.dumps(task))
    with pytest.raises(PathError):
        load_task(folder)


def test_damaged_offsets_are_an_error_of_the_file_and_not_of_the_conversion(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 5, 2], dtype=np.int32).tobytes())
    texts = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"abcde"))
    batch = pa.RecordBatch.from_arrays([texts], names=["prompt"])
    with pytest.raises(pa.ArrowInvalid):
        list(_arrow._Limit(tmp_path, 1000).rows([batch]))
