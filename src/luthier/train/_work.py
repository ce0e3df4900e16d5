"""How much arithmetic a micro-batch is, in tokens that run forward through the base's layers once.

Forward and backward of frozen weights cost two such passes (the result and the gradient of the input), of trained ones
three. Attention adds products for each pair of a query and a key, the output head for each position with a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.models import without_weights
from luthier.train._attention import NAME
from luthier.train._loss import MicroBatch
from luthier.train._recipe import Recipe
from luthier.train._rows import EncodedRow
from luthier.train._setting import Setting

# A row of logits is also read and written some ten times in full precision by the loss. That takes as long as this many
# more columns of the head would (one thread, SmolLM2-135M, bf16).
LOSS_WIDTH = 150
PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class Arithmetic:
    """What a base's layers are, as far as arithmetic goes.

    `layers` are the weights of its linear layers without the head, `vocabulary` and `width` the head's sizes, `pair`
    the products of a query and a key in all layers, in tokens. With `full` all weights are trained; `trained` is the
    number of trained ones over `layers`.
    """

    layers: int
    vocabulary: int
    width: int
    pair: float
    full: bool
    trained: float

    @classmethod
    def of(cls, config: Any, recipe: Recipe, trained: int) -> Arithmetic:
        """Of the model of a configuration, `trained` numbers of which are trained."""
        model = without_weights(config)
        head = model.get_output_embeddings()
        linear = [m.weight for m in model.modules() if getattr(m, "weight", None) is not None and m.weight.ndim == 2]
        apart = {id(head.weight), id(model.get_input_embeddings().weight)}
        layers = sum(weight.numel() for weight in linear if id(weight) not in apart)
        text = config.get_text_config(decoder=True)
        heads = text.num_attention_heads
        size = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
        pair = 2 * text.num_hidden_layers * size / layers
        vocabulary, width = head.weight.shape
        return cls(layers, vocabulary, width, pair, recipe.method == "full", trained / layers)

    def work(self, rows: Sequence[EncodedRow], setting: Setting) -> float:
        """Of a micro-batch, with what the base says on its held rows."""
        batch = setting.batch(rows, PROCESSOR)
        head = self.vocabulary * (self.width + LOSS_WIDTH) / self.layers
        passes = 3 if self.full else 2
        again = 1 if setting.recompute else 0
        found = batch.tokens * (passes + again + (0 if self.full else 3 * self.trained))
        found += (3 + again) * self.pair * _pairs(batch) + passes * head * len(batch.kept)
        held = [row for row in rows if row.held]
        if held:
            said = setting.batch(held, PROCESSOR)
            found += said.tokens + self.pair * _pairs(said) + head * len(said.kept)
        return found


def _pairs(batch: MicroBatch) -> int:
    if NAME in batch.inputs:
        return sum(piece.length * (piece.depth + piece.length) for piece in batch.inputs[NAME].pieces)
    rows, width = batch.inputs["input_ids"].shape
    return int(rows * width * width)
