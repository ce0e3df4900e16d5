"""What a processor compiles for products in half precision, and a bound on how much of it is kept.

oneDNN compiles each product anew for each number of rows and keeps the last 1,024 of them, and torch keeps 1,024
descriptions of its own: 0.7 MB a product, whatever the widths are. Every micro-batch has another number of tokens and
other branches, so nearly all of these are never used again. It is enough to keep those of one micro-batch, which every
layer uses: with fewer, each layer would compile them anew, and a step would take three times as long.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from luthier.models import without_weights
from luthier.train._attention import Tree
from luthier.train._rows import EncodedRow
from luthier.train._trie import pack

log = logging.getLogger(__name__)

PRODUCT_BYTES = 700_000  # each; SmolLM2-135M, torch 2.13
# How many are kept, by oneDNN and by torch; each reads its own once, at the first such product of the process.
LIMITS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KEPT = 1024  # where nothing is said
SPARE = 1.25  # for micro-batches that were not looked at
MORE_PIECES = 2  # of each row, for another training in the same process: passages in its prompts, say
# A weight shape with its adapter, forward and backward; a piece of a tree; the same of a pass without gradients.
OF_A_SHAPE, OF_A_PIECE, OF_A_SHAPE_ONCE, OF_A_PIECE_ONCE = 8, 6, 3, 2


def products(rows: Sequence[EncodedRow], shapes: int) -> int:
    """How many products a micro-batch compiles, at most; `shapes` are those of the model's weights."""
    found = shapes * OF_A_SHAPE + _pieces(rows) * OF_A_PIECE
    held = [row for row in rows if row.held]
    return found + (shapes * OF_A_SHAPE_ONCE + _pieces(held) * OF_A_PIECE_ONCE if held else 0)


def products_needed(parts: Sequence[Sequence[EncodedRow]], shapes: int) -> int:
    """How many must be kept for micro-batches like these, and for those of a similar training after it."""
    return max(round(SPARE * products(part, shapes)) + MORE_PIECES * OF_A_PIECE * len(part) for part in parts)


def weight_shapes(config: Any) -> int | None:
    """How many shapes the weights have; None where experts take as many rows each as they are sent."""
    sizes = {tuple(weight.shape) for weight in without_weights(config).parameters()}
    return None if any(len(size) > 2 for size in sizes) else len([size for size in sizes if len(size) == 2])


def products_kept(needed: int | None) -> int:
    """How many are kept in this process, where so many are needed; None is not known."""
    said = [os.environ[name] for name in LIMITS if name in os.environ]
    if said:
        return max(int(number) if number.isdecimal() else KEPT for number in said)
    return KEPT if needed is None else needed


def keep_few_products(needed: int | None) -> None:
    """Have no more kept than that; for the whole process, unless the user has said how many."""
    kept = products_kept(needed)
    for name in LIMITS:
        os.environ.setdefault(name, str(kept))
    if needed is not None and needed > kept:
        log.warning(
            "training will be slow: this process keeps %d compiled products, and a step needs up to %d; "
            "start a new process, or set %s=%d before it starts",
            *(kept, needed, LIMITS[0], needed),
        )


def _pieces(rows: Sequence[EncodedRow]) -> int:
    return len({(piece.length, piece.depth) for piece in Tree(pack(rows).segments).pieces})
