"""Attention over a packed prefix tree on a GPU: FlexAttention with a block mask made from the tree's segments.

A tree in depth-first order needs one number a token: where its subtree ends. Key k lies on the path to query q if and
only if k <= q < end[k]. Blocks of the mask follow from the least and the greatest end in them, so that no mask of all
pairs is ever made (FlexAttention: Dong et al. 2024, arXiv 2412.05496).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.models import Integers
from luthier.train._trie import Segment

BLOCK = 128  # queries and keys of a block: the kernels' own size
KERNELS = 64  # that are compiled in one process


def subtree_ends(segments: Sequence[Segment]) -> Integers:
    """For each packed token the index after the last token below it, [tokens]."""
    ends = [segment.start + segment.length for segment in segments]
    for number in range(len(segments) - 1, -1, -1):  # children stand behind their parents
        parent = segments[number].parent
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[number])
    return np.repeat(np.asarray(ends, dtype=np.int64), [segment.length for segment in segments])


def depths(segments: Sequence[Segment]) -> Integers:
    """Position of each packed token in the rows that run through it, [tokens]."""
    return np.concatenate([np.arange(s.depth, s.depth + s.length, dtype=np.int64) for s in segments])


def block_mask(segments: Sequence[Segment], window: int | None, device: torch.device) -> Any:
    """FlexAttention's mask of a tree; `window` counts the query's own position, None is no window."""
    from torch.nn.attention.flex_attention import BlockMask

    ends, places = subtree_ends(segments), depths(segments)
    tokens = len(ends)
    padded = -(-tokens // BLOCK) * BLOCK
    some, whole = blocks(ends, window is None)
    end = torch.from_numpy(np.pad(ends, (0, padded - tokens))).to(device)
    depth = torch.from_numpy(np.pad(places, (0, padded - tokens))).to(device)

    def on_the_path(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (key <= query) & (query < end[key])
        return seen if window is None else seen & (depth[query] - depth[key] < window)

    partial, full = (_listed(found, device) for found in (some & ~whole, whole))
    mask: Any = BlockMask
    return mask.from_kv_blocks(*partial, *full, BLOCK, on_the_path, seq_lengths=(tokens, tokens))


def blocks(ends: Integers, may_be_whole: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Which key blocks (columns) a query block (row) sees something of, and which it sees in full: two tables."""
    tokens = len(ends)
    starts = np.arange(0, tokens, BLOCK)
    stops = np.minimum(starts + BLOCK, tokens)
    furthest = np.maximum.reduceat(ends, starts)
    nearest = np.minimum.reduceat(ends, starts)
    earlier = np.tri(len(starts), k=-1, dtype=np.bool_)
    some = (earlier & (furthest[None, :] > starts[:, None])) | np.eye(len(starts), dtype=np.bool_)
    whole = earlier & (nearest[None, :] >= stops[:, None]) & may_be_whole
    return some, whole


def flex(query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float | None, softcap: float | None) -> Tensor:
    """Attention [1, heads, tokens, value size] under a block mask; compiled on a GPU, once for all shapes."""
    from torch.nn.attention.flex_attention import flex_attention

    limit = softcap or 1.0

    def capped(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return torch.tanh(score / limit) * limit

    how: dict[str, Any] = {
        "score_mod": None if softcap is None else capped,
        "block_mask": mask,
        "scale": scaling,
        "enable_gqa": query.shape[1] != key.shape[1],
    }
    if query.device.type != "cuda":
        found: Tensor = flex_attention(query, key, value, **how)
        return found
    from torch._dynamo import config

    how["kernel_options"] = {"FORCE_USE_FLEX_ATTENTION": True}  # the one for short queries fails on some sizes
    # A kernel for each kind of mask and head; past the limit torch would go on without kernels, in silence. A cap that
    # is no constant would keep it from compiling the whole.
    with config.patch(recompile_limit=KERNELS, fail_on_recompile_limit_hit=True, specialize_float=True):
        found = _compiled()(query, key, value, **how)
    return found


def compile_errors() -> tuple[type[Exception], ...]:
    """What is raised where torch cannot compile something, whatever the compiler met."""
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return TorchDynamoException, FailOnRecompileLimitHit


@cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _listed(table: np.ndarray[Any, Any], device: torch.device) -> tuple[Tensor, Tensor]:
    """How many blocks each row of a table names, [1, 1, rows], and which, those first, [1, 1, rows, columns]."""
    counts = torch.from_numpy(table.sum(axis=1).astype(np.int32))
    order = torch.from_numpy(np.argsort(~table, axis=1, kind="stable").astype(np.int32))
    return counts[None, None].to(device), order[None, None].to(device)
