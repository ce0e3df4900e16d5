"""What several prompts begin with: computed once, kept for those that come later, seen by every row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from luthier.models._attention import KeyValues
from luthier.models._plan import WORTH_SHARING
from luthier.models._trie import common_prefix

_REMEMBERED = 8  # prompts whose tokens (no keys, no values) are remembered, to see what comes a second time


@dataclass(frozen=True, eq=False)
class Prefix:
    """The keys and values of tokens that several prompts begin with."""

    ids: tuple[int, ...]
    layers: KeyValues

    def upto(self, length: int) -> Prefix:
        """Its first `length` tokens."""
        if length == len(self.ids):
            return self
        layers = [(keys[:, :length].contiguous(), values[:, :length].contiguous()) for keys, values in self.layers]
        return Prefix(self.ids[:length], layers)


def extend(core: Any, prefix: Prefix | None, ids: Sequence[int], device: torch.device) -> tuple[Prefix, Tensor]:
    """A prefix made longer by `ids` (the shorter one stays as it is), and the logits after it, [vocabulary] float32.

    To be called under the model's plain attention.
    """
    cache: Any = DynamicCache()
    for index, (keys, values) in enumerate([] if prefix is None else prefix.layers):
        cache.update(keys[None], values[None], index)
    out = core(
        input_ids=torch.tensor([list(ids)], device=device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    layers = [(layer.keys[0].contiguous(), layer.values[0].contiguous()) for layer in cache.layers]
    whole = (() if prefix is None else prefix.ids) + tuple(ids)
    return Prefix(whole, layers), out.logits[0, -1].float()


class Beginnings:
    """The prefixes used last: a tree of system prompts and demonstrations, each part of which is computed once.

    Of a kept prefix any part can be used: one that differs after 500 tokens still gives its first 500. They are
    forgotten when the model's weights are no longer those that made them.
    """

    def __init__(self, core: Any, device: torch.device) -> None:
        self._core, self._device = core, device
        self._kept: list[Prefix] = []  # the one used last stands last
        self._weights: object = None
        self._seen: list[tuple[int, ...]] = []

    def get(self, ids: tuple[int, ...], most: int) -> tuple[Prefix, int]:
        """The prefix of these tokens, and how many of them did not have to be computed.

        Args:
            ids: at least one token.
            most: tokens to keep of all prefixes together; the oldest are dropped.
        """
        self._check()
        found = max(self._kept, key=lambda kept: common_prefix(kept.ids, ids), default=None)
        alike = 0 if found is None else common_prefix(found.ids, ids)
        if found is None or alike < WORTH_SHARING:
            prefix, alike = extend(self._core, None, ids, self._device)[0], 0
        elif alike == len(ids):
            self._kept.remove(found)
            self._kept.append(found)
            return found.upto(alike), alike
        else:
            prefix, _ = extend(self._core, found.upto(alike), ids[alike:], self._device)
        # Whatever is a part of the new one is in it.
        self._kept = [kept for kept in self._kept if kept.ids != ids[: len(kept.ids)]] + [prefix]
        while sum(len(kept.ids) for kept in self._kept) > most:
            self._kept.pop(0)
        return prefix, alike

    def came_before(self, ids: tuple[int, ...]) -> int:
        """How many tokens at the beginning of a prompt came before, 0 if not worth keeping; remembers this prompt."""
        known = [*self._seen, *(kept.ids for kept in self._kept)]
        alike = min(max((common_prefix(ids, other) for other in known), default=0), len(ids) - 1)
        self._seen = [*(other for other in self._seen if other != ids), ids][-_REMEMBERED:]
        return alike if alike >= WORTH_SHARING else 0

    def forget(self) -> None:
        """Drops all keys and values."""
        self._kept, self._seen = [], []

    def _check(self) -> None:
        weights = [
            (id(weight), weight.data_ptr(), None if weight.is_inference() else weight._version)
            for weight in self._core.parameters()
        ]
        if weights != self._weights:
            self._kept, self._weights = [], weights
