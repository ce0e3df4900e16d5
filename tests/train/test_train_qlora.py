"""A base in 4 bits: what is trained on it is what LoRA would train on the same weights unpacked."""

import importlib.util
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from luthier.data import Message
from luthier.errors import TrainingError
from luthier.models import load_folder
from luthier.train import TrainingRow, estimate, fine_tune
from luthier.train import _setting as setting_module
from luthier.train._lora import fuse, fused_layers
from luthier.train._model import Trainee, load_body
from luthier.train._nf4 import FUSED
from luthier.train._predict import Job

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [9, 8, 7, 6, 5, 4]])


@pytest.fixture
def recipe(recipe):
    return replace(recipe, method="qlora")


@pytest.fixture
def exact(monkeypatch):
    """No bf16: comparisons are within fp32's rounding."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})


@pytest.fixture(scope="module")
def replay():
    asked = ("Name a colour.", "What is the capital of France?")
    return [
        TrainingRow(f"replay-{i}", (Message("user", a),), "Some words of an answer.", "replay")
        for i, a in enumerate(asked)
    ]


@pytest.fixture(scope="module")
def unpacked(base, tmp_path_factory):
    """The base with the values that its weights have in 4 bits, as a plain model."""
    folder = shutil.copytree(base.folder, tmp_path_factory.mktemp("unpacked") / "model")
    weights = load_file(folder / "model.safetensors")
    for name, layer in load_body(base, torch.float32, "qlora").named_modules():
        if isinstance(layer, Linear4bit):
            weights[f"{name}.weight"] = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return load_folder(folder, name="unpacked")


def layers_of(module):
    return [layer for layer in module.modules() if isinstance(layer, Linear4bit)]


def test_the_linear_layers_take_less_than_a_sixth_of_the_memory(base):
    body = load_body(base, torch.float32, "qlora")
    layers, plain = layers_of(body), load_body(base, torch.float32)
    assert len(layers) == 14 and body.get_output_embeddings() not in layers
    for layer in layers:
        state = layer.weight.quant_state
        assert layer.weight.dtype == torch.uint8 and state.quant_type == "nf4" and state.nested

    def size(layer):
        state = layer.weight.quant_state
        parts = (layer.weight, state.absmax, state.state2.absmax)
        return sum(part.numel() * part.element_size() for part in parts)

    wanted = [plain.get_submodule(n) for n, part in body.named_modules() if isinstance(part, Linear4bit)]
    assert 6 * sum(map(size, layers)) < sum(4 * layer.weight.numel() for layer in wanted)


def test_packed_weights_are_those_of_transformers(base, make_tiny_model):
    gpt2 = make_tiny_model("GPT2Config", n_embd=64, n_layer=2, n_head=4)  # its layers are [in, out]
    for folder, dtype in [(base.folder, torch.bfloat16), (gpt2, torch.float32)]:
        how = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        wanted = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, quantization_config=how).eval()
        found = load_body(load_folder(folder, name="tiny"), dtype, "qlora")
        assert [n for n, _ in found.named_parameters()] == [n for n, _ in wanted.named_parameters()]
        assert len(layers_of(found)) == len(layers_of(wanted)) > 0 and found.dtype == wanted.dtype
        for (name, a), (_, b) in zip(found.named_parameters(), wanted.named_parameters(), strict=True):
            assert a.dtype == b.dtype and torch.equal(a, b), name
        for a, b in zip(layers_of(found), layers_of(wanted), strict=True):
            assert a.weight.quant_state == b.weight.quant_state
            assert torch.equal(a.weight.quant_state.absmax, b.weight.quant_state.absmax)
        for layer in layers_of(wanted):
            layer.support_avx512bf16_for_cpu = False  # it rewrites the weights
        assert torch.equal(found(input_ids=IDS).logits, wanted(input_ids=IDS).logits)


def test_it_trains_as_lora_on_the_same_values(base, unpacked, rows, replay, recipe, score, tmp_path, exact):
    packed = fine_tune(base, rows, recipe, tmp_path / "packed", score=score, replay=replay)
    plain = fine_tune(unpacked, rows, replace(recipe, method="lora"), tmp_path / "plain", score=score, replay=replay)
    assert packed.setting.packing == "tree" and packed.setting.precision == "float32"
    for name in ("loss", "drift", "gradient_norm"):
        wanted = [getattr(point, name) for point in plain.curve]
        assert [getattr(point, name) for point in packed.curve] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert packed.curve[0].loss == pytest.approx(plain.curve[0].loss, rel=1e-6)
    assert packed.curve[-1].loss < 0.8 * packed.curve[0].loss
    usual = fine_tune(base, rows, replace(recipe, method="lora"), tmp_path / "usual", score=score, replay=replay)
    assert abs(packed.curve[0].loss / usual.curve[0].loss - 1) > 1e-3  # 4 bits are not the base


def test_packed_rows_train_as_padded_ones(base, rows, recipe, score, tmp_path, monkeypatch, exact):
    losses = {}
    for packings in (("tree", "padding-free"), ("padding-free",), ()):
        monkeypatch.setattr(setting_module, "PACKED", packings)
        run = fine_tune(base, rows, recipe, tmp_path / f"without-{len(packings)}", score=score)
        losses[run.setting.packing] = [point.loss for point in run.curve]
    assert list(losses) == ["tree", "padding-free", "padded"]
    for found in losses.values():
        assert found == pytest.approx(losses["padded"], rel=1e-3)


@pytest.mark.parametrize("features", [{"avx512_bf16": True}, {}])
def test_what_is_measured_is_what_is_served(base, rows, recipe, score, tmp_path, monkeypatch, features):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert result.setting.precision == ("bfloat16" if features else "float32")
    assert "4 bits change the loss by" in result.setting.precision_reason
    assert score(base.with_adapter(result.folder)) == result.best_score > score(base)
    assert "not on the 4 bits" in result.as_dict()["measured_on"] and "bitsandbytes" in result.versions


def test_an_interrupted_run_ends_with_the_same_bytes(base, rows, recipe, score, tmp_path):
    straight = fine_tune(base, rows, recipe, tmp_path / "straight", score=score)

    def interrupt(progress):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, recipe, tmp_path / "out", score=score, progress=interrupt)
    steps = []
    resumed = fine_tune(base, rows, recipe, tmp_path / "out", score=score, progress=lambda p: steps.append(p.step))
    assert min(steps) == 4 and resumed.adapter_hash == straight.adapter_hash
    assert [p.loss for p in resumed.curve] == [p.loss for p in straight.curve]


@pytest.mark.parametrize(
    "change", [{"variant": "rslora"}, {"variant": "dora"}, {"layers": ("q_proj",)}, {"from_layer": 1}]
)
def test_variants(change, base, unpacked, rows, recipe, score, tmp_path, exact):
    recipe = replace(recipe, **change)
    packed = fine_tune(base, rows, recipe, tmp_path / "packed", score=score)
    plain = fine_tune(unpacked, rows, replace(recipe, method="lora"), tmp_path / "plain", score=score)
    assert [p.loss for p in packed.curve] == pytest.approx([p.loss for p in plain.curve], rel=1e-3)
    assert packed.curve[-1].loss < packed.curve[0].loss


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize("targets", ["all-linear", ["v_proj"]])
def test_its_layer_gives_the_outputs_and_gradients_of_pefts(base, targets):
    found = []
    for fused in (True, False):
        config = LoraConfig(r=4, lora_alpha=12, target_modules=targets)
        if fused:
            fuse(config, FUSED)
        module = get_peft_model(load_body(base, torch.float32, "qlora"), config, autocast_adapter_dtype=False).eval()
        assert fused_layers(module)[0] == (fused_layers(module)[1] if fused else 0)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
            with module.disable_adapter():
                plain = module(input_ids=IDS).logits  # a pass without gradients changes no weight
        logits = module(input_ids=IDS).logits
        logits.log_softmax(-1)[..., 11].sum().backward()
        found.append((logits, plain, {n: p.grad for n, p in module.named_parameters() if p.requires_grad}))
    (a, a_plain, a_gradients), (b, b_plain, b_gradients) = found
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(a_plain, b_plain, rtol=1e-5, atol=1e-5)
    assert a_gradients.keys() == b_gradients.keys() and not torch.allclose(a, a_plain, atol=1e-3)
    for name, gradient in a_gradients.items():
        assert gradient is not None and gradient.abs().max() > 0
        assert float((gradient - b_gradients[name]).norm() / b_gradients[name].norm()) < 1e-5


def test_no_pass_rewrites_the_weights(base, recipe):
    trainee = Trainee(load_body(base, torch.float32, "qlora"), recipe)
    before = [(layer.weight.data.clone(), layer.weight.quant_state.absmax.clone()) for layer in layers_of(trainee.body)]
    with torch.no_grad(), trainee.untrained(base) as (module, _):
        module(input_ids=IDS)
    for layer, (weight, scales) in zip(layers_of(trainee.body), before, strict=True):
        assert torch.equal(layer.weight.data, weight) and torch.equal(layer.weight.quant_state.absmax, scales)


def test_layers_that_are_computed_again_have_the_same_gradients(base, rows, recipe):
    found = []
    for again in (False, True):
        trainee = Trainee(load_body(base, torch.float32, "qlora"), recipe)
        with torch.no_grad():
            for name, master in trainee.masters.items():
                if "lora_B" in name:  # zero at first, and with it the gradient of A
                    master.copy_(torch.linspace(-0.1, 0.1, master.numel()).view_as(master))
        trainee.publish()
        if again:
            trainee.keep_only_layer_inputs()
        saved = []

        def keep(tensor, saved=saved):
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = trainee.module(input_ids=IDS).logits
        logits.log_softmax(-1)[..., 11].sum().backward()
        found.append((sum(t.numel() for t in saved), {n: p.grad for n, p in trainee.masters.items()}))
    (kept, plain), (less, recomputed) = found
    assert less < 0.5 * kept
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0 and torch.equal(gradient, recomputed[name])


def test_it_can_be_estimated(base, rows, recipe):
    four, whole = (estimate(Job.of(base, rows, replace(recipe, method=name), ())) for name in ("qlora", "lora"))
    assert four.memory.phases["steps"]["weights"] < whole.memory.phases["steps"]["weights"]
    assert four.seconds is None and whole.seconds > 0  # its time is not known before


def test_without_bitsandbytes(base, rows, recipe, score, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a)
    )
    with pytest.raises(TrainingError, match="bitsandbytes, which is not installed") as caught:
        fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert 'pip install "luthier[qlora]"' in caught.value.fix and not (tmp_path / "out").exists()


def test_a_quantised_base_is_not_quantised_again(base, rows, recipe, score, tmp_path):
    folder = tmp_path / "model"
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoModelForCausalLM.from_pretrained(base.folder, quantization_config=how).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    quantised = load_folder(folder, name="small")
    with pytest.raises(TrainingError, match="small is quantised already"):
        fine_tune(quantised, rows, recipe, tmp_path / "out", score=score)
