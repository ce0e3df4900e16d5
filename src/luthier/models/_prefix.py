"""Prompts that begin alike: the beginning is computed once, kept once, and seen by every row of a batch.

The keys and values of the common beginning are not copied into each row's cache. An attention function of ours
(transformers' `AttentionInterface`, under a name of its own) lets every row look at the one copy and at its own tokens,
under one softmax, so the result is that of the whole prompt. Rows are aligned at their end (padding stands between the
common beginning and a row's own tokens), so the last column holds every row's last token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from luthier.models._trie import Trie

ATTENTION = "luthier_shared_prefix"
_SCORES = 2**24  # attention scores held at once, so that a long prefill does not fill the memory (64 MiB in fp32)


class NotShareableError(Exception):
    """What this architecture keeps in its cache is not what its attention looks at (compressed keys and values)."""


KeyValues = list[tuple[Tensor, Tensor]]  # per layer, [1, key-value heads, tokens, width] each (in use: without the 1)


@dataclass(frozen=True)
class Prefix:
    """The keys and values of tokens that several prompts begin with."""

    length: int
    layers: KeyValues


def extend(core: Any, prefix: Prefix | None, ids: Sequence[int], device: torch.device) -> Prefix:
    """A prefix made longer by `ids`; the shorter one stays as it is."""
    cache: Any = DynamicCache()
    for index, (keys, values) in enumerate([] if prefix is None else prefix.layers):
        cache.update(keys, values, index)
    core(
        input_ids=torch.tensor([list(ids)], device=device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    length = len(ids) + (0 if prefix is None else prefix.length)
    return Prefix(length, [(layer.keys, layer.values) for layer in cache.layers])


class Rows:
    """Rows of a batch behind one prefix, token by token.

    Args:
        core: a causal language model of transformers, in evaluation mode, under `attending`.
        prefix: what all rows begin with; None for nothing.
        own: each row's own tokens (at least one).
        room: most tokens that will be added to a row.
    """

    def __init__(
        self, core: Any, prefix: Prefix | None, own: Sequence[Sequence[int]], room: int, device: torch.device
    ) -> None:
        self._core, self._own, self._device = core, own, device
        self._before = 0 if prefix is None else prefix.length
        self._shared = None if prefix is None else _contiguous(prefix)
        self._width = max(len(ids) for ids in own)
        self._pads = torch.tensor([self._width - len(ids) for ids in own], device=device)
        self._cache = _RoomyCache(self._width + room)
        columns = torch.arange(self._width + room, device=device)
        self._mask = _additive(columns[None, :] >= self._pads[:, None], core.dtype)
        self._steps = 0

    def prefill(self) -> Tensor:
        """Logits after each row's own tokens, [rows, vocabulary] float32."""
        tokens = torch.zeros(len(self._own), self._width, dtype=torch.long, device=self._device)
        for row, ids in enumerate(self._own):
            tokens[row, self._width - len(ids) :] = torch.tensor(list(ids), device=self._device)
        columns = torch.arange(self._width, device=self._device)
        causal = columns[None, :] <= columns[:, None]
        # A padding column may look at the padding before it: nobody reads what it sees, and a softmax needs something.
        real = columns[None, None, :] >= self._pads[:, None, None]
        padding = columns[None, :, None] < self._pads[:, None, None]
        mask = _additive((causal & (real | padding))[:, None], self._core.dtype)
        positions = (self._before + columns[None, :] - self._pads[:, None]).clamp(min=0)
        return self._forward(tokens, positions, mask)

    def step(self, tokens: Tensor) -> Tensor:
        """Adds one token to each row; gives the logits after it, [rows, vocabulary] float32."""
        column = self._width + self._steps
        self._steps += 1
        positions = (self._before + column - self._pads)[:, None]
        return self._forward(tokens[:, None], positions, self._mask[:, None, None, : column + 1])

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all rows but these."""
        index = torch.tensor(list(rows), device=self._device)
        self._pads, self._mask = self._pads[index], self._mask[index]
        self._cache.batch_select_indices(index)

    def _forward(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        out = self._core(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=self._shared,
        )
        logits: Tensor = out.logits[:, -1]
        return logits.float()


def tree_logits(core: Any, prefix: Prefix | None, trie: Trie, kept: Tensor, device: torch.device) -> Tensor:
    """Logits at nodes of a tree that stands behind one prefix, [kept, vocabulary] float32, in one pass.

    The tree is one row whose mask lets each node see the nodes on its path.

    Args:
        core: a causal language model of transformers, in evaluation mode, under `attending`.
        prefix: what all sequences begin with; None for nothing.
        trie: the sequences behind it.
        kept: indices of the nodes whose logits are wanted.
        device: where the model is.
    """
    before, shared = (0, None) if prefix is None else (prefix.length, _contiguous(prefix))
    mask = _additive(torch.from_numpy(trie.ancestors()).to(device), core.dtype)
    logits: Tensor = core(
        input_ids=torch.from_numpy(trie.ids).to(device)[None],
        position_ids=torch.from_numpy(trie.depths + before).to(device)[None],
        attention_mask=mask[None, None],
        use_cache=False,
        logits_to_keep=kept,
        shared_prefix=shared,
    ).logits[0]
    return logits.float()


def _contiguous(prefix: Prefix) -> KeyValues:
    return [(keys[0].contiguous(), values[0].contiguous()) for keys, values in prefix.layers]


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
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)
    return out.reshape(rows, heads, length, value.shape[-1]).transpose(1, 2).contiguous(), None


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
    together = query.transpose(0, 1).reshape(kv_heads, rows * group * length, width)
    each = query.reshape(rows, kv_heads, group * length, width)
    shared = (together @ before[0].transpose(1, 2)).view(kv_heads, rows, group, length, -1).transpose(0, 1)
    own = (each @ key.transpose(2, 3)).view(rows, kv_heads, group, length, -1)
    scores = torch.cat([shared, own], dim=-1).mul_(scale)
    if softcap is not None:
        scores = torch.tanh(scores / softcap).mul_(softcap)
    scores[..., length_before:] += mask[:, :, None]
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    from_shared = weights[..., :length_before].transpose(0, 1).reshape(kv_heads, rows * group * length, length_before)
    from_own = weights[..., length_before:].reshape(rows, kv_heads, group * length, -1)
    out = (from_shared @ before[1]).view(kv_heads, rows, group, length, -1).transpose(0, 1)
    return out + (from_own @ value).view(rows, kv_heads, group, length, -1)


class _RoomyCache(Cache):
    """A cache whose layers have room for all tokens from the start, so that a step copies one column, not all."""

    def __init__(self, room: int) -> None:
        super().__init__(layer_class_to_replicate=partial(_RoomyLayer, room))  # type: ignore[arg-type]  # annotated as a class, called as a factory


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers' __init_subclass__ has no types
    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # neither has its __init__
        self._room, self._used = room, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._all_keys, self._all_values = (
            states.new_empty(*states.shape[:2], self._room, states.shape[3]) for states in (key_states, value_states)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self._used + key_states.shape[2]
        self._all_keys[:, :, self._used : end] = key_states
        self._all_values[:, :, self._used : end] = value_states
        self._used = end
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        self._all_keys, self._all_values = self._all_keys[indices], self._all_values[indices]
        self.keys, self.values = self._all_keys[:, :, : self._used], self._all_values[:, :, : self._used]


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))
