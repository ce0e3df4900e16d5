import json
import shutil
import warnings

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models import LocalModel, load_model

# PEFT asks transformers under a name that is being renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def get_peft_model(module, config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # as above, for fixtures
        return peft.get_peft_model(module, config)


def make_adapter(base_folder, out, seed=1, **changes):
    """An adapter with an effect: PEFT starts with none."""
    module = load_model(str(base_folder)).module
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]} | changes
    model = get_peft_model(module, LoraConfig(task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    model.save_pretrained(str(out), save_embedding_layers=False)
    return out


@pytest.fixture(scope="module")
def adapter(tiny_model_folder, tmp_path_factory):
    return make_adapter(tiny_model_folder, tmp_path_factory.mktemp("adapters") / "one")


@pytest.fixture
def base(tiny_model_folder):
    return load_model(str(tiny_model_folder))


def logits(model):
    ids = torch.tensor([[5, 77, 130, 9]])
    with torch.inference_mode():
        return model.module(ids).logits[0, -1]


def test_two_models_answer_in_turn_and_both_are_right(
    base, adapter, tiny_model_folder, ask, tokens_of, by_transformers
):
    tuned = base.with_adapter(adapter)
    requests = ask(5)
    fresh = load_model(str(tiny_model_folder))
    plain = [by_transformers(fresh, r) for r in requests]
    with_peft = PeftModel.from_pretrained(load_model(str(tiny_model_folder)).module, str(adapter))
    taught = [by_transformers(fresh, r, with_peft) for r in requests]
    assert plain != taught
    for _ in range(2):
        assert tokens_of(base, requests) == plain
        assert tokens_of(tuned, requests) == taught
    assert tuned.batching == "prefix"


def test_answers_of_both_may_be_read_alternately(base, adapter, ask):
    tuned, requests = base.with_adapter(adapter), ask(40, 3)
    wanted = dict(base.answer(requests)), dict(tuned.answer(requests))
    got: tuple[dict, dict] = ({}, {})
    for one, other in zip(base.answer(requests), tuned.answer(requests), strict=True):
        got[0][one[0]], got[1][other[0]] = one[1], other[1]
    for side in (0, 1):
        assert {i: a.text for i, a in got[side].items()} == {i: a.text for i, a in wanted[side].items()}


def test_the_base_is_shared_and_untouched(base, adapter):
    before = {name: weight.clone() for name, weight in base.module.named_parameters()}
    modules = [name for name, _ in base.module.named_modules()]
    base.module.requires_grad_(True)
    tuned = base.with_adapter(adapter)
    assert [name for name, _ in base.module.named_modules()] == modules
    assert all(weight.requires_grad for weight in base.module.parameters())
    assert not any(weight.requires_grad for weight in tuned.module.parameters())
    places = {weight.data_ptr() for weight in base.module.parameters()}
    own = [name for name, weight in tuned.module.named_parameters() if weight.data_ptr() not in places]
    assert own and all("lora_" in name for name in own)
    assert tuned.n_parameters > base.n_parameters
    assert all(torch.equal(weight, before[name]) for name, weight in base.module.named_parameters())


def test_loading_does_not_use_up_random_numbers(base, adapter):
    """Training draws from the same generator; asking a model must not change what it draws."""
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    base.with_adapter(adapter)
    assert torch.equal(torch.rand(1), wanted)


def test_scale(base, adapter):
    whole, half, none = (base.with_adapter(adapter, scale) for scale in (1.0, 0.5, 0.0))
    torch.testing.assert_close(logits(none), logits(base))
    assert not torch.allclose(logits(half), logits(whole), atol=1e-2)
    config = json.loads((adapter / "adapter_config.json").read_text())
    layer = whole.module.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == config["lora_alpha"] / config["r"]
    assert (
        half.module.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] == layer.scaling["default"] / 2
    )


def test_identity_is_of_content(base, adapter, tmp_path):
    tuned = base.with_adapter(adapter)
    assert tuned.identity != base.identity and tuned.base_identity == base.identity == base.base_identity
    assert base.with_adapter(adapter, 0.5).identity not in (tuned.identity, base.identity)
    copy = shutil.copytree(adapter, tmp_path / "elsewhere")
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/another/place"}))
    assert base.with_adapter(copy).identity == tuned.identity
    weights = load_file(copy / "adapter_model.safetensors")
    weights[next(iter(weights))][0, 0] += 1
    save_file(weights, copy / "adapter_model.safetensors")
    assert base.with_adapter(copy).identity != tuned.identity


def test_a_peft_model_in_training_can_be_wrapped(base, adapter, ask, tokens_of, tiny_model_folder):
    tuned = base.with_adapter(adapter)
    module = get_peft_model(
        load_model(str(tiny_model_folder)).module,
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.5),
    )
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, weight in tuned.module.named_parameters():
            own[name].copy_(weight)
    module.train()
    wrapped = LocalModel.wrap(module, base.tokenizer, name="training", identity="now")
    assert tokens_of(wrapped, ask(4)) == tokens_of(tuned, ask(4))  # dropout is off while it answers
    assert module.training and all(part.training for part in module.modules())


def test_an_adapter_of_another_base_is_refused(adapter, make_tiny_model, base):
    other = load_model(str(make_tiny_model(hidden_size=32, intermediate_size=64)))
    with pytest.raises(ModelError, match="does not fit this base") as caught:
        other.with_adapter(adapter)
    assert "in the adapter" in str(caught.value) and "lora_A" in str(caught.value)
    deeper = load_model(str(make_tiny_model(num_hidden_layers=3)))
    with pytest.raises(ModelError, match="missing in the adapter"):
        deeper.with_adapter(adapter)
    names = load_model(str(make_tiny_model("GPTNeoXConfig")))
    with pytest.raises(ModelError, match="does not fit this base"):
        names.with_adapter(adapter)
    with pytest.raises(ModelError, match="already has an adapter"):
        base.with_adapter(adapter).with_adapter(adapter)


def test_adapters_that_cannot_be_read(base, adapter, tmp_path, tiny_model_folder):
    with pytest.raises(ModelError, match=r"adapter_config.json and adapter_model.safetensors missing"):
        base.with_adapter(tmp_path)
    pickled = shutil.copytree(adapter, tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        base.with_adapter(pickled)
    damaged = shutil.copytree(adapter, tmp_path / "damaged")
    (damaged / "adapter_model.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ModelError, match="damaged"):
        base.with_adapter(damaged)
    garbled = shutil.copytree(adapter, tmp_path / "garbled")
    (garbled / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        base.with_adapter(garbled)
    prompts = get_peft_model(
        load_model(str(tiny_model_folder)).module, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    )
    prompts.save_pretrained(str(tmp_path / "prompts"))
    with pytest.raises(ModelError, match="not LoRA"):
        base.with_adapter(tmp_path / "prompts")


def test_what_cannot_be_scaled(base, tiny_model_folder, tmp_path, adapter):
    dora = make_adapter(tiny_model_folder, tmp_path / "dora", use_dora=True)
    base.with_adapter(dora)
    with pytest.raises(ModelError, match="use_dora"):
        base.with_adapter(dora, 0.5)
    with pytest.raises(ModelError, match="scale 3"):
        base.with_adapter(adapter, 3.0)


def test_load_model_takes_an_adapter(tiny_model_folder, adapter, base):
    assert load_model(str(tiny_model_folder), adapter=adapter).identity == base.with_adapter(adapter).identity
    with pytest.raises(ModelError, match="name its base"):
        load_model(str(adapter))
    with pytest.raises(ModelError, match="cannot take an adapter"):
        load_model("http://localhost:1/v1#m", adapter=adapter)
