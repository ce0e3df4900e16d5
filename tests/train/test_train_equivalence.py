"""The tree gives the loss and the gradients of padded rows, in every architecture that it claims to know."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.train import Recipe
from luthier.train._attention import PIECE, attending_to_trees, why_no_tree
from luthier.train._course import Course
from luthier.train._flex import subtree_ends
from luthier.train._loss import (
    batch_loss,
    batch_losses,
    flat_batch,
    held_logits,
    label_likelihoods,
    losses_of_logits,
    padded_batch,
    tree_batch,
)
from luthier.train._model import Trainee, load_body
from luthier.train._rows import EncodedRow, encode_rows
from luthier.train._trie import pack

VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
NEOX = {k: v for k, v in SHAPE.items() if k != "num_key_value_heads"}
CAPPED = {"sliding_window": 6, "query_pre_attn_scalar": 8, "attn_implementation": "eager"}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "first_k_dense_replace": 2,
}
ARCHITECTURES = {
    "llama": ("LlamaConfig", SHAPE),
    "qwen3": ("Qwen3Config", SHAPE | {"head_dim": 8}),
    "qwen2, window of 7": (
        "Qwen2Config",
        SHAPE | {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "mistral": ("MistralConfig", SHAPE | {"sliding_window": None}),
    "mistral, window of 9": ("MistralConfig", SHAPE | {"sliding_window": 9}),
    "gemma 2, capped scores and logits": (
        "Gemma2Config",
        SHAPE | {"head_dim": 8, "attn_logit_softcapping": 5.0} | CAPPED,
    ),
    "gemma 3": ("Gemma3TextConfig", SHAPE | {"head_dim": 8, "sliding_window": 6}),
    "granite, scaled logits": ("GraniteConfig", SHAPE | {"logits_scaling": 3.0, "attention_multiplier": 0.3}),
    "phi 3": ("Phi3Config", SHAPE),
    "cohere, parallel blocks": ("CohereConfig", SHAPE),
    "gpt-2, learned positions": ("GPT2Config", GPT),
    "gpt-neox": ("GPTNeoXConfig", NEOX),
    "gpt-oss, sinks": ("GptOssConfig", SHAPE | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "deepseek 3, latent keys": ("DeepseekV3Config", SHAPE | LATENT),
}
# Their own code computes in fp32 whatever the weights are, and fails or overflows in fp64.
SINGLE = {"gemma 2, capped scores and logits", "gpt-oss, sinks"}


def build(name):
    import transformers

    config_class, shape = ARCHITECTURES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config_class)(**shape))
    return (model if name in SINGLE else model.double()).eval()


def random_rows(seed, count=6, trunk=24):
    """Rows that leave a common trunk at random places; one of them twice, one inside another."""
    rng = random.Random(seed)
    common = [rng.randrange(3, VOCABULARY) for _ in range(trunk)]
    rows = []
    for number in range(count):
        tail = [rng.randrange(3, 6) for _ in range(rng.randrange(2, 14))]
        ids = common[: rng.randrange(0, trunk)] + tail
        rows.append(EncodedRow(str(number), "", tuple(ids), rng.randrange(1, len(ids))))
    inside = rows[1].ids[: max(2, len(rows[1].ids) - 1)]
    return [*rows, rows[0], EncodedRow("inside", "", inside, 1)]


def gradients(model, make, rows):
    model.zero_grad()
    loss = batch_loss(model, make(rows, model.device))
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tree_and_padded_rows_give_the_same_loss_and_gradients(name):
    model = build(name)
    before = model.config._attn_implementation
    assert why_no_tree(model) is None
    for seed in range(2):
        rows = random_rows(seed)
        wanted, wanted_gradient = gradients(model, padded_batch, rows)
        with attending_to_trees(model):
            found, found_gradient = gradients(model, tree_batch, rows)
        assert found == pytest.approx(wanted, rel=1e-6)
        assert float((found_gradient - wanted_gradient).norm() / wanted_gradient.norm()) < 1e-5
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma 3", "mistral, window of 9", "gpt-neox", "phi 3"])
def test_padding_free_rows_give_the_same_loss_and_gradients(name):
    model = build(name)
    for seed in range(2):
        rows = random_rows(seed)
        wanted, wanted_gradient = gradients(model, padded_batch, rows)
        found, found_gradient = gradients(model, flat_batch, rows)
        assert found == pytest.approx(wanted, rel=1e-6)
        assert float((found_gradient - wanted_gradient).norm() / wanted_gradient.norm()) < 1e-5


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize(
    "name", ["llama", "mistral, window of 9", "gemma 2, capped scores and logits", "gpt-2, learned positions"]
)
def test_the_block_mask_of_a_gpu_gives_the_likelihoods_of_padded_rows(name, monkeypatch):
    """FlexAttention runs forward on a CPU as well; trees of several blocks, so that some are left out or whole."""
    model = build(name)
    for seed in range(3):
        rows = random_rows(seed, count=12, trunk=400)
        wanted = label_likelihoods(model, padded_batch(rows, model.device))
        with monkeypatch.context() as on_a_gpu, attending_to_trees(model):
            on_a_gpu.setattr("luthier.train._attention.FLEX_DEVICES", {"cpu"})
            found = label_likelihoods(model, tree_batch(rows, model.device))
        assert torch.allclose(found, wanted, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 60))
def test_blocks_are_left_out_or_whole_where_the_tree_says_so(seed, count, trunk):
    from luthier.train import _flex

    segments = pack(random_rows(seed, count, trunk)).segments
    ends = subtree_ends(segments)
    places = range(len(ends))
    seen = torch.tensor([[k <= q < ends[k] for k in places] for q in places])
    before, _flex.BLOCK = _flex.BLOCK, 8
    try:
        some, whole = _flex.blocks(ends, True)
    finally:
        _flex.BLOCK = before
    for q in range(len(some)):
        for k in range(len(some)):
            block = seen[8 * q : 8 * q + 8, 8 * k : 8 * k + 8]
            assert some[q, k] or not block.any()
            assert not whole[q, k] or block.all()
            assert some[q, k] or not whole[q, k]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("packing", ["tree", "padding-free", "padded"])
def test_layers_computed_again_give_the_same_gradients_for_less_memory(method, packing, base, rows):
    from luthier.train._setting import Setting

    setting = Setting("float32", "", packing, "")
    encoded = encode_rows(base, rows[:8], None)
    found = []
    for again in (False, True):
        trainee = Trainee(load_body(base, torch.float32), Recipe(method=method, rank=4))
        with torch.no_grad():
            for master in trainee.masters.values():
                master.add_(0.01)
        trainee.publish()
        if again:
            trainee.keep_only_layer_inputs()
        kept: dict[int, int] = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with setting.attention(trainee.body), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = batch_loss(trainee.module, setting.batch(encoded, base.device))
        with setting.attention(trainee.body):  # the layers run again in here
            loss.backward()
        found.append((loss.item(), torch.cat([m.grad.flatten() for m in trainee.masters.values()]), sum(kept.values())))
        assert not any(module.training for module in trainee.module.modules() if not hasattr(module, "self_attn"))
    (loss, gradient, size), (loss_again, gradient_again, size_again) = found
    assert loss_again == loss and torch.equal(gradient, gradient_again)
    assert size_again < 0.8 * size


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 30))
def test_any_tree_gives_the_likelihoods_of_padded_rows(seed, count, trunk):
    model = build_llama()
    rows = random_rows(seed, count + 1, trunk)
    wanted = label_likelihoods(model, padded_batch(rows, model.device))
    with attending_to_trees(model):
        found = label_likelihoods(model, tree_batch(rows, model.device))
    assert torch.allclose(found, wanted, atol=1e-6)


def build_llama(kept=[]):  # noqa: B006  # one model for all examples of a property
    if not kept:
        kept.append(build("llama"))
    return kept[0]


def test_segments_longer_than_a_piece():
    rng = random.Random(0)
    trunk = [rng.randrange(3, VOCABULARY) for _ in range(PIECE + 90)]
    rows = [EncodedRow(str(n), "", (*trunk, n + 3, *trunk[:PIECE]), PIECE) for n in range(2)]
    model = build_llama()
    wanted, wanted_gradient = gradients(model, padded_batch, rows)
    with attending_to_trees(model):
        found, found_gradient = gradients(model, tree_batch, rows)
    assert found == pytest.approx(wanted, rel=1e-6)
    assert float((found_gradient - wanted_gradient).norm() / wanted_gradient.norm()) < 1e-5


def test_loss_and_its_gradient_are_those_of_cross_entropy():
    torch.manual_seed(0)
    model = build_llama()
    rows = random_rows(3)
    batch = padded_batch(rows, model.device)
    logits = model(**batch.inputs, use_cache=False).logits
    wanted = sum(
        torch.nn.functional.cross_entropy(
            logits[n, r.start - 1 : len(r.ids) - 1], torch.tensor(r.ids[r.start :]), reduction="sum"
        )
        for n, r in enumerate(rows)
    )
    (wanted_gradient,) = torch.autograd.grad(wanted, [model.lm_head.weight])
    loss = batch_loss(model, batch)
    (gradient,) = torch.autograd.grad(loss, [model.lm_head.weight])
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-9)
    assert torch.allclose(gradient, wanted_gradient, atol=1e-9)


@pytest.mark.parametrize("packing", ["tree", "padding-free", "padded"])
@pytest.mark.parametrize("budget", [10, 60, 10_000])
def test_gradient_does_not_depend_on_how_the_batch_is_divided(packing, budget):
    from luthier.train._setting import Setting

    setting = Setting("float64", "", packing, "")
    rows = random_rows(5)
    found = []
    for tokens in (budget, 100_000):
        recipe = Recipe(method="full", batch_size=len(rows), tokens_per_micro_batch=tokens)
        trainee = Trainee(build("llama"), recipe)
        parts = Course(rows, [], recipe).micro_batches(0, packing)
        for part in parts:
            with setting.attention(trainee.body):
                batch_loss(trainee.module, setting.batch(part, trainee.device)).backward()
        found.append(torch.cat([m.grad.flatten() for m in trainee.masters.values()]))
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-6


@pytest.mark.parametrize("name", ["FalconConfig", "BloomConfig"])
def test_architectures_with_their_own_attention_are_known_not_to_fit(name):
    import transformers

    config = getattr(transformers, name)(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=4
    )
    reason = why_no_tree(transformers.AutoModelForCausalLM.from_config(config))
    assert reason is not None and "own attention" in reason


@pytest.mark.parametrize("packing", ["tree", "padding-free", "padded"])
@pytest.mark.parametrize("chunk", [5, 256])
def test_divergence_and_its_gradient_are_those_of_the_probabilities(packing, chunk, base, rows, monkeypatch):
    """KL(reference || model) summed over real tokens only, whatever the layout, beside rows that are learned."""
    from luthier.train._setting import Setting

    monkeypatch.setattr("luthier.train._loss.CHUNK", chunk)
    setting = Setting("float32", "", packing, "")
    encoded = encode_rows(base, rows[:5], None)
    held = [replace(row, start=1, held=True) for row in encoded[:3]]
    held[1] = replace(held[1], ids=held[1].ids[:-4])
    part = [encoded[3], *held, encoded[0], encoded[4]]  # one row is learned and held
    body = load_body(base, torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in body.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    with torch.no_grad(), setting.attention(base.module):
        reference = held_logits(base.module, setting.batch(held, base.device))

    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        with setting.attention(body):
            return batch_losses(body, setting.batch(part, base.device), reference)

    apart = torch.zeros(())
    for row in held:
        ids = torch.tensor([row.ids[:-1]])
        with torch.no_grad():
            p = base.module(input_ids=ids).logits[0].softmax(-1)
        q = body(input_ids=ids).logits[0].softmax(-1)
        apart = apart + (p * (p / q).log()).sum()

    def learned() -> torch.Tensor:
        return batch_loss(body, padded_batch([encoded[3], encoded[0], encoded[4]], base.device))

    for got, wanted in zip(losses(), (learned(), apart), strict=True):
        assert got.item() == pytest.approx(wanted.item(), rel=1e-4)
    weights = list(body.parameters())
    for pull in (1.0, 0.3):
        found = losses()  # once more: the gradients take the place of the logits
        got = torch.autograd.grad(found[0] + pull * found[1], weights)
        wanted = torch.autograd.grad(learned() + pull * apart, weights, retain_graph=True)
        for a, b in zip(got, wanted, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


@pytest.mark.parametrize("kept", [False, True])
def test_the_gradient_takes_the_place_of_the_logits_unless_their_maker_needs_them(kept):
    generator = torch.Generator().manual_seed(0)
    states, head = (torch.randn(size, generator=generator, requires_grad=True) for size in ((6, 4), (4, 9)))

    def logits():
        made = (states @ head)[None].flatten(0, 1)
        return made.tanh() if kept else made

    ours, nodes, targets = logits(), torch.arange(6), torch.arange(6) + 2
    none = nodes[:0]
    before = ours.detach().clone()
    loss, _ = losses_of_logits(ours, nodes, targets, torch.ones_like(nodes), none, ours.new_empty(0, 9))
    found = torch.autograd.grad(loss, (states, head))
    wanted = torch.autograd.grad(torch.nn.functional.cross_entropy(logits(), targets, reduction="sum"), (states, head))
    for got, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, exact)
    assert torch.equal(ours, before) == kept
