"""The last two checkpoints are kept: what a kill, a bad disk or a full one does to one of them loses no run."""

import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import DiskFullError, TrainingError
from luthier.store import hash_folder, read_json, write_json
from luthier.train import Recipe, fine_tune
from luthier.train._checkpoint import BEFORE, BEST, FOLDER, HASHES, OPTIMIZER, STATE, WEIGHTS
from luthier.train._resume import load_checkpoint

RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.4, batch_size=8, evaluate_every=3)
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["peft", "transformers.models.llama.modeling_llama", "luthier.train._loop"])


class Killed(Exception):
    """Ends a run as a kill would: nothing is saved on the way out."""


@pytest.fixture(scope="module")
def straight(base, rows, score, tmp_path_factory):
    return fine_tune(base, rows, RECIPE, tmp_path_factory.mktemp("straight") / "out", score=score)


@pytest.fixture(scope="module")
def lost(base, rows, score, tmp_path_factory):
    """A run killed in its sixth step: a checkpoint after the fifth and one before it after the fourth."""
    out = tmp_path_factory.mktemp("lost") / "out"

    def kill(progress):
        if progress.step == 6:
            raise Killed

    with pytest.raises(Killed):
        fine_tune(base, rows, RECIPE, out, score=score, progress=kill, checkpoint_seconds=0)
    (out / "progress.json").unlink()
    return out


@pytest.fixture
def out(lost, tmp_path):
    return Path(shutil.copytree(lost, tmp_path / "out"))


def truncated(file):
    file.write_bytes(file.read_bytes()[:-1])


def cut(file):
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2])


def flipped(file):
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


def missing(file):
    file.unlink()


def step_of(folder):
    return read_json(folder / STATE)["state"]["step"]


def test_the_last_two_are_kept(lost):
    assert sorted(p.name for p in lost.iterdir() if p.name.startswith("checkpoint")) == [FOLDER, BEFORE]
    assert (step_of(lost / FOLDER), step_of(lost / BEFORE)) == (5, 4)


@pytest.mark.parametrize("folder", [FOLDER, BEFORE])
def test_the_hashes_are_those_that_sha256sum_checks(lost, folder):
    done = subprocess.run(["sha256sum", "--check", "--strict", HASHES], cwd=lost / folder, capture_output=True)
    assert done.returncode == 0 and done.stdout.count(b": OK") == 4


@pytest.mark.parametrize("harm", [truncated, cut, flipped, missing])
@pytest.mark.parametrize("name", [STATE, WEIGHTS, OPTIMIZER, BEST, HASHES])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(harm, name, out):
    inputs = read_json(out / FOLDER / STATE)["inputs"]
    before = load_checkpoint(out, inputs).state
    assert (before.step, before.notes) == (5, ())
    harm(out / FOLDER / name)
    found = load_checkpoint(out, inputs)
    assert found.state.step == 4
    [note] = found.state.notes
    assert note.startswith(f"after step 4: {out / FOLDER}/") and name in note
    assert load_checkpoint(out, inputs).state == found.state  # written anew: whole, and it still says so
    assert (step_of(out / FOLDER), step_of(out / BEFORE)) == (4, 4)


def test_every_flipped_bit_is_seen(out):
    inputs = read_json(out / FOLDER / STATE)["inputs"]
    file = out / FOLDER / WEIGHTS
    whole = file.read_bytes()
    for place in range(0, len(whole), len(whole) // 40):
        shutil.rmtree(out / FOLDER, ignore_errors=True)
        shutil.copytree(out / BEFORE, out / FOLDER)
        data = bytearray((out / BEFORE / WEIGHTS).read_bytes())
        data[place % len(data)] ^= 1 << place % 8
        file.write_bytes(data)
        assert load_checkpoint(out, inputs).state.notes


def test_the_run_that_goes_on_says_it_and_ends_with_the_same_bytes(base, rows, score, straight, out):
    flipped(out / FOLDER / OPTIMIZER)
    told = []
    result = fine_tune(base, rows, RECIPE, out, score=score, progress=told.append)
    assert result.adapter_hash == straight.adapter_hash
    assert [p.loss for p in result.curve] == [p.loss for p in straight.curve]
    [note] = result.notes
    assert OPTIMIZER in note and "the checkpoint before it" in note
    assert (told[0].step, told[0].note) == (4, note)
    assert [p.step for p in told[1:] if p.dev_score is None] == [5, 6] and not any(p.note for p in told[1:])
    assert read_json(out / "luthier-train.json")["notes"] == [note]
    assert sorted(p.name for p in out.iterdir()) == ["adapter", "luthier-train.json"]
    assert straight.notes == ()


def test_a_note_outlives_another_kill(base, rows, score, out):
    missing(out / FOLDER / STATE)

    def kill(progress):
        raise Killed

    with pytest.raises(Killed):  # before its first step
        fine_tune(base, rows, RECIPE, out, score=score, progress=kill)
    assert len(fine_tune(base, rows, RECIPE, out, score=score).notes) == 1


def test_both_damaged_is_an_error_that_names_them_and_changes_nothing(base, rows, score, out):
    cut(out / FOLDER / STATE)
    flipped(out / BEFORE / BEST)
    left = hash_folder(out)
    with pytest.raises(TrainingError, match="no checkpoint of the run") as caught:
        fine_tune(base, rows, RECIPE, out, score=score)
    assert [str(problem.file) for problem in caught.value.problems] == [
        str(out / FOLDER / STATE),
        str(out / BEFORE / BEST),
    ]
    assert f"rm -r {out / FOLDER} {out / BEFORE}" in caught.value.fix
    assert hash_folder(out) == left


def test_what_the_error_says_to_type_begins_anew(base, rows, score, straight, out):
    shutil.rmtree(out / BEFORE)
    truncated(out / FOLDER / WEIGHTS)
    with pytest.raises(TrainingError) as caught:
        fine_tune(base, rows, RECIPE, out, score=score)
    command = caught.value.fix.split("(")[1].split(")")[0]
    subprocess.run(command.split(), check=True)
    assert fine_tune(base, rows, RECIPE, out, score=score).adapter_hash == straight.adapter_hash


def test_killed_between_the_renames_it_goes_on_from_the_one_before(base, rows, score, straight, out):
    shutil.rmtree(out / BEFORE)
    (out / FOLDER).rename(out / BEFORE)
    (out / ".checkpoint.0123.unfinished").mkdir()
    told = []
    result = fine_tune(base, rows, RECIPE, out, score=score, progress=told.append)
    assert told[0].step == 6 and result.notes == () and result.adapter_hash == straight.adapter_hash
    assert sorted(p.name for p in out.iterdir()) == ["adapter", "luthier-train.json"]


def test_killed_before_any_call_that_a_checkpoint_makes_one_is_whole(tmp_path):
    """A process writes a checkpoint and kills itself before its first, second, ... call to the file system."""
    inputs, seen = {"base": "x"}, []
    for moment in range(1, 100):
        out = tmp_path / str(moment)
        given = {"out": out, "inputs": inputs, "moment": moment}
        child = SERVER.Process(target=runpy.run_path, args=(str(Path(__file__).parent / "rotator.py"), given))
        child.start()
        child.join(120)
        found = load_checkpoint(out, inputs)
        assert not found.state.notes and found.weights["weight"].tolist() == [float(found.state.step)] * 4
        assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
        seen.append(found.state.step)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    assert seen == sorted(seen) and set(seen) == {2, 3} and seen.count(2) > 8 and len(seen) < 99


def as_version_1(folder):
    """A checkpoint as it was written before there were hashes and notes."""
    (folder / HASHES).unlink()
    saved = read_json(folder / STATE)
    del saved["state"]["notes"]
    write_json(folder / STATE, saved | {"version": 1})


def test_a_checkpoint_of_version_1_goes_on(base, rows, score, straight, out):
    shutil.rmtree(out / BEFORE)
    as_version_1(out / FOLDER)
    told = []
    result = fine_tune(base, rows, RECIPE, out, score=score, progress=told.append)
    assert told[0].step == 6 and result.notes == () and result.adapter_hash == straight.adapter_hash


@pytest.mark.parametrize("harm", [cut, missing])
@pytest.mark.parametrize("name", [STATE, WEIGHTS, OPTIMIZER, BEST])
def test_a_cut_checkpoint_of_version_1_is_damaged(harm, name, out):
    inputs = read_json(out / FOLDER / STATE)["inputs"]
    as_version_1(out / FOLDER)
    harm(out / FOLDER / name)
    assert load_checkpoint(out, inputs).state.step == 4


def test_a_result_of_version_2_is_read(base, rows, score, straight, tmp_path):
    out = Path(shutil.copytree(straight.folder.parent, tmp_path / "out"))
    saved = read_json(out / "luthier-train.json")
    del saved["notes"]
    write_json(out / "luthier-train.json", saved | {"version": 2})
    result = fine_tune(base, rows, RECIPE, out, score=score)
    assert result == replace(straight, folder=out / "adapter")


class TmpfsDisk:
    """A file system of 4 MB that is filled for good."""

    def __init__(self, folder):
        self.folder = folder

    def fill(self):
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                filler.truncate(filler.tell() - 12 * 4096)  # room for small files

    def free(self):
        (self.folder / "filler").unlink()


class SimulatedDisk:
    """safetensors' writer fails as it does where no room is left."""

    def __init__(self, folder, monkeypatch):
        self.folder, self._patch = folder, monkeypatch

    def fill(self):
        import safetensors.torch
        from safetensors import SafetensorError

        def full(tensors, path, metadata):
            path.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        self._patch.setattr(safetensors.torch, "save_file", full)

    def free(self):
        self._patch.undo()


@pytest.fixture(params=["tmpfs", "simulated"])
def disk(request, tmp_path, monkeypatch):
    if request.param == "simulated":  # what is tested where nothing can be mounted
        yield SimulatedDisk(tmp_path, monkeypatch)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if os.name != "posix" or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    try:
        yield TmpfsDisk(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_keeps_both_checkpoints(base, rows, score, straight, lost, disk):
    out = Path(shutil.copytree(lost, disk.folder / "out"))
    saved = [hash_folder(out / name) for name in (FOLDER, BEFORE)]
    disk.fill()
    with pytest.raises(DiskFullError, match="checkpoint"):
        fine_tune(base, rows, RECIPE, out, score=score, checkpoint_seconds=0)
    assert [hash_folder(out / name) for name in (FOLDER, BEFORE)] == saved
    disk.free()
    assert fine_tune(base, rows, RECIPE, out, score=score).adapter_hash == straight.adapter_hash
