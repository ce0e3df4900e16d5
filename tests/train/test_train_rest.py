"""While a half-precision copy is trained, the base's own weights take no room, and come back as they were."""

from dataclasses import replace

import pytest
import torch

from luthier.errors import TrainingError
from luthier.models import load_folder
from luthier.train import Recipe, fine_tune
from luthier.train._model import Trainee, load_body
from luthier.train._rest import RestingBase

RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=1.0, evaluate_every=2)


@pytest.fixture
def half(base, tmp_path):
    """A base whose file holds bf16, answering in fp32."""
    module = load_body(base, torch.bfloat16)
    module.save_pretrained(tmp_path / "half")
    base.tokenizer.save_pretrained(tmp_path / "half")
    return load_folder(tmp_path / "half", name="half")


def bits(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def test_weights_that_the_copy_has_take_no_room_and_come_back(half):
    before = bits(half.module)
    trainee = Trainee(load_body(half, torch.bfloat16), RECIPE)
    resting = RestingBase(half.module, trainee.body)
    assert resting.bytes == sum(weight.numel() * 4 for weight in before.values())
    with resting.resting():
        assert sum(weight.numel() for weight in half.module.parameters()) == 0
        with resting.awake():
            assert all(torch.equal(weight, before[name]) for name, weight in bits(half.module).items())
        assert sum(weight.numel() for weight in half.module.parameters()) == 0
    assert bits(half.module).keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in bits(half.module).items())


def test_what_the_copy_has_only_nearly_stays(base, half):
    trainee = Trainee(load_body(base, torch.bfloat16), RECIPE)
    assert 0 <= RestingBase(base.module, trainee.body).bytes < RestingBase(half.module, trainee.body).bytes
    whole = Trainee(load_body(half, torch.float32), RECIPE)
    assert RestingBase(half.module, whole.body).bytes == 0


def test_a_base_in_4_bits_comes_back_from_its_files(base, half):
    for whole in (base, half):
        before = bits(whole.module)
        trainee = Trainee(load_body(whole, torch.float32, "qlora"), replace(RECIPE, method="qlora"))
        assert RestingBase(whole.module, trainee.body).bytes == 0
        resting = RestingBase(whole.module, trainee.body, whole.folder)
        assert resting.bytes == sum(weight.numel() * 4 for weight in before.values())
        with resting.resting():
            assert sum(weight.numel() for weight in whole.module.parameters()) == 0
            with resting.awake():
                assert all(torch.equal(weight, before[name]) for name, weight in bits(whole.module).items())
        assert all(torch.equal(weight, before[name]) for name, weight in bits(whole.module).items())


def test_a_file_that_changes_meanwhile_is_an_error(half):
    trainee = Trainee(load_body(half, torch.float32, "qlora"), replace(RECIPE, method="qlora"))
    resting = RestingBase(half.module, trainee.body, half.folder)
    (half.folder / "model.safetensors").touch()
    with pytest.raises(TrainingError, match="was changed while an adapter was trained") as caught, resting.resting():
        pass
    assert "checkpoint" in caught.value.fix


def test_a_base_is_whole_after_training_and_after_a_failure(half, rows, score, tmp_path, monkeypatch):
    if not any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True})
    before = bits(half.module)

    def fails(model):
        raise RuntimeError("no score")

    with pytest.raises(RuntimeError, match="no score"):
        fine_tune(half, rows, RECIPE, tmp_path / "failed", score=fails)
    assert all(torch.equal(weight, before[name]) for name, weight in bits(half.module).items())
    result = fine_tune(half, rows, RECIPE, tmp_path / "out", score=score)
    assert result.setting.precision == "bfloat16"
    assert all(torch.equal(weight, before[name]) for name, weight in bits(half.module).items())
    assert score(half.with_adapter(result.folder)) == pytest.approx(result.best_score, rel=1e-6)
