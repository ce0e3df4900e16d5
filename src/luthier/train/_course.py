"""Which rows stand in which optimizer step: a function of the rows, the recipe and the step, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.models import common_prefix
from luthier.train._recipe import Recipe
from luthier.train._rows import EncodedRow
from luthier.train._trie import micro_batches, tree_tokens


class Course:
    """The order of training.

    Every epoch is a fresh permutation of all rows; steps cut the endless sequence of epochs into batches. Rows are
    sampled first and share whatever prefixes they happen to have, so the order is as unbiased as without sharing.
    Replay rows follow one permutation, a few in every step. There is no random state to save: a step's batch is
    computed from the seed.
    """

    def __init__(self, rows: Sequence[EncodedRow], replay: Sequence[EncodedRow], recipe: Recipe) -> None:
        self._rows, self._replay, self._recipe = tuple(rows), tuple(replay), recipe
        self._replay_order = np.random.default_rng([recipe.seed]).permutation(len(replay))
        self._known: tuple[int, list[EncodedRow]] = (-1, [])

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self._recipe.steps(len(self._rows))

    def batch(self, step: int) -> list[EncodedRow]:
        """The rows of an optimizer step, counted from 0."""
        first = step * self._recipe.batch_size
        places = range(first, first + self._recipe.batch_size)
        return [self._epoch(place // len(self._rows))[place % len(self._rows)] for place in places]

    def replay(self, step: int) -> list[EncodedRow]:
        """The replay rows of an optimizer step; none where there are none to draw from."""
        if not self._replay:
            return []
        count = self._recipe.replay_rows
        return [
            self._replay[self._replay_order[i % len(self._replay)]] for i in range(step * count, (step + 1) * count)
        ]

    def micro_batches(self, step: int, packing: str, rank: int = 0, size: int = 1) -> list[list[EncodedRow]]:
        """The rows of a step, replay rows among them, in parts that fit into memory.

        Of `size` processes the one with number `rank` gets its share of them: about as many tokens as each other.
        """
        budget = self._recipe.tokens_per_micro_batch
        batch, replay = self.batch(step), self.replay(step)
        if size > 1:
            mine = _share([*batch, *replay], rank, size)
            batch, replay = [row for row in mine if not row.held], [row for row in mine if row.held]
        if packing == "tree":
            return micro_batches([*batch, *replay], budget)
        # Padded rows share the columns whose logits are made; those of held rows are all of them.
        return [*_padded_parts(batch, budget), *_padded_parts(replay, budget)]

    def tokens(self, packing: str) -> int:
        """Tokens that all steps will run in a packing; the first 50 steps stand for the rest where there are more."""
        sampled = min(self.steps, 50)
        counts = [_tokens(part, packing) for s in range(sampled) for part in self.micro_batches(s, packing)]
        return round(sum(counts) * self.steps / sampled)

    def row_tokens(self) -> int:
        """Tokens of the rows of all steps, each row counted in full."""
        sampled = min(self.steps, 50)
        return round(
            sum(len(row.ids) - 1 for s in range(sampled) for row in (*self.batch(s), *self.replay(s)))
            * self.steps
            / sampled
        )

    def _epoch(self, epoch: int) -> list[EncodedRow]:
        if self._known[0] != epoch:
            order = np.random.default_rng([self._recipe.seed, epoch]).permutation(len(self._rows))
            self._known = (epoch, [self._rows[i] for i in order])
        return self._known[1]


def _share(rows: Sequence[EncodedRow], rank: int, size: int) -> list[EncodedRow]:
    """Neighbours in sorted order, which share prefixes, cut where the tokens that they add make equal shares."""
    ordered = sorted(rows, key=lambda row: row.ids)
    before = [(), *(row.ids for row in ordered)]
    new = [len(row.ids) - common_prefix(b, row.ids) for b, row in zip(before, ordered, strict=False)]
    middles = np.cumsum(new) - np.asarray(new) / 2
    shares = np.minimum(middles * size // max(1, sum(new)), size - 1)
    return [row for row, share in zip(ordered, shares.tolist(), strict=True) if share == rank]


def _padded_parts(rows: Sequence[EncodedRow], budget: int) -> list[list[EncodedRow]]:
    """Rows of like length together, at most `budget` tokens with their padding (a longer row stands alone)."""
    parts: list[list[EncodedRow]] = []
    for row in sorted(rows, key=lambda r: len(r.ids)):
        if parts and (len(parts[-1]) + 1) * (len(row.ids) - 1) <= budget:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def _tokens(rows: Sequence[EncodedRow], packing: str) -> int:
    if packing == "tree":
        return tree_tokens(rows)
    return len(rows) * (max(len(row.ids) for row in rows) - 1)
