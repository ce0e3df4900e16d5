"""Many rows are rendered once: what lies in the run's folder is what rendering gives, and serves these rows only."""

from dataclasses import replace

import pytest

from luthier.data import Message
from luthier.errors import DiskFullError, TeachesNothingError, TrainingError
from luthier.train import TrainingRow, fine_tune
from luthier.train import _kept as kept
from luthier.train._kept import KeptRows
from luthier.train._rows import encode_rows


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """Twenty rows are many here."""
    monkeypatch.setattr(kept, "KEEP_FROM", 20)


@pytest.fixture
def nothing_is_rendered(monkeypatch):
    def start():
        monkeypatch.setattr(kept, "encode_rows", lambda *_: pytest.fail("rows are rendered again"))

    return start


def test_what_is_read_is_what_was_rendered(base, rows, tmp_path, nothing_is_rendered):
    first = KeptRows(base, rows, None, tmp_path)
    assert first.encoded == encode_rows(base, rows, None) and list(tmp_path.iterdir()) == []
    first.keep()
    nothing_is_rendered()
    renamed = [replace(row, id=f"other {row.id}", source="moved.jsonl:1") for row in rows]
    for asked in (rows, renamed):
        again = KeptRows(base, asked, None, tmp_path).encoded
        assert [(r.ids, r.start, r.held) for r in again] == [(r.ids, r.start, r.held) for r in first.encoded]
        assert [(r.id, r.source) for r in again] == [(r.id, r.source) for r in asked]
        assert all(type(token) is int for token in again[0].ids)


def test_other_rows_another_limit_or_another_base_are_rendered(base, rows, tmp_path, make_tiny_model):
    from luthier.models import load_folder

    KeptRows(base, rows, None, tmp_path).keep()
    other = load_folder(make_tiny_model(max_position_embeddings=256), name="other")
    changed = [replace(rows[0], output="shipping"), *rows[1:]]
    asked = [replace(rows[0], messages=(Message("user", "hello"),)), *rows[1:]]
    for arguments in ((base, changed, None), (base, asked, None), (base, rows, 200), (other, rows, None)):
        found = KeptRows(*arguments, tmp_path)
        assert not found._known and found.encoded == encode_rows(*arguments)


def test_rows_that_teach_nothing_are_named_and_not_kept(base, rows, tmp_path):
    bad = [*rows, TrainingRow("row-20", (Message("user", "x"),), " ", "examples.jsonl:21")]
    with pytest.raises(TeachesNothingError) as caught:
        KeptRows(base, bad, None, tmp_path)
    assert [str(problem) for problem in caught.value.problems] == ["examples.jsonl:21: row row-20: the answer is empty"]
    assert list(tmp_path.iterdir()) == []


def test_few_rows_are_not_kept(base, rows, tmp_path):
    KeptRows(base, rows[:19], None, tmp_path).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_and_a_finished_one_render_nothing(base, rows, recipe, tmp_path, nothing_is_rendered):
    straight = fine_tune(base, rows, recipe, tmp_path / "straight", score=lambda model: 1.0)

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, recipe, tmp_path / "out", score=lambda model: 1.0, progress=stop)
    nothing_is_rendered()
    for _ in range(2):
        result = fine_tune(base, rows, recipe, tmp_path / "out", score=lambda model: 1.0)
        assert result.adapter_hash == straight.adapter_hash


def test_a_run_that_is_refused_keeps_nothing_new(base, rows, recipe, tmp_path):
    fine_tune(base, rows, recipe, tmp_path / "out", score=lambda model: 1.0)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TrainingError, match="rows changed"):
        fine_tune(base, [*rows, rows[0]], recipe, tmp_path / "out", score=lambda model: 1.0)
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_ones_are_an_error_with_a_way_out(base, rows, tmp_path):
    KeptRows(base, rows, None, tmp_path).keep()
    (file,) = tmp_path.rglob(kept.FILE)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        KeptRows(base, rows, None, tmp_path)
    assert f"rm -r {file.parent}" in caught.value.fix


def test_a_full_disk_leaves_nothing_half_written(base, rows, tmp_path, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(DiskFullError):
        KeptRows(base, rows, None, tmp_path).keep()
    assert list(tmp_path.rglob(kept.FILE)) == []
