"""Trees of any shape and depth: every distinct prefix once, and the loss and gradient of padded rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import Message
from luthier.train import TrainingRow
from luthier.train._attention import attending_to_trees
from luthier.train._loss import batch_losses, held_logits, padded_batch, tree_batch
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
