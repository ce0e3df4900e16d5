"""Rows that are continued together behind one prefix: they join, leave, and get one token each in every step.

Rows are aligned at their end (padding stands between the prefix and a row's own tokens), so the last column holds every
row's last token. What joining rows have in common is computed once, as a tree in one row whose mask lets each token see
the tokens on its path; every row then gets the keys and values of its own path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from luthier.models._attention import KeyValues
from luthier.models._prefix import Prefix
from luthier.models._trie import Integers, Trie

_ROOM = 32  # columns that the cache gets when it is laid out anew, so that most steps copy one column, not all


def run_tree(
    core: Any, prefix: Prefix | None, trie: Trie, kept: Integers, device: torch.device
) -> tuple[Tensor, KeyValues]:
    """Logits at some nodes of a tree behind one prefix, [kept, vocabulary] float32, and all nodes' keys and values.

    Args:
        core: a causal language model of transformers, in evaluation mode, under `attending`.
        prefix: what all sequences begin with; None for nothing.
        trie: the sequences behind it.
        kept: indices of the nodes whose logits are wanted.
        device: where the model is.
    """
    before = 0 if prefix is None else len(prefix.ids)
    cache = _RoomyCache(len(trie.ids))
    logits: Tensor = core(
        input_ids=torch.from_numpy(trie.ids).to(device)[None],
        position_ids=torch.from_numpy(trie.depths + before).to(device)[None],
        attention_mask=_additive(torch.from_numpy(trie.ancestors()).to(device), core.dtype)[None, None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.from_numpy(kept).to(device),
        shared_prefix=None if prefix is None else prefix.layers,
    ).logits[0]
    return logits.float(), [(layer.keys[0], layer.values[0]) for layer in cache.rows]


class Rows:
    """The rows of a running batch.

    Args:
        core: a causal language model of transformers, in evaluation mode, under `attending` (whenever it is used).
        prefix: what all rows begin with; None for nothing.
        device: where the model is.
    """

    def __init__(self, core: Any, prefix: Prefix | None, device: torch.device) -> None:
        self._core, self._device = core, device
        self._before = 0 if prefix is None else len(prefix.ids)
        self._shared = None if prefix is None else prefix.layers
        self._cache = _RoomyCache(0)
        self._used = 0  # columns
        self._pads = torch.zeros(0, dtype=torch.long, device=device)  # of each row
        self._mask = torch.zeros(0, 0, device=device)

    def __len__(self) -> int:
        return len(self._pads)

    def join(self, found: KeyValues, paths: Sequence[Integers]) -> None:
        """Adds rows below the others.

        Args:
            found: keys and values of tokens behind the prefix, per layer.
            paths: the tokens (indices into `found`) of each new row, at least one.
        """
        width = max(self._used, *(len(path) for path in paths))
        index = torch.from_numpy(np.stack([np.pad(path, (width - len(path), 0)) for path in paths])).to(self._device)
        pads = torch.tensor([width - len(path) for path in paths], device=self._device)
        self._cache.join(found, index, self._used, width + _ROOM)
        self._pads = torch.cat([self._pads + (width - self._used), pads])
        self._used = width
        self._lay_mask()

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all rows but these, and the columns that only they needed."""
        index = torch.tensor(list(rows), device=self._device, dtype=torch.long)
        self._pads = self._pads[index]
        spare = int(self._pads.min()) if len(rows) else self._used
        self._pads -= spare
        self._used -= spare
        self._cache.keep(index, spare, self._used + _ROOM)
        self._lay_mask()

    def step(self, tokens: Tensor) -> Tensor:
        """Adds one token to each row; gives the logits after it, [rows, vocabulary] float32."""
        if self._used == self._mask.shape[1]:
            self.keep(range(len(self)))  # the room is used up: the cache is laid out anew
        self._used += 1
        out = self._core(
            input_ids=tokens[:, None],
            position_ids=(self._before + self._used - 1 - self._pads)[:, None],
            attention_mask=self._mask[:, None, None, : self._used],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=self._shared,
        )
        logits: Tensor = out.logits[:, -1]
        return logits.float()

    def _lay_mask(self) -> None:
        columns = torch.arange(self._used + _ROOM, device=self._device)
        self._mask = _additive(columns[None, :] >= self._pads[:, None], self._core.dtype)


class _RoomyCache(Cache):
    """A cache whose layers have room for tokens to come, so that a step copies one column, not all."""

    def __init__(self, room: int) -> None:
        self._room = room
        super().__init__(layer_class_to_replicate=self._new_layer)  # type: ignore[arg-type]  # annotated as a class, called as a factory

    def _new_layer(self) -> _RoomyLayer:
        return _RoomyLayer(self._room)

    @property
    def rows(self) -> list[Any]:
        """Its layers, which are all `_RoomyLayer`."""
        found: list[Any] = self.layers
        return found

    def join(self, found: KeyValues, index: Tensor, used: int, room: int) -> None:
        """Lays the rows out anew, shifted to the right to a width of `index.shape[1]`, and new ones below them."""
        if not self.layers:
            self.layers = [_RoomyLayer(0) for _ in found]
        for layer, (keys, values) in zip(self.rows, found, strict=True):
            layer.join(keys[:, index].transpose(0, 1), values[:, index].transpose(0, 1), used, room)

    def keep(self, index: Tensor, spare: int, room: int) -> None:
        """Lays these rows out anew, without their first `spare` columns."""
        for layer in self.rows:
            layer.keep(index, spare, room)


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers' __init_subclass__ has no types
    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # neither has its __init__
        self._room, self._used = room, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._all = [
            states.new_empty(*states.shape[:2], self._room, states.shape[3]) for states in (key_states, value_states)
        ]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self._used + key_states.shape[2]
        for all_states, states in zip(self._all, (key_states, value_states), strict=True):
            all_states[:, :, self._used : end] = states
        return self._show(end)

    def join(self, keys: Tensor, values: Tensor, used: int, room: int) -> None:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            self._all = [states.new_empty(0, *states.shape[1:]) for states in (keys, values)]
        width = keys.shape[2]
        both = []
        for before, states in zip(self._all, (keys, values), strict=True):
            rows = len(before)
            # Padding is read (and weighed with zero), so it has to hold numbers.
            laid = states.new_zeros(rows + len(states), states.shape[1], room, states.shape[3])
            laid[:rows, :, width - used : width] = before[:, :, :used]
            laid[rows:, :, :width] = states
            both.append(laid)
        self._all = both
        self._show(width)

    def keep(self, index: Tensor, spare: int, room: int) -> None:
        both = []
        for before in self._all:
            laid = before.new_empty(len(index), before.shape[1], room, before.shape[3])
            laid[:, :, : self._used - spare] = before[index, :, spare : self._used]
            both.append(laid)
        self._all = both
        self._show(self._used - spare)

    def _show(self, end: int) -> tuple[Tensor, Tensor]:
        self._used = end
        self.keys, self.values = (states[:, :, :end] for states in self._all)
        return self.keys, self.values


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))
