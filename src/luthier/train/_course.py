"""Which rows stand in which optimizer step: a function of the rows, the recipe and the step, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from luthier.models import common_prefix
from luthier.train._recipe import Recipe
from luthier.train._rows import EncodedRow
from luthier.train._trie import micro_batches, tree_tokens

FAMILY = 32  # tokens


@dataclass(frozen=True)
class Pass:
    """Rows that run forward and backward together.

    What is learned of them counts `learn` times and the divergence on the held ones `hold` times: once, or not at all
    where rows only keep other processes company.
    """

    rows: Sequence[EncodedRow]
    learn: float = 1.0
    hold: float = 1.0


class Course:
    """The order of training.

    Every epoch is a fresh permutation of units; steps cut the endless sequence of epochs into batches. A unit is a row,
    or a few rows that share much more than all rows do (the turns of one conversation, questions about one text) and so
    cost little beside each other. A unit's place in an epoch does not depend on what it is: every row stands once in an
    epoch, anywhere with the same chance, as in cluster sampling. Units are small against a batch, so a step still sees
    several of them. Replay rows follow one permutation, a few in every step. There is no random state to save: a step's
    batch is computed from the seed.
    """

    def __init__(self, rows: Sequence[EncodedRow], replay: Sequence[EncodedRow], recipe: Recipe) -> None:
        self._rows, self._replay, self._recipe = tuple(rows), tuple(replay), recipe
        self._unit = max(1, recipe.batch_size // 2)
        self._families = families(self._rows, self._unit)
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
        if packing == "padding-free":
            return _flat_parts([*batch, *replay], budget)
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
            rng = np.random.default_rng([self._recipe.seed, epoch])
            units = [unit for family in self._families for unit in self._units(family, rng)]
            order = rng.permutation(len(units))
            self._known = (epoch, [self._rows[i] for place in order for i in units[place]])
        return self._known[1]

    def _units(self, family: list[int], rng: np.random.Generator) -> list[list[int]]:
        """A family that is small enough is a unit; a larger one is dealt out anew in every epoch."""
        if len(family) <= self._unit:
            return [family]
        dealt = rng.permutation(family).tolist()
        return [dealt[i : i + self._unit] for i in range(0, len(dealt), self._unit)]


def families(rows: Sequence[EncodedRow], most: int) -> list[list[int]]:
    """Indices of rows that belong together, in the order of their first rows; most families are single rows.

    A row belongs to the one before it in sorted order where at least half of what it has beyond the beginning that all
    rows share is the same, and at least `FAMILY` tokens: less is not worth a step with rows that are alike.

    Args:
        rows: all training rows.
        most: rows that may stand together in a step; with 1 nobody has a family.
    """
    if most == 1 or len(rows) < 2:
        return [[i] for i in range(len(rows))]
    order = sorted(range(len(rows)), key=lambda i: (rows[i].ids, i))
    trunk = common_prefix(rows[order[0]].ids, rows[order[-1]].ids)
    found = [[order[0]]]
    for before, i in pairwise(order):
        own = len(rows[i].ids) - trunk
        alike = common_prefix(rows[before].ids, rows[i].ids) - trunk
        if alike >= FAMILY and 2 * alike >= own:
            found[-1].append(i)
        else:
            found.append([i])
    return sorted((sorted(family) for family in found), key=lambda family: family[0])


def _share(rows: Sequence[EncodedRow], rank: int, size: int) -> list[EncodedRow]:
    """Neighbours in sorted order, which share prefixes, cut where the tokens that they add make equal shares."""
    ordered = sorted(rows, key=lambda row: row.ids)
    before = [(), *(row.ids for row in ordered)]
    new = [len(row.ids) - common_prefix(b, row.ids) for b, row in zip(before, ordered, strict=False)]
    middles = np.cumsum(new) - np.asarray(new) / 2
    shares = np.minimum(middles * size // max(1, sum(new)), size - 1)
    return [row for row, share in zip(ordered, shares.tolist(), strict=True) if share == rank]


def _flat_parts(rows: Sequence[EncodedRow], budget: int) -> list[list[EncodedRow]]:
    """Rows in order, at most `budget` tokens together (a longer row stands alone)."""
    parts: list[list[EncodedRow]] = []
    room = 0
    for row in rows:
        length = len(row.ids) - 1
        if not parts or length > room:
            parts.append([])
            room = budget
        parts[-1].append(row)
        room -= length
    return parts


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
    if packing == "padding-free":
        return sum(len(row.ids) - 1 for row in rows)
    return len(rows) * (max(len(row.ids) for row in rows) - 1)
