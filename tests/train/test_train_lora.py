"""Our LoRA layer computes what PEFT's does."""

import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model

from luthier.errors import TrainingError
from luthier.train import Recipe, fine_tune
from luthier.train._lora import fuse, fused_layers
from luthier.train._model import Trainee, load_body


def adapted(base, fused, targets="all-linear"):
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, lora_alpha=12, target_modules=targets)
    if fused:
        fuse(config)
    module = get_peft_model(load_body(base, torch.float32), config, autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_it_gives_the_outputs_and_gradients_of_pefts_layer(base):
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [9, 8, 7, 6, 5, 4]])
    ours, theirs = adapted(base, True), adapted(base, False)
    assert fused_layers(ours)[0] == fused_layers(ours)[1] == fused_layers(theirs)[1] > 0
    assert fused_layers(theirs)[0] == 0
    found = []
    for module in (ours, theirs):
        logits = module(input_ids=ids).logits
        (logits.log_softmax(-1)[..., 11].sum()).backward()
        gradients = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
        with torch.no_grad(), module.disable_adapter():
            found.append((logits, gradients, module(input_ids=ids).logits))
    (a, a_gradients, a_plain), (b, b_gradients, b_plain) = found
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert torch.equal(a_plain, b_plain) and not torch.allclose(a, a_plain, atol=1e-3)
    assert a_gradients.keys() == b_gradients.keys()
    for name, gradient in a_gradients.items():
        torch.testing.assert_close(gradient, b_gradients[name], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_its_files_are_pefts(base, tmp_path):
    from peft import PeftModel

    ours = adapted(base, True)
    ours.save_pretrained(tmp_path)
    read = PeftModel.from_pretrained(load_body(base, torch.float32), tmp_path).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        torch.testing.assert_close(read(input_ids=ids).logits, ours(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"variant": "rslora"}, {"use_rslora": True}),
        ({"variant": "dora"}, {"use_dora": True}),
        ({"layers": ("q_proj", "v_proj")}, {"target_modules": ["q_proj", "v_proj"]}),
    ],
)
def test_variants_learn_and_say_in_their_files_what_they_are(change, told, base, rows, score, tmp_path):
    recipe = replace(Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.0, evaluate_every=4), **change)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert result.curve[-1].loss < result.curve[0].loss
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert {name: config[name] for name in told} == told
    assert score(base.with_adapter(result.folder)) == pytest.approx(result.best_score, rel=1e-6)
    assert fine_tune(base, rows, recipe, tmp_path / "out", score=score).adapter_hash == result.adapter_hash


def test_layers_that_the_base_does_not_have(base):
    with pytest.raises(TrainingError, match="nothing_proj") as caught:
        Trainee(load_body(base, torch.float32), Recipe(layers=("nothing_proj",)))
    assert "train: layers" in caught.value.fix
