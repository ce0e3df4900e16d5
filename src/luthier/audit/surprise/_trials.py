"""What the base is asked of each row: behind which demonstrations, and against which other answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.data import Example, normalise

SAMPLE = 200  # rows
SHOWN = 3  # demonstrations
OTHERS = 6  # answers of rows that are as long, each row's answer being tried about as often
NEAREST = 3  # answers of rows with inputs like this one

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """A row, the demonstrations before it (the nearest last), and the rows whose answers are tried in its place.

    `others` are places among the rows that are looked at together.
    """

    row: Example
    shown: tuple[Example, ...]
    others: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a task with the families of their near duplicates, and the vectors of their inputs, [rows, d]."""

    examples: Sequence[Example]
    families: Sequence[int]
    vectors: Vectors

    def sample(self, seed: int) -> list[int]:
        """Places of the rows to look at, seeded, of each family and answer one; ascending."""
        order = sorted(range(len(self.examples)), key=lambda i: self.examples[i].id)
        random.Random(f"surprise {seed}").shuffle(order)
        met: set[object] = set()
        chosen: list[int] = []
        for i in order:
            own = {self.families[i], normalise(self.examples[i].output)}
            if self.examples[i].output.strip() and not own & met:
                met |= own
                chosen.append(i)
        return sorted(chosen[:SAMPLE])

    def trials(self, chosen: Sequence[int]) -> list[Trial]:
        """One trial for each chosen row.

        The answers of rows that are as long are dealt in a circle by length, so that each is tried under as many
        prompts: how likely an answer is anyway can then be told from how likely it is here. No answer that a
        demonstration shows is tried, as it would be copied.
        """
        lengths = [len(self.examples[i].output) for i in chosen]
        circle = sorted(range(len(chosen)), key=lambda place: (lengths[place], place))
        stands = {place: position for position, place in enumerate(circle)}
        return [self._trial(chosen, place, circle, stands[place]) for place in range(len(chosen))]

    def _trial(self, chosen: Sequence[int], place: int, circle: Sequence[int], position: int) -> Trial:
        row = chosen[place]
        cosines = self.vectors @ self.vectors[row]
        shown = self._nearest(row, cosines)
        taken = {normalise(self.examples[i].output) for i in (row, *shown)}
        alike = (circle[(position + step) % len(circle)] for step in _outwards(len(circle)))
        near = sorted(range(len(chosen)), key=lambda other: -float(cosines[chosen[other]]))
        others: list[int] = []
        for candidates, most in ((alike, OTHERS), (iter(near), OTHERS + NEAREST)):
            for other in candidates:
                if len(others) == most:
                    break
                i = chosen[other]
                text = normalise(self.examples[i].output)
                if self.families[i] != self.families[row] and text not in taken:
                    taken.add(text)
                    others.append(other)
        return Trial(self.examples[row], tuple(self.examples[i] for i in reversed(shown)), tuple(others))

    def _nearest(self, row: int, cosines: Vectors) -> list[int]:
        """The rows with the nearest inputs, one of a family, none of the row's own."""
        met = {self.families[row]}
        found: list[int] = []
        for i in np.argsort(-cosines, kind="stable").tolist():
            if len(found) == SHOWN:
                break
            if self.families[i] not in met and self.examples[i].output.strip():
                met.add(self.families[i])
                found.append(i)
        return found


def _outwards(count: int) -> Iterator[int]:
    """1, -1, 2, -2, … around a circle of so many places."""
    for step in range(1, (count - 1) // 2 + 1):
        yield step
        yield -step
