"""Killed or interrupted at any moment, a run goes on and ends with the same bytes."""

import multiprocessing
import os
import random
import runpy
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from luthier.errors import TrainingError
from luthier.store import hash_folder, read_json, write_json
from luthier.train import fine_tune
from luthier.train._begin import ENGINE_VERSION
from luthier.train._checkpoint import FOLDER
from luthier.train._interrupt import Interruption
from luthier.train._resume import load_checkpoint

HERE = Path(__file__).parent
# Not a fork of this process: its OpenMP threads do not survive one.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["peft", "transformers.models.llama.modeling_llama", "luthier.train._loop"])


@pytest.fixture(scope="module")
def recipe():
    from luthier.train import Recipe

    return Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.4, batch_size=8, evaluate_every=3)


@pytest.fixture(scope="module")
def straight(base, rows, recipe, score, tmp_path_factory):
    """The run that nobody disturbed."""
    return fine_tune(base, rows, recipe, tmp_path_factory.mktemp("straight") / "out", score=score)


def same(result, straight):
    return (
        result.adapter_hash == straight.adapter_hash
        and (result.best_step, result.best_score) == (straight.best_step, straight.best_score)
        and [(p.loss, p.lr, p.dev_score) for p in result.curve] == [(p.loss, p.lr, p.dev_score) for p in straight.curve]
    )


@pytest.fixture(scope="module")
def killed(rows, recipe, tiny_model_folder):
    """Trains in a child process until that kills itself (a number of reports) or is killed (seconds)."""

    def run(seconds_or_reports, out):
        ready = SERVER.Event()
        reports = seconds_or_reports if isinstance(seconds_or_reports, int) else None
        given = {"folder": tiny_model_folder, "rows": rows, "recipe": recipe, "out": out, "ready": ready}
        given |= {"reports": reports, "conftest": str(HERE / "conftest.py")}
        child = SERVER.Process(target=runpy.run_path, args=(str(HERE / "trainee.py"), given))
        child.start()
        assert ready.wait(120)
        if reports is None:
            time.sleep(seconds_or_reports)
            child.kill()
        child.join(600)
        return child.exitcode

    return run


@pytest.mark.parametrize("calls", [1, 4, 6])
def test_killed_after_a_step_or_an_evaluation(calls, base, rows, recipe, score, straight, tmp_path, killed):
    out = tmp_path / "out"
    assert killed(calls, out) == -signal.SIGKILL
    assert not (out / "luthier-train.json").exists()
    assert same(fine_tune(base, rows, recipe, out, score=score), straight)


def test_killed_at_random_moments_again_and_again(base, rows, recipe, score, straight, tmp_path, killed):
    rng = random.Random()
    out = tmp_path / "out"
    for _ in range(3):
        killed(rng.uniform(0.05, 0.5), out)
    assert same(fine_tune(base, rows, recipe, out, score=score), straight)
    assert sorted(p.name for p in out.iterdir()) == ["adapter", "luthier-train.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_raises(number, base, rows, recipe, score, straight, tmp_path):
    out = tmp_path / "out"
    before = signal.getsignal(number)

    def interrupt(progress):
        if progress.step == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, recipe, out, score=score, progress=interrupt)
    assert signal.getsignal(number) is before
    steps = []
    result = fine_tune(base, rows, recipe, out, score=score, progress=lambda p: steps.append(p.step))
    assert min(steps) == 5 and same(result, straight)


def test_a_signal_while_scoring_loses_no_step(base, rows, recipe, score, straight, tmp_path):
    out = tmp_path / "out"

    def interrupted(model):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        raise AssertionError("went on")

    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, recipe, out, score=interrupted)
    steps = []
    result = fine_tune(base, rows, recipe, out, score=score, progress=lambda p: steps.append(p.step))
    assert min(steps) == 3 and same(result, straight)


def test_a_first_signal_waits_for_the_step_a_second_does_not():
    with Interruption() as interruption:
        finished = False
        with pytest.raises(KeyboardInterrupt), interruption.finishing():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            finished = True
        assert finished
        with pytest.raises(KeyboardInterrupt), interruption.finishing():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            finished = False
            time.sleep(0.01)
            finished = None
        assert finished is not None


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_second_signal_in_the_middle_of_an_update_saves_nothing_torn(
    moment, base, rows, recipe, score, straight, tmp_path, monkeypatch
):
    out, steps = tmp_path / "out", []
    real = torch.optim.AdamW.step

    def twice(optimizer, *args):
        steps.append(len(steps) + 1)
        if moment == "after" or steps[-1] != 5:
            real(optimizer, *args)
        if steps[-1] == 5:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", twice)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(base, rows, recipe, out, score=score)
    assert len(steps) == 5
    assert read_json(out / FOLDER / "state.json")["state"]["step"] == 3  # where it was scored
    assert same(fine_tune(base, rows, recipe, out, score=score), straight)


def test_a_checkpoint_of_other_inputs_is_refused_and_kept(base, rows, recipe, score, tmp_path, killed):
    out = tmp_path / "out"
    killed(4, out)
    saved = (out / FOLDER / "state.json").read_bytes()
    for changed, (other_rows, other_recipe) in {
        "rows": (rows[1:], recipe),
        r"recipe.epochs \(2.4 before, 5.0 now\)": (rows, replace(recipe, epochs=5.0)),
    }.items():
        with pytest.raises(TrainingError, match=changed) as caught:
            fine_tune(base, other_rows, other_recipe, out, score=score)
        assert "set back" in caught.value.fix and f"rm -r {out}" in caught.value.fix
    assert (out / FOLDER / "state.json").read_bytes() == saved


def test_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere", {}) is None


@pytest.mark.parametrize("file", ["checkpoint/state.json", "luthier-train.json"])
def test_what_a_newer_version_wrote_is_refused(file, base, rows, recipe, score, tmp_path, killed):
    out = tmp_path / "out"
    if file.startswith(FOLDER):
        killed(4, out)
    else:
        fine_tune(base, rows, recipe, out, score=score)
    write_json(out / file, read_json(out / file) | {"version": 99})
    with pytest.raises(TrainingError, match="version 99"):
        fine_tune(base, rows, recipe, out, score=score)


def test_what_an_older_engine_began_is_refused(base, rows, recipe, score, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def interrupt(progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("luthier.train._begin.ENGINE_VERSION", ENGINE_VERSION - 1)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(base, rows, recipe, out, score=score, progress=interrupt)
    saved = hash_folder(out)
    with pytest.raises(TrainingError, match=rf"engine \({ENGINE_VERSION - 1} before, {ENGINE_VERSION} now\) changed"):
        fine_tune(base, rows, recipe, out, score=score)
    assert hash_folder(out) == saved
