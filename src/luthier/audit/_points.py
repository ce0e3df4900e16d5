"""What a learning curve is measured on: nested subsets of the training rows, drawn several times."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
REPEATS = 3
LEAST = 4  # rows of the smallest subset


@dataclass(frozen=True)
class Subset:
    """Some of the training rows: the `size` first of one random order, so that those of one `repeat` are nested."""

    size: int
    repeat: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """The scores in [0, 1] of every development case, in one order, with so many training rows."""

    size: int
    repeat: int
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean score."""
        return sum(self.scores) / len(self.scores)


def nested_subsets(rows: int, *, seed: int, repeat_all: bool, repeats: int = REPEATS) -> list[Subset]:
    """Subsets of an eighth of the rows, a quarter, half, three quarters and all of them.

    Args:
        rows: how many there are.
        seed: of the random orders.
        repeat_all: repeat the whole set too: it gives another score each time only where training is random.
        repeats: random orders.
    """
    sizes = sorted({round(rows * share) for share in SHARES if rows * share >= LEAST or share == 1})
    found = []
    for repeat in range(repeats):
        order = random.Random(f"learning curve {seed} {repeat}").sample(range(rows), rows)
        wanted = sizes if repeat_all or repeat == 0 else sizes[:-1]
        found += [Subset(size, repeat, tuple(sorted(order[:size]))) for size in wanted]
    return sorted(found, key=lambda subset: (subset.size, subset.repeat))


def sizes_of(points: Sequence[Point]) -> list[int]:
    """The sizes that were measured, ascending."""
    return sorted({point.size for point in points})
