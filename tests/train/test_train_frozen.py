"""No work for frozen parts: no gradient into the embeddings, none below the lowest adapted layer."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from luthier.errors import TrainingError
from luthier.models import load_folder
from luthier.train import Recipe
from luthier.train._attention import attending_to_trees
from luthier.train._loss import batch_loss, tree_batch
from luthier.train._model import Trainee, load_body
from luthier.train._rows import encode_rows

BLOCKS = 4


@pytest.fixture(scope="module")
def deep(make_tiny_model):
    return load_folder(make_tiny_model(num_hidden_layers=BLOCKS), name="deep")


def one_pass(base, rows, recipe, start=None):
    """Blocks whose output has a gradient, bytes kept for the backward pass, and gradients by name.

    `start` replaces the first weights.
    """
    trainee = Trainee(load_body(base, torch.float32, recipe.method), recipe)
    trainee.load(start or trainee.weights())
    reached, kept = {}, {}

    def watch(name):
        return lambda module, inputs, output: reached.update(
            {name: (output[0] if isinstance(output, tuple) else output).requires_grad}
        )

    watched = {"embeddings": trainee.body.get_input_embeddings(), **dict(enumerate(trainee.body.model.layers))}
    hooks = [module.register_forward_hook(watch(name)) for name, module in watched.items()]
    weights = {p.untyped_storage().data_ptr() for p in trainee.module.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = tree_batch(encode_rows(base, rows[:4], None), trainee.device)
    with attending_to_trees(trainee.body), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = batch_loss(trainee.module, batch)
    loss.backward()
    for hook in hooks:
        hook.remove()
    assert all(p.grad is None for p in trainee.module.parameters() if not p.requires_grad)
    return reached, sum(kept.values()), {name: master.grad for name, master in trainee.masters.items()}


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("first", range(BLOCKS))
def test_the_graph_begins_at_the_lowest_adapted_layer(first, method, deep, rows):
    reached, _, gradients = one_pass(deep, rows, Recipe(method=method, rank=4, alpha=8, from_layer=first))
    assert reached == {"embeddings": False, **{block: block >= first for block in range(BLOCKS)}}
    assert len(gradients) == 2 * 7 * (BLOCKS - first)
    assert all(gradient.abs().max() > 0 for name, gradient in gradients.items() if "lora_B" in name)


def test_nothing_is_kept_for_the_blocks_below(deep, rows):
    recipe = Recipe(rank=4, alpha=8)
    kept = [one_pass(deep, rows, replace(recipe, from_layer=first))[1] for first in range(BLOCKS)]
    blocks = [a - b for a, b in pairwise(kept)]
    assert min(blocks) > 0.9 * max(blocks) > 0  # each block less spares what a block keeps
    assert kept[0] > 2.5 * kept[-1]


def test_the_gradients_above_are_those_of_all_layers(deep, rows):
    recipe = Recipe(rank=4, alpha=8)
    start = Trainee(load_body(deep, torch.float32), recipe).weights()  # the product of each layer is zero
    start |= {name: torch.rand_like(w) / 9 for name, w in start.items() if ".layers.2." in name or ".layers.3." in name}
    every = one_pass(deep, rows, recipe, start)[2]
    upper = one_pass(deep, rows, replace(recipe, from_layer=2), start)[2]
    assert upper.keys() == {name for name in every if ".layers.2." in name or ".layers.3." in name}
    for name, gradient in upper.items():
        assert torch.equal(gradient, every[name]) and gradient.abs().max() > 0


def test_a_block_that_the_base_does_not_have(deep):
    with pytest.raises(TrainingError, match="has 4 blocks") as caught:
        Trainee(load_body(deep, torch.float32), Recipe(from_layer=BLOCKS))
    assert "at most 3" in caught.value.fix
