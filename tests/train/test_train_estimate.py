"""What is predicted before a run is what the run does, and a run that cannot fit does not begin."""

import logging
import shutil
import time
from dataclasses import replace

import pytest
import torch

from luthier.errors import DiskFullError, TrainingError
from luthier.models import Request, load_outline
from luthier.train import Asked, Job, changes, estimate, fine_tune
from luthier.train._loss import batch_losses
from luthier.train._model import Trainee, load_body, training_copy
from luthier.train._predict import NOTHING, Prediction
from luthier.train._setting import Setting
from luthier.train._simulate import Simulation
from luthier.train._trial import line

GIGA = 10**9


def job_of(base, rows, recipe, replay=()):
    return Job.of(base, rows, recipe, replay)


@pytest.fixture
def outline(tiny_model_folder, tmp_path):
    """The tiny model without its weights."""
    folder = tmp_path / "outline"
    shutil.copytree(tiny_model_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return load_outline(str(folder))


@pytest.fixture
def asked(rows):
    cases = rows[:5]
    return Asked(tuple(Request(row.messages, 8) for row in cases), (3,) * len(cases))


@pytest.fixture
def limited(monkeypatch):
    """Sets how much memory there seems to be."""

    def limit(size):
        for module in ("luthier.train._remedies", "luthier.train._estimate"):
            monkeypatch.setattr(f"{module}.memory_limit", lambda device: size)

    return limit


def test_tokens_and_steps_are_those_of_the_run(base, rows, recipe, score, tmp_path, asked):
    predicted = estimate(job_of(base, rows, recipe), asked=asked, place=tmp_path, clock=time.process_time)
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert (predicted.steps, predicted.tokens, predicted.row_tokens) == (result.steps, result.tokens, result.row_tokens)
    assert predicted.setting == result.setting
    assert set(predicted.parts) == {"loading", "steps", "scores", "checkpoints"}
    assert all(seconds > 0 for seconds in predicted.parts.values())
    assert predicted.seconds < 60
    assert predicted.evaluations == sum(point.dev_score is not None for point in result.curve)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out"]  # the trial has left nothing


def test_the_outline_predicts_what_the_model_does_without_any_weights(base, outline, rows, recipe):
    assert outline.n_parameters == base.n_parameters
    with_weights, without = (estimate(job_of(model, rows, recipe)) for model in (base, outline))
    assert without.seconds is None and without.parts is None
    assert without.tokens == with_weights.tokens
    for part in ("weights", "optimizer"):
        assert without.memory.phases["steps"][part] == with_weights.memory.phases["steps"][part]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_and_optimizer_are_counted_as_they_are_held(base, rows, recipe, method):
    recipe = replace(recipe, method=method)
    steps = Prediction(job_of(base, rows, recipe), _setting(), NOTHING).memory(1.0).phases["steps"]
    trainee = Trainee(training_copy(base, torch.float32, method), recipe)
    trained = sum(master.numel() for master in trainee.masters.values())
    assert steps["optimizer"] == 12 * trained
    both = [*trainee.module.parameters(), *base.module.parameters()]
    assert steps["weights"] == sum({weight.data_ptr(): weight.nbytes for weight in both}.values())


@pytest.mark.parametrize("changed", [{}, {"variant": "dora"}, {"method": "full"}])
@pytest.mark.parametrize("packing", ["tree", "padding-free", "padded"])
def test_simulated_tensors_are_those_that_training_keeps(base, rows, recipe, changed, packing):
    """All that autograd keeps between forward and backward is in the simulation, and little that is not."""
    recipe = replace(recipe, **changed)
    job = job_of(base, rows, recipe)
    part = job.micro_batches(packing)[0]
    footprint = Simulation(base.module.config, recipe, _setting(packing)).run(part)
    kept = _kept(Trainee(load_body(base, torch.float32), recipe), _setting(packing), part)
    assert kept <= footprint.batch <= 2.5 * kept


def test_a_simulated_forward_pass_leaves_nothing_behind(base, rows, recipe):
    job = job_of(base, rows, recipe)
    simulation = Simulation(base.module.config, recipe, _setting())
    part = job.micro_batches("tree")[0]
    assert simulation.run(part) == simulation.run(part)


def test_smaller_micro_batches_need_less(base, rows, recipe, outline):
    def held(**changed):
        return Prediction(job_of(outline, rows, replace(recipe, **changed)), _setting(), NOTHING).footprint

    assert held(tokens_per_micro_batch=40).batch < held().batch
    assert held(rank=64).trained == 16 * held().trained


def test_four_bits_need_less_weight(outline, rows, recipe):
    job = job_of(outline, rows, recipe)
    half = Prediction(job, replace(_setting(), precision="bfloat16"), NOTHING)
    four_bits = job.with_recipe(replace(recipe, method="qlora"))
    four = Prediction(four_bits, replace(_setting(), precision="bfloat16"), NOTHING)
    layers = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)  # q and o, k and v, the three of the MLP
    saved = half.footprint.weights - four.footprint.weights
    assert saved == pytest.approx(layers * (2 - 0.5 - 1 / 64), rel=1e-3)
    assert half.ground.rests and four.ground.rests


def test_layers_are_computed_again_before_a_run_is_refused(base, rows, recipe, score, tmp_path, limited):
    job = job_of(base, rows, recipe)
    setting = job.assumed_setting()
    whole, again = (Prediction(job, replace(setting, recompute=flag), NOTHING) for flag in (False, True))
    assert again.footprint.batch < whole.footprint.batch
    limited(whole.memory(1.0).peak - 20 * 10**6)  # what this process holds besides changes a little
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert result.setting.recompute


def test_what_cannot_fit_is_refused_before_anything_is_written(
    base, rows, recipe, score, tmp_path, limited, monkeypatch
):
    monkeypatch.setattr("luthier.train._setting.multiplies_bf16", lambda: False)
    limited(10**6)
    with pytest.raises(TrainingError, match="of memory, and there are") as caught:
        fine_tune(base, rows, replace(recipe, method="full"), tmp_path / "out", score=score)
    assert "weights" in caught.value.why
    assert any("method: lora" in problem.what for problem in caught.value.problems)
    assert not (tmp_path / "out").exists()


def test_what_may_not_fit_is_warned_of(base, rows, recipe, score, tmp_path, limited, caplog):
    job = job_of(base, rows, recipe)
    peak = Prediction(job, job.assumed_setting(), NOTHING).memory(1.0).peak
    limited(int(1.05 * peak))
    with caplog.at_level(logging.WARNING):
        fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert "may not fit" in caplog.text


def test_a_full_disk_is_refused_before_the_first_step(base, rows, recipe, score, tmp_path, monkeypatch):
    monkeypatch.setattr("luthier.train._remedies.free_disk", lambda place: 1000)
    with pytest.raises(DiskFullError, match="are free there"):
        fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_not_tried_out(base, rows, recipe, limited, monkeypatch):
    limited(10**6)
    monkeypatch.setattr("luthier.train._estimate.training_copy", lambda *_: pytest.fail("a copy was loaded"))
    found = estimate(job_of(base, rows, recipe))
    assert not found.fits and found.seconds is None


def test_changes_are_named_with_what_they_save(base, outline, rows, recipe, asked, monkeypatch):
    # What a processor keeps for each bf16 product (some MB) would hide what an adapter saves of a tiny model.
    monkeypatch.setattr("luthier.train._setting.multiplies_bf16", lambda: False)
    full = job_of(outline, rows, replace(recipe, method="full", tokens_per_micro_batch=1024))
    changes(full, asked, 0)  # what is loaded for the first prediction of a process counts as the process's own
    before = Prediction(full, full.assumed_setting(), asked).memory(1.0).peak
    found = changes(full, asked, before - 1)
    assert [change.write for change in found][-1].startswith("base: a model of at most")
    assert "train: {method: lora}" in [change.write for change in found]
    assert all(change.bytes < before for change in found)


def test_the_line_through_timed_steps():
    assert line([100, 300], [2.0, 4.0]) == pytest.approx((1.0, 0.01))
    assert line([100, 101], [2.0, 2.0]) == pytest.approx((0.0, 4 / 201))  # too alike to tell what a pass costs
    assert line([100, 300], [1.0, 4.0]) == pytest.approx((0.0, 5 / 400))  # nothing costs less than nothing
    assert line([100, 300], [4.0, 2.0]) == pytest.approx((3.0, 0.0))


def _setting(packing="tree"):
    return Setting("float32", "", packing, "")


def _kept(trainee, setting, rows):
    """Bytes that one forward pass keeps for its backward pass, logits and their gradient among them."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = setting.batch(rows, trainee.device)
    with setting.attention(trainee.body), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        batch_losses(trainee.module, batch, None)
    weights = {parameter.untyped_storage().data_ptr() for parameter in trainee.module.parameters()}
    return sum(size for place, size in kept.items() if place not in weights)
