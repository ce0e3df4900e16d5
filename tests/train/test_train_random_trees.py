"""Trees of any shape and depth: every distinct prefix once, and the loss and gradient of padded rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import Message
from luthier.train import TrainingRow
from luthier.train._attention import Tree, attending_to_trees, tree_attention
from luthier.train._loss import batch_losses, held_logits, padded_batch, tree_batch
from luthier.train._paths import attend
from luthier.train._rows import EncodedRow, encode_rows
from luthier.train._trie import pack

TOKENS = st.integers(3, 6)  # few, so that rows also meet where nobody made them meet


@st.composite
def forests(draw):
    """Rows each of which leaves an earlier one anywhere: at its end, in its middle, or before its first token."""
    rows = []
    for number in range(draw(st.integers(1, 8))):
        before = rows[draw(st.integers(0, number - 1))].ids if number else ()
        kept = before[: draw(st.integers(0, len(before)))]
        ids = (*kept, *draw(st.lists(TOKENS, min_size=0 if len(kept) > 1 else 2, max_size=9)))
        rows.append(EncodedRow(str(number), "", ids, draw(st.integers(1, len(ids) - 1)), draw(st.booleans())))
    return rows


@pytest.fixture(scope="module")
def model(make_tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(make_tiny_model(num_hidden_layers=3), dtype=torch.float64).eval()


def measured(model, make, rows):
    """Loss, divergence and gradient."""
    model.zero_grad()
    held = [row for row in rows if row.held]
    reference = None
    if held:
        with torch.no_grad():
            reference = held_logits(model, make(held, model.device)).roll(1, -1)  # of another model
    loss, divergence = batch_losses(model, make(rows, model.device), reference)
    (loss + 0.3 * divergence).backward()
    return loss.item(), divergence.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


@settings(max_examples=60, deadline=None)
@given(forests())
def test_a_tree_of_any_shape_gives_loss_and_gradient_of_padded_rows(model, rows):
    loss, divergence, gradient = measured(model, padded_batch, rows)
    with attending_to_trees(model):
        found = measured(model, tree_batch, rows)
    # Llama's own norms compute in fp32.
    assert found[:2] == pytest.approx((loss, divergence), rel=1e-6, abs=1e-7)
    assert float((found[2] - gradient).norm()) <= 1e-6 * (1 + float(gradient.norm()))


def hidden_from(packed, window):
    """Which tokens each token does not see, [tokens, tokens]: all but those on its path, and of these the nearest."""
    hidden = torch.ones(packed.tokens, packed.tokens, dtype=torch.bool)
    for segment in packed.segments:
        parent = packed.segments[segment.parent] if segment.parent >= 0 else None
        for token in range(segment.start, segment.start + segment.length):
            first = token == segment.start
            if first and parent is not None:
                hidden[token] = hidden[parent.start + parent.length - 1]
            elif not first:
                hidden[token] = hidden[token - 1]
            hidden[token, token] = False
    depths = torch.from_numpy(packed.positions)
    return hidden | (depths[None] <= depths[:, None] - window)


@settings(max_examples=60, deadline=None)
@given(forests(), st.sampled_from([1, 3]), st.sampled_from([3, 100]))
def test_attention_by_plain_products_is_that_of_a_dense_mask(rows, groups, window):
    packed = pack(rows)
    tree = Tree(packed.segments)
    heads, size = 2 * groups, 4
    generator = torch.Generator().manual_seed(len(rows))
    query, key, value = parts = [
        torch.randn(1, count, packed.tokens, size, generator=generator, dtype=torch.float64, requires_grad=True)
        for count in (heads, 2, 2)
    ]
    masks = tree.masks(groups, window, torch.float64, torch.device("cpu"))
    found = attend(query, key, value, tree.paths, masks, 0.7)
    scores = 0.7 * query @ key.repeat_interleave(groups, 1).transpose(2, 3)
    weights = scores.masked_fill(hidden_from(packed, window), float("-inf")).softmax(-1)
    wanted = (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2)
    pull = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
    gradients = (torch.autograd.grad(output, parts, pull) for output in (found, wanted))
    for ours, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, exact)


def test_attention_in_half_precision_keeps_nothing_but_what_it_is_given():
    """Neither weights of attention nor keys and values once more for each branch wait for the backward pass."""
    rows = [EncodedRow(str(i), "", (*range(3, 40), *range(50 + i, 70)), 45, held=False) for i in range(6)]
    packed = pack(rows)
    parts = [torch.randn(1, heads, packed.tokens, 8, dtype=torch.bfloat16, requires_grad=True) for heads in (4, 2, 2)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        found, _ = tree_attention(torch.nn.Identity(), *parts, None, luthier_tree=Tree(packed.segments))
    assert found.requires_grad
    assert {tensor.data_ptr() for tensor in kept} == {part.data_ptr() for part in parts}


@settings(max_examples=300, deadline=None)
@given(forests())
def test_every_distinct_prefix_is_run_once(rows):
    packed = pack(rows)
    prefixes = {row.ids[:end] for row in rows for end in range(1, len(row.ids))}
    assert packed.tokens == len(prefixes)
    assert packed.row_tokens == sum(len(row.ids) - 1 for row in rows)
    assert packed.labels == sum(row.labels for row in rows if not row.held)
    assert len(packed.held) == sum(row.labels for row in rows if row.held)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text("abc ", min_size=1), st.text("xyz", min_size=1)), min_size=2, max_size=6))
def test_a_conversation_with_a_row_for_each_answer_is_one_path(base, turns):
    said, rows = [Message("system", "Be brief.")], []
    for asked, answered in turns:
        said = [*said, Message("user", asked)]
        rows.append(TrainingRow(str(len(rows)), tuple(said), answered, ""))
        said = [*said, Message("assistant", answered)]
    encoded = encode_rows(base, rows, None)
    packed = pack(encoded)
    assert packed.tokens == len(encoded[-1].ids) - 1
    assert [segment.parent for segment in packed.segments] == list(range(-1, len(packed.segments) - 1))
    assert packed.labels == sum(row.labels for row in encoded)
