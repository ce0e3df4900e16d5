"""On a GPU, too, a tree of rows gives the losses and the gradients of padded rows: FlexAttention's compiled kernels."""

import random

import pytest
import torch

from luthier.train._attention import attending_to_trees
from luthier.train._loss import batch_loss, flat_batch, padded_batch, tree_batch
from luthier.train._rows import EncodedRow

VOCABULARY = 97
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
CAPPED = {"sliding_window": 40, "query_pre_attn_scalar": 16, "attn_implementation": "eager"}
ARCHITECTURES = {
    "llama": ("LlamaConfig", SHAPE),
    "qwen3": ("Qwen3Config", SHAPE | {"head_dim": 32}),
    "mistral, window of 50": ("MistralConfig", SHAPE | {"sliding_window": 50}),
    "gemma 2, capped": ("Gemma2Config", SHAPE | {"head_dim": 16, "attn_logit_softcapping": 5.0} | CAPPED),
    "gemma 3": ("Gemma3TextConfig", SHAPE | {"head_dim": 16, "sliding_window": 40}),
    "phi 3": ("Phi3Config", SHAPE),
    "gpt-2": ("GPT2Config", GPT),
    "gpt-neox": ("GPTNeoXConfig", {k: v for k, v in SHAPE.items() if k != "num_key_value_heads"}),
    "narrow heads": ("LlamaConfig", SHAPE | {"num_attention_heads": 8}),
}


def build(name):
    import transformers

    config_class, shape = ARCHITECTURES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config_class)(**shape))
    return model.to("cuda").eval()


def rows_of(seed, trunk=200, count=12):
    """Rows that leave a common trunk at random places, some of several blocks."""
    rng = random.Random(seed)
    common = [rng.randrange(3, VOCABULARY) for _ in range(trunk)]
    rows = []
    for number in range(count):
        ids = common[: rng.randrange(trunk)] + [rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(2, 60))]
        rows.append(EncodedRow(str(number), "", tuple(ids), rng.randrange(1, len(ids))))
    return [*rows, rows[0]]


def gradients(model, make, rows):
    model.zero_grad()
    loss = batch_loss(model, make(rows, model.device))
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tree_and_padded_rows_give_the_same_loss_and_gradients(name):
    model = build(name)
    for seed in range(2):
        rows = rows_of(seed)
        wanted, wanted_gradient = gradients(model, padded_batch, rows)
        with attending_to_trees(model):
            found, found_gradient = gradients(model, tree_batch, rows)
        apart = float((found_gradient - wanted_gradient).norm() / wanted_gradient.norm())
        print(f"{name}: loss {abs(found / wanted - 1):.1e}, gradients {apart:.1e}")
        assert found == pytest.approx(wanted, rel=1e-5)
        assert apart < 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt-neox", "phi 3"])
def test_padding_free_rows_give_the_same_loss_and_gradients(name):
    model, rows = build(name), rows_of(3)
    wanted, wanted_gradient = gradients(model, padded_batch, rows)
    found, found_gradient = gradients(model, flat_batch, rows)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert float((found_gradient - wanted_gradient).norm() / wanted_gradient.norm()) < 1e-5
