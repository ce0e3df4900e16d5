"""Attention of many rows over one shared beginning and over their own tokens, under one softmax.

The function is registered in transformers' `AttentionInterface` under a name of its own; nothing is patched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

ATTENTION = "luthier_shared_prefix"
_SCORES = 2**24  # attention scores held at once, so that a long prefill does not fill the memory (64 MiB in fp32)

KeyValues = list[tuple[Tensor, Tensor]]  # per layer, [key-value heads, tokens, width] each


class NotShareableError(Exception):
    """What this architecture keeps in its cache is not what its attention looks at (compressed keys and values)."""


@contextmanager
def attending(core: Any, attention: str) -> Iterator[None]:
    """The model in evaluation mode with this attention function; its own modes and attention are restored."""
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    training = [module for module in core.modules() if module.training]
    before = core.config._attn_implementation
    core.eval()
    if before != attention:
        core.set_attn_implementation(attention)
    try:
        yield
    finally:
        if before != attention:
            core.set_attn_implementation(before)
        for module in training:
            module.training = True


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    shared_prefix: Sequence[tuple[Tensor, Tensor]] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each row over one shared prefix and its own keys, under one softmax.

    Shapes: query [rows, heads, q, width], key and value [rows, kv heads, own, width], attention_mask additive
    [rows, 1, q, own], shared_prefix per layer a pair of [kv heads, prefix, width]. Gives [rows, q, heads, width].

    Raises:
        NotShareableError: the cached keys and values have another shape than these.
    """
    rows, heads, length, width = query.shape
    before = (key[0, :, :0], value[0, :, :0]) if shared_prefix is None else shared_prefix[module.layer_idx]
    if before[0].shape[::2] != key.shape[1::2] or before[1].shape[::2] != value.shape[1::2]:
        raise NotShareableError
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], length, width)
    scale = width**-0.5 if scaling is None else scaling
    block = max(1, _SCORES // (rows * heads * (before[0].shape[1] + key.shape[2])))
    parts = [
        _attend(part, key, value, mask, before, scale, softcap)
        for part, mask in zip(
            torch.split(grouped, block, dim=3), torch.split(attention_mask, block, dim=2), strict=True
        )
    ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return out, None


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    before: tuple[Tensor, Tensor],
    scale: float,
    softcap: float | None,
) -> Tensor:
    rows, kv_heads, group, length, width = query.shape
    length_before = before[0].shape[1]
    # All rows' queries of a head form one matrix against the shared keys: this is what sharing saves in a decode step.
    # The scores keep that order, [kv heads, rows ...], so that the long shared part is never laid out anew.
    together = query.transpose(0, 1).reshape(kv_heads, rows * group * length, width)
    each = query.reshape(rows, kv_heads, group * length, width)
    own = (each @ key.transpose(2, 3)).view(rows, kv_heads, group, length, -1)
    own = own.mul_(scale)
    if softcap is not None:
        own = torch.tanh(own / softcap).mul_(softcap)
    own += mask[:, :, None]
    own = own.transpose(0, 1).reshape(kv_heads, rows * group * length, -1)
    shared = (together @ before[0].transpose(1, 2)).mul_(scale)
    if softcap is not None:
        shared = torch.tanh(shared / softcap).mul_(softcap)
    weights = torch.cat([shared, own], dim=-1).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    from_shared = weights[..., :length_before] @ before[1]
    own = weights[..., length_before:].reshape(kv_heads, rows, group * length, -1).transpose(0, 1)
    from_own = (own @ value).view(rows, kv_heads, group, length, -1)
    out = from_shared.view(kv_heads, rows, group, length, -1).transpose(0, 1) + from_own
    return out.permute(0, 3, 1, 2, 4).reshape(rows, length, kv_heads * group, -1)
