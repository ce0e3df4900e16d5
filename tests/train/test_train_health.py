"""A run that goes wrong stops, names its rows, and leaves what was good."""

import math
import random
from dataclasses import replace

import pytest
import torch

from luthier.errors import TrainingError
from luthier.store import hash_folder, read_json
from luthier.train import CurvePoint, Recipe, fine_tune
from luthier.train import _head as head_module
from luthier.train._checkpoint import FOLDER
from luthier.train._course import Course
from luthier.train._health import trouble
from luthier.train._model import Trainee
from luthier.train._rows import encode_rows

RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=8.0, batch_size=8, evaluate_every=4, patience=99)


def spoil_gradients(monkeypatch, factor, steps):
    """Multiply the gradients of some steps (counted from 1)."""
    real, calls = Trainee.sum_gradients, []

    def spoiled(trainee, group):
        real(trainee, group)
        calls.append(1)
        if len(calls) in steps:
            for master in trainee.masters.values():
                master.grad.mul_(factor)

    monkeypatch.setattr(Trainee, "sum_gradients", spoiled)


def named(error):
    return {problem.what.removeprefix("row ") for problem in error.problems}


@pytest.mark.parametrize(
    ("factor", "steps", "stops", "says"),
    [
        (float("nan"), {7}, 7, "a gradient of nan"),
        (float("inf"), {7}, 7, "a gradient of "),
        (1e6, range(14, 99), 16, "for the third step in a row"),
    ],
)
def test_a_bad_gradient_stops_it(factor, steps, stops, says, base, rows, score, tmp_path, monkeypatch):
    out, saved = tmp_path / "out", []
    spoil_gradients(monkeypatch, factor, steps)

    def look(progress):
        if progress.dev_score is not None:
            saved.append((hash_folder(out / FOLDER), progress.dev_score))

    with pytest.raises(TrainingError, match=f"step {stops} cannot be taken") as caught:
        fine_tune(base, rows, RECIPE, out, score=score, progress=look)
    assert says in caught.value.what
    batch = Course(encode_rows(base, rows, None), [], RECIPE).batch(stops - 1)
    assert named(caught.value) == {row.id for row in batch} and len(batch) == 8
    assert "learning_rate" in caught.value.fix
    assert hash_folder(out / FOLDER) == saved[-1][0]  # what was saved is untouched
    best = max(value for _, value in saved)
    assert str(out / "best-so-far") in caught.value.why
    assert score(base.with_adapter(out / "best-so-far")) == pytest.approx(best, rel=1e-6)


def test_one_large_gradient_is_clipped_and_no_reason_to_stop(base, rows, score, tmp_path, monkeypatch):
    spoil_gradients(monkeypatch, 1e6, {14, 17})
    result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=score)
    assert result.curve[13].gradient_norm > 1e5 and result.steps == 20


def test_without_a_score_there_are_no_best_weights_to_name(base, rows, score, tmp_path, monkeypatch):
    spoil_gradients(monkeypatch, float("nan"), {2})
    with pytest.raises(TrainingError, match="step 2 cannot be taken") as caught:
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score)
    assert "best" not in caught.value.why and not (tmp_path / "out" / "best-so-far").exists()


def test_a_first_loss_of_zero_stops_it(base, rows, score, tmp_path, monkeypatch):
    real = head_module.batch_losses
    monkeypatch.setattr(head_module, "batch_losses", lambda *given: tuple(loss * 0 for loss in real(*given)))
    with pytest.raises(TrainingError, match="step 1 cannot be taken: the loss is zero") as caught:
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score)
    assert len(named(caught.value)) == 8


def curve_of(norms, loss=1.0):
    return [CurvePoint(i + 1, loss, 1e-4, norm, 1, 1, 1, 0.0) for i, norm in enumerate(norms)]


def stops_at(norms, clip=1.0):
    """The number of the step that is not taken, None where all are."""
    curve = curve_of(norms)
    return next((i + 1 for i in range(len(norms)) if trouble(curve[:i], 1.0, norms[i], clip, 1000)), None)


def test_an_explosion_is_three_steps_far_above_the_usual():
    assert stops_at([2.0] * 30 + [900.0] * 5) == 33
    assert stops_at([2.0] * 30 + [190.0] * 5) is None
    assert stops_at([2.0] * 30 + [900.0, 900.0, 2.0] * 5) is None
    assert stops_at([2.0] * 9 + [900.0] * 8) == 13  # until ten steps before them are known
    assert stops_at([2.0, math.inf]) == 2
    assert stops_at([2.0 * 1.4**i for i in range(60)]) is not None  # grows by 40 % a step


def test_next_to_nothing_is_no_yardstick():
    """Rows are learned and the gradient vanishes; then come rows that are not."""
    assert stops_at([3.0 * 0.9**i for i in range(100)] + [3.0, 5.0, 4.0] * 3) is None
    assert stops_at([3.0 * 0.9**i for i in range(100)] + [300.0, 500.0, 400.0]) == 103


def test_healthy_runs_go_on():
    """Norms as they are: log-normal, falling over the run, with now and then a row that is fifty times the others."""
    rng = random.Random(0)
    for _ in range(300):
        scale, width, fall = 10 ** rng.uniform(-2, 2), rng.uniform(0.1, 1.0), rng.uniform(0.98, 1.0)
        norms = [
            scale * fall**i * rng.lognormvariate(0, width) * (50 if rng.random() < 0.05 else 1) for i in range(200)
        ]
        assert stops_at(norms) is None


def test_a_loss_far_above_guessing_stops_it():
    assert trouble(curve_of([1.0], loss=2.0), 1.4 * math.log(1000), 1.0, 1.0, 1000) is None
    assert "guessing at random gives 6.91" in trouble(curve_of([1.0], loss=2.0), 1.6 * math.log(1000), 1.0, 1.0, 1000)
    assert trouble(curve_of([1.0], loss=9.0), 1.6 * math.log(1000), 1.0, 1.0, 1000) is None  # it began worse


@pytest.fixture
def no_memory(monkeypatch):
    """From the fifth step on the device's memory is too small."""
    real, calls = head_module.batch_losses, []

    def fail(*given):
        calls.append(1)
        if len(calls) >= 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(*given)

    monkeypatch.setattr(head_module, "batch_losses", fail)


def test_out_of_memory_says_what_to_lower_and_loses_no_step(base, rows, score, tmp_path, no_memory, monkeypatch):
    out = tmp_path / "out"
    recipe = replace(RECIPE, epochs=2.4)
    with pytest.raises(TrainingError, match="step 5 does not fit into the memory of cpu") as caught:
        fine_tune(base, rows, recipe, out, score=score)
    assert "micro_batch_tokens: 512" in caught.value.fix
    assert all(what.endswith(" tokens") for what in named(caught.value)) and len(caught.value.problems) == 8
    assert read_json(out / FOLDER / "state.json")["state"]["step"] == 4
    monkeypatch.undo()
    told = []
    smaller = replace(recipe, tokens_per_micro_batch=64)
    result = fine_tune(base, rows, smaller, out, score=score, progress=told.append)
    assert told[0].step == 4 and min(p.step for p in told[1:]) == 5
    [note] = result.notes
    assert "recipe.tokens_per_micro_batch is 64 instead of 1024" in note and told[0].note == note
    straight = fine_tune(base, rows, recipe, tmp_path / "straight", score=score)
    assert [p.loss for p in result.curve] == pytest.approx([p.loss for p in straight.curve], rel=1e-2)


def test_out_of_memory_with_rows_that_no_micro_batch_cuts(base, rows, score, tmp_path, no_memory):
    short = replace(RECIPE, tokens_per_micro_batch=32)
    with pytest.raises(TrainingError, match="does not fit into the memory") as caught:
        fine_tune(base, rows, short, tmp_path / "out", score=score)
    assert "no micro-batch cuts a row" in caught.value.fix and "micro_batch_tokens" not in caught.value.fix
