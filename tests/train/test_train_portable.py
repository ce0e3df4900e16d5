"""An adapter is a plain PEFT folder: other programs load it and get what we measured."""

import json
import re
import shutil
from dataclasses import fields, replace

import gguf
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from luthier.errors import ModelError
from luthier.models import load_folder
from luthier.train import Recipe, fine_tune, merge

KINDS = {
    "plain": {},
    "rslora": {"variant": "rslora"},
    "dora": {"variant": "dora"},
    "qlora": {"method": "qlora"},
    "some layers": {"layers": ("q_proj", "down_proj"), "from_layer": 1},
    "from a block on": {"from_layer": 1},
}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of its --max-lora-rank


def train(base, rows, score, out, **changes):
    recipe = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=1.0, batch_size=8, evaluate_every=4)
    return fine_tune(base, rows, replace(recipe, **changes), out, score=score).folder


@pytest.fixture(scope="module", params=KINDS)
def made(request, base, rows, score, tmp_path_factory):
    """A trained adapter of each kind: (kind, folder)."""
    out = tmp_path_factory.mktemp("kind") / "out"
    return request.param, train(base, rows, score, out, **KINDS[request.param])


@pytest.fixture(scope="module")
def adapter(base, rows, score, tmp_path_factory):
    return train(base, rows, score, tmp_path_factory.mktemp("adapter") / "out")


@torch.no_grad()
def logits(module):
    return module(input_ids=IDS, use_cache=False).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_peft_gives_the_logits_that_were_measured(made, base):
    _, folder = made
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    untuned = logits(plain)
    theirs, ours = logits(PeftModel.from_pretrained(plain, folder).eval()), logits(base.with_adapter(folder).module)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert (ours - untuned).abs().max() > 1e-2


def test_its_configuration_says_nothing_that_only_we_know(made):
    kind, folder = made
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config.keys() <= {field.name for field in fields(LoraConfig)} | {"peft_type", "auto_mapping"}
    assert isinstance(config["target_modules"], list) and config["target_modules"]
    assert config["layers_to_transform"] == ([1] if "from_layer" in KINDS[kind] else None)
    assert config["peft_type"] == "LORA" and config["task_type"] == "CAUSAL_LM" and config["bias"] == "none"


def test_vllm_and_llama_cpp_find_what_they_ask_for(made, base):
    """vLLM's PEFTHelper and llama.cpp's convert_lora_to_gguf.py, by what their sources check."""
    kind, folder = made
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] <= max(VLLM_RANKS) and not config["modules_to_save"] and not config["rank_pattern"]
    assert {"r", "lora_alpha", "target_modules"} <= config.keys()
    weights = load_file(folder / "adapter_model.safetensors")
    plain = dict(base.module.named_parameters())
    for name, tensor in weights.items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.(lora_[AB]\.weight|lora_magnitude_vector)", name)
        assert found, name
        out, into = plain[f"{found[1]}.weight"].shape
        assert tensor.shape == {"A": (4, into), "B": (out, 4)}.get(found[2][5], (out,))
        assert tensor.dtype == torch.float32
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, base.module.config.num_hidden_layers)
    for name in weights:  # what the converter makes of a name has to be one of its tensors
        assert names.get_name(name.removeprefix("base_model.model.").split(".lora_")[0]), name
    pairs = {name.rsplit(".lora_", 1)[0] for name in weights}
    assert all({f"{pair}.lora_A.weight", f"{pair}.lora_B.weight"} <= weights.keys() for pair in pairs)
    assert config["use_dora"] == (kind == "dora")  # neither of the two takes DoRA
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_layers_before_the_first_one_have_no_adapter(made):
    kind, folder = made
    blocks = {
        int(n) for name in load_file(folder / "adapter_model.safetensors") for n in re.findall(r"layers\.(\d+)", name)
    }
    assert blocks == ({1} if "from_layer" in KINDS[kind] else {0, 1})


def test_a_base_of_the_same_shapes_is_told_apart(adapter, make_tiny_model):
    other = make_tiny_model()
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    before = (adapter / "luthier-adapter.json").read_bytes()
    with pytest.raises(ModelError, match="was trained on tiny, and cousin has other weights") as caught:
        load_folder(other, name="cousin").with_adapter(adapter)
    assert "name tiny as the base" in caught.value.fix
    assert (adapter / "luthier-adapter.json").read_bytes() == before
    assert load_folder(make_tiny_model(), name="a copy elsewhere").with_adapter(adapter)


def test_merging_into_another_base_is_refused_too(adapter, make_tiny_model, tmp_path):
    other = make_tiny_model()
    weights = load_file(other / "model.safetensors")
    save_file({n: w * 1.01 for n, w in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="has other weights"):
        merge(load_folder(other, name="cousin"), adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_note_of_a_newer_version_is_refused(adapter, base, tmp_path):
    copy = shutil.copytree(adapter, tmp_path / "copy")
    note = json.loads((copy / "luthier-adapter.json").read_text())
    (copy / "luthier-adapter.json").write_text(json.dumps(note | {"version": 99}))
    with pytest.raises(ModelError, match="version 99"):
        base.with_adapter(copy)
    (copy / "luthier-adapter.json").unlink()  # as one of another program: judged by its tensors
    assert torch.equal(logits(base.with_adapter(copy).module), logits(base.with_adapter(adapter).module))
