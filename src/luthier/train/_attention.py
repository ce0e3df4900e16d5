"""Attention over a packed prefix tree, registered with transformers under a name of ours.

A token attends to the tokens on its path to the root and to nothing else. The tree is cut into pieces; the queries of a
piece meet the keys of the pieces above it and of the piece itself in one call, so that no work is spent on other
branches. Keys along a path stand at depths 0, 1, 2, ..., hence causality and sliding windows are a matter of depths.
On a GPU one call of FlexAttention does the same under a block mask. The tree reaches the attention function as a
keyword argument of the model's `forward`: nothing is patched or global.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from luthier.train._flex import block_mask, flex
from luthier.train._paths import attend
from luthier.train._trie import Segment

NAME = "luthier_tree"  # of the attention function, and of the keyword that carries the tree
PIECE = 256  # longest piece; a causal mask wastes half of the work inside a piece, and short pieces cost calls
FLEX_DEVICES = frozenset({"cuda"})  # where its compiled kernels run forward and backward
LEAST_HEAD = 16  # numbers a head that those kernels take


class NotATreeError(Exception):
    """This architecture's attention asks for something that the tree cannot give."""


@dataclass(frozen=True)
class Piece:
    """Contiguous packed tokens; `above` are the indices of the pieces on the path to them, from the root down."""

    length: int
    depth: int
    above: tuple[int, ...]


class Tree:
    """The shape of a packed micro-batch, as the attention function needs it. One per forward pass; keeps its masks."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.pieces = _pieces(segments)
        self.lengths = [piece.length for piece in self.pieces]
        ends = np.cumsum(self.lengths).tolist()
        places = [slice(end - piece.length, end) for piece, end in zip(self.pieces, ends, strict=True)]
        self.paths = [[places[i] for i in (*piece.above, number)] for number, piece in enumerate(self.pieces)]
        self._segments = tuple(segments)
        self._masks: dict[tuple[Any, ...], Tensor] = {}
        self._block_masks: dict[tuple[Any, ...], Any] = {}

    def masks(self, groups: int, window: int | None, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """Additive masks, a piece each: [groups * queries, keys on the path], 0 or minus infinity."""
        found = []
        for piece in self.pieces:
            key = (piece.depth, piece.length, groups, window, dtype, device)
            if key not in self._masks:
                self._masks[key] = _mask(piece, groups, window, dtype, device)
            found.append(self._masks[key])
        return found

    def block_mask(self, window: int | None, device: torch.device) -> Any:
        """The whole tree as FlexAttention's mask."""
        key = (window, device)
        if key not in self._block_masks:
            self._block_masks[key] = block_mask(self._segments, window, device)
        return self._block_masks[key]


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    luthier_tree: Tree | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of every token to its path in the tree.

    `query` is [1, heads, tokens, head size]; `key` and `value` may have fewer heads (grouped queries). `scaling` None
    is 1 / sqrt(head size); `sliding_window` counts the query's own position; `softcap` squeezes scores by tanh
    (Gemma 2); `s_aux` [heads] are scores of sinks that take attention and give nothing (gpt-oss). There is no mask and
    no dropout: transformers makes no mask for functions that it does not know, and a prefix stands for many rows.

    Returns:
        [1, tokens, heads, value size], and None for the weights.

    Raises:
        NotATreeError: there is no tree, or the layer asks for something else.
    """
    _refuse(module, query, attention_mask, dropout, luthier_tree, others)
    assert luthier_tree is not None
    if query.device.type in FLEX_DEVICES and s_aux is None and min(query.shape[-1], value.shape[-1]) >= LEAST_HEAD:
        blocks = luthier_tree.block_mask(sliding_window, query.device)
        return flex(query, key, value, blocks, scaling, softcap).transpose(1, 2), None
    groups = query.shape[1] // key.shape[1]
    masks = luthier_tree.masks(groups, sliding_window, query.dtype, query.device)
    plainly = softcap is not None or s_aux is not None
    if not plainly and query.device.type == "cpu" and query.dtype.itemsize == 2:
        # There it is 1.2 to 1.9 times as fast as torch's fused kernel, which wins in fp32 (256 to 4,096 keys).
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attend(query, key, value, luthier_tree.paths, masks, scale), None
    queries, keys, values = (torch.split(part, luthier_tree.lengths, dim=2) for part in (query, key, value))
    outputs = []
    for number, (piece, mask) in enumerate(zip(luthier_tree.pieces, masks, strict=True)):
        path = (*piece.above, number)
        path_keys = torch.cat([keys[i] for i in path], dim=2) if piece.above else keys[number]
        path_values = torch.cat([values[i] for i in path], dim=2) if piece.above else values[number]
        if plainly:
            output = _weighted(_scores(queries[number], path_keys, mask, scaling, softcap), path_values, s_aux)
        else:
            output = _fused(queries[number], path_keys, path_values, mask, scaling)
        outputs.append(output.reshape(1, query.shape[1], piece.length, -1))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


@contextmanager
def attending_to_trees(model: PreTrainedModel) -> Iterator[None]:
    """Within the block `model` takes a packed tree in `forward(luthier_tree=...)`; afterwards it is as before."""
    AttentionInterface.register(NAME, tree_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def why_no_tree(model: PreTrainedModel) -> str | None:
    """Why this architecture cannot run packed trees, as far as its class says; None where it may."""
    name = type(model).__name__
    if not model._supports_attention_backend:
        return f"{name} has its own attention, not transformers' interface"
    types = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    strange = sorted(types - {"full_attention", "sliding_attention"})
    if strange:
        return f"{name} has layers that carry a state along the sequence: {', '.join(strange)}"
    return None


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None) -> Tensor:
    """Attention of query heads laid end to end where they share a key head, so that keys need not be repeated."""
    folded = query.reshape(1, key.shape[1], -1, query.shape[-1])
    return torch.nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)


def _scores(query: Tensor, key: Tensor, mask: Tensor, scaling: float | None, softcap: float | None) -> Tensor:
    """Masked scores, [key heads, groups * queries, keys]."""
    folded = query.reshape(key.shape[1], -1, query.shape[-1])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if softcap is None:
        return torch.baddbmm(mask[None], folded, key[0].transpose(1, 2), alpha=scale)
    scores = torch.bmm(folded, key[0].transpose(1, 2)) * (scale / softcap)
    return scores.tanh() * softcap + mask


def _weighted(scores: Tensor, value: Tensor, sinks: Tensor | None) -> Tensor:
    """Values weighted by scores, [key heads, groups * queries, value size]. softmax works in fp32 inside."""
    if sinks is None:
        return torch.bmm(scores.softmax(dim=-1), value[0])
    heads, rows, keys = scores.shape
    sink = sinks.to(scores.dtype).repeat_interleave(heads * rows // len(sinks)).reshape(heads, rows, 1)
    return torch.bmm(torch.cat([scores, sink], dim=-1).softmax(dim=-1)[..., :keys], value[0])


def _refuse(
    module: torch.nn.Module,
    query: Tensor,
    mask: Tensor | None,
    dropout: float,
    tree: Tree | None,
    others: dict[str, Any],
) -> None:
    asked = sorted(n for n in ("position_bias", "cache", "head_mask") if others.get(n) is not None)
    reasons = {
        "the model does not hand the tree on to its attention": tree is None,
        "it makes an attention mask of its own": mask is not None,
        "it uses dropout": dropout > 0,
        "it is not causal": getattr(module, "is_causal", True) is False or others.get("is_causal") is False,
        f"it asks for {', '.join(asked)}": bool(asked),
        "it does not keep the packed tokens in one sequence": tree is not None and query.shape[2] != sum(tree.lengths),
    }
    for reason, applies in reasons.items():
        if applies:
            raise NotATreeError(reason)


def _pieces(segments: Sequence[Segment]) -> list[Piece]:
    """Segments cut to at most PIECE tokens; each piece continues the one before it in its segment."""
    pieces: list[Piece] = []
    last: list[int] = []  # segment -> its last piece
    for segment in segments:
        parent = last[segment.parent] if segment.parent >= 0 else None
        for offset in range(0, segment.length, PIECE):
            above = () if parent is None else (*pieces[parent].above, parent)
            pieces.append(Piece(min(PIECE, segment.length - offset), segment.depth + offset, above))
            parent = len(pieces) - 1
        last.append(len(pieces) - 1)
    return pieces


def _mask(piece: Piece, groups: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    keys = torch.arange(piece.depth + piece.length, device=device)
    queries = torch.arange(piece.depth, piece.depth + piece.length, device=device)[:, None]
    hidden = keys > queries
    if window is not None:
        hidden |= keys <= queries - window
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))
    return mask.repeat(groups, 1)
