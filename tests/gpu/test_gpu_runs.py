"""Whole runs on a GPU: what is chosen, that it learns, that it goes on after a stop, and what memory it holds."""

import importlib.util
from dataclasses import replace

import pytest
import torch

from luthier.errors import TrainingError
from luthier.models import load_folder
from luthier.train import _compile, fine_tune
from luthier.train._model import Trainee, training_copy


@pytest.mark.parametrize("method", ["lora", "full", "qlora"])
def test_a_run_learns_and_says_what_it_used(method, base, rows, replay, recipe, score, tmp_path):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    rate = 5e-4 if method == "full" else recipe.learning_rate
    recipe = replace(recipe, method=method, learning_rate=rate)
    before = score(base)
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score, replay=replay)
    setting = result.setting
    print(setting)
    assert setting.packing == "tree" and setting.precision == "bfloat16"
    assert setting.loss == ("liger" if importlib.util.find_spec("liger_kernel") else "chunked")
    assert result.best_score > before + 1
    tuned = load_folder(base.folder, name="tiny").with_tuning(result.folder)
    assert score(tuned) == pytest.approx(result.best_score, abs=0.05)


def test_the_base_s_weights_are_not_held_twice(base):
    copy = training_copy(base, torch.bfloat16, "lora")
    held = {p.data_ptr() for p in base.module.parameters()}
    assert {p.data_ptr() for p in copy.parameters()} == held


def test_compiled_layers_give_the_same_losses(base, rows, recipe, score, tmp_path, monkeypatch):
    plain = fine_tune(base, rows, recipe, tmp_path / "eager", score=score)
    monkeypatch.setattr(_compile, "LONG", 0.0)
    monkeypatch.setattr(_compile.Timing, "verdict", lambda timing, left: (True, f"forced; {timing}"))
    compiled = fine_tune(base, rows, recipe, tmp_path / "compiled", score=score)
    print(compiled.setting.compile_reason)
    assert compiled.setting.compiled and not plain.setting.compiled
    for one, other in zip(plain.curve, compiled.curve, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.05, abs=0.02)


def test_a_stopped_run_goes_on(base, rows, recipe, score, tmp_path):
    straight = fine_tune(base, rows, recipe, tmp_path / "straight", score=score)

    def stop(state):
        if state.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, recipe, tmp_path / "out", score=score, progress=stop, checkpoint_seconds=0.0)
    resumed = fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert len(resumed.curve) == len(straight.curve)
    for one, other in zip(straight.curve, resumed.curve, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.05, abs=0.02)


def test_too_little_memory_is_said_with_what_to_change(base, rows, recipe, score, tmp_path, monkeypatch):
    real, calls = Trainee.sum_gradients, []

    def greedy(trainee, group):
        real(trainee, group)
        calls.append(1)
        if len(calls) == 3:
            torch.empty(10**15, device="cuda")

    monkeypatch.setattr(Trainee, "sum_gradients", greedy)
    with pytest.raises(TrainingError) as caught:
        fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    print(caught.value)
    assert "memory" in str(caught.value) and (tmp_path / "out" / "checkpoint").is_dir()
