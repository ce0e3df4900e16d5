"""Attention of a packed tree by plain products, with gradients in closed form.

Autograd would keep the weights of attention and a copy of the keys and values on the path, for each piece of the tree
and each layer: a fifth of what a micro-batch holds. Here nothing is kept but queries, keys and values, which are kept
anyway; the weights are made once more for the backward pass, as in FlashAttention (Dao et al. 2022, arXiv 2205.14135).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def attend(
    query: Tensor, key: Tensor, value: Tensor, paths: Sequence[Sequence[slice]], masks: Sequence[Tensor], scale: float
) -> Tensor:
    """Attention of each piece of a tree to its path, [1, tokens, heads, value size].

    Args:
        query: [1, heads, tokens, head size].
        key: [1, key heads, tokens, head size].
        value: [1, key heads, tokens, value size].
        paths: where the tokens on the way to each piece stand, from the root down; the piece itself comes last.
        masks: a piece each: [groups * queries, keys on the path], 0 or minus infinity.
        scale: of the scores.
    """
    found: Tensor = _Paths.apply(query, key, value, paths, masks, scale)  # type: ignore[no-untyped-call]  # torch's stubs
    return found


class _Paths(torch.autograd.Function):
    """Queries of a piece are [key heads, groups * queries, head size], so that keys need not be repeated."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        paths: Sequence[Sequence[slice]],
        masks: Sequence[Tensor],
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.paths, ctx.masks, ctx.scale = paths, masks, scale
        _, heads, tokens, _ = query.shape
        output = query.new_empty(1, tokens, heads, value.shape[-1])
        for path, mask in zip(paths, masks, strict=True):
            weights = _weights(_folded(query, path[-1], len(key[0])), _along(key, path), mask, scale)
            found = torch.bmm(weights, _along(value, path))
            output[0, path[-1]] = found.view(heads, -1, found.shape[-1]).transpose(0, 1)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        query, key, value = ctx.saved_tensors
        given = gradients[0].transpose(1, 2)
        of_query = torch.empty_like(query)
        # What many branches add to their common prefix is added up in full precision.
        exact = torch.promote_types(key.dtype, torch.float32)
        of_key, of_value = (torch.zeros(part.shape, dtype=exact, device=part.device) for part in (key, value))
        for path, mask in zip(ctx.paths, ctx.masks, strict=True):
            queries, pulls = (_folded(part, path[-1], len(key[0])) for part in (query, given))
            keys, values = _along(key, path), _along(value, path)
            weights = _weights(queries, keys, mask, ctx.scale)
            _add(of_value, path, torch.bmm(weights.transpose(1, 2), pulls))
            of_weights = torch.bmm(pulls, values.transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(ctx.scale)
            of_query[0, :, path[-1]] = torch.bmm(of_scores, keys).view(query.shape[1], -1, query.shape[-1])
            _add(of_key, path, torch.bmm(of_scores.transpose(1, 2), queries))
        return of_query, of_key.to(key.dtype), of_value.to(value.dtype), None, None, None


def _folded(part: Tensor, piece: slice, groups: int) -> Tensor:
    """A piece of [1, heads, tokens, size] as [key heads, groups * queries, size]."""
    return part[0, :, piece].reshape(groups, -1, part.shape[-1])


def _along(part: Tensor, path: Sequence[slice]) -> Tensor:
    """What stands on a path, of [1, key heads, tokens, size]."""
    return torch.cat([part[0, :, piece] for piece in path], dim=1)


def _weights(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
    """What each query gives each key, [key heads, groups * queries, keys]. softmax works in fp32 inside."""
    return torch.baddbmm(mask[None], query, key.transpose(1, 2), alpha=scale).softmax(dim=-1)


def _add(whole: Tensor, path: Sequence[slice], gradient: Tensor) -> None:
    """Add the gradient of what stands on a path to that of [1, key heads, tokens, size]."""
    lengths = [piece.stop - piece.start for piece in path]
    for piece, part in zip(path, torch.split(gradient, lengths, dim=1), strict=True):
        whole[0, :, piece] += part
