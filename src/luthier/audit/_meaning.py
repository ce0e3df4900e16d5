"""Findings on rows that say the same in other words, by the vectors of their inputs; suggestions to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from luthier.audit._finding import Dataset, Finding, Sample, finding, sample
from luthier.data import Example, normalise, words

if TYPE_CHECKING:
    from luthier.audit._deep import Instruments

LEAST_COSINE, SURE_COSINE = 0.90, 0.97
ABOVE = 1.0  # robust standard deviations above the usual cosine of nearest neighbours in this set
BLOCK = 1024  # rows of a block of cosines: 4 MB for each thousand texts
SHOWN = 5

_TELLING = frozenset("not no never without when where who whose".split())

Vectors = NDArray[np.float32]
Pair = tuple[int, int, float]


def check_meaning(data: Dataset, instruments: Instruments) -> Iterable[Finding]:
    """Inputs that mean the same in other words, and test cases that a row of train means too."""
    families = dict(zip(reversed(data.families), reversed(data.everything), strict=True))
    rows = list(families.values())[::-1]  # one of each family: near duplicates are found without a model
    if len(rows) < 2:
        return
    vectors = instruments.vectors([row.input_text for row in rows])
    cosines, nearest = nearest_neighbours(vectors)
    threshold = alike_from(cosines)
    near = [(i, int(j), float(c)) for i, (j, c) in enumerate(zip(nearest, cosines, strict=True)) if c >= threshold]
    pairs = [(i, j, c) for i, j, c in near if _asks(rows[i]) == _asks(rows[j])]
    yield from _same_meaning(rows, pairs, threshold)
    yield from _across(data, rows, pairs)


def _same_meaning(rows: Sequence[Example], pairs: Sequence[Pair], threshold: float) -> Iterator[Finding]:
    members = sorted({i for i, _, _ in pairs} | {j for _, j, _ in pairs})
    if members:
        reason = (
            f"{len(members):,} of {len(rows):,} inputs have another that probably means the same in other words"
            f" (cosine of at least {threshold:.2f}, which stands out from the neighbours in this set)"
        )
        fix = "look at them: keep those that differ in something that matters, or one of each"
        yield finding(
            "semantic-duplicate", "note", [rows[i] for i in members], reason, fix, samples=_samples(rows, pairs)
        )


def _across(data: Dataset, rows: Sequence[Example], pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Pairs with a test case on one side and a row of train or development on the other."""
    if data.split is None:
        return
    tested = {e.id for e in data.split.test}
    used = {e.id for e in (*data.split.train, *data.split.development)}
    mixed = [(i, j, c) for i, j, c in pairs if rows[i].id in tested and rows[j].id in used]
    mixed += [(j, i, c) for i, j, c in pairs if rows[j].id in tested and rows[i].id in used]
    cases = sorted({i for i, _, _ in mixed})
    if cases:
        reason = f"{len(cases):,} of {len(tested):,} test cases probably mean the same as a row that trains or develops"
        fix = "look at them; where it is so, give such rows one value of a key and name it in split.group"
        shown = _samples(rows, mixed)
        yield finding("semantic-leakage", "note", [rows[i] for i in cases], reason, fix, samples=shown)


def _asks(row: Example) -> frozenset[str]:
    """What vectors hardly tell apart: numbers, denial, and what is asked for (when, where, who)."""
    return frozenset(
        word for word in words(normalise(row.input_text)) if word in _TELLING or any(c.isdigit() for c in word)
    )


def _samples(rows: Sequence[Example], pairs: Sequence[Pair]) -> list[Sample]:
    best = sorted({(-round(c, 3), min(i, j), max(i, j)) for i, j, c in pairs})[:SHOWN]
    return [
        sample(rows[i], f"{rows[i].input_text} ↔ {rows[j].input_text}", f"cosine {-less:.2f} with {rows[j].source}")
        for less, i, j in best
    ]


def alike_from(cosines: NDArray[np.float32]) -> float:
    """The cosine from which nearest neighbours probably mean the same, in [0.90, 0.97].

    Short texts of one field lie near each other anyway: it is one robust standard deviation (median absolute deviation)
    above the median of the cosines of nearest neighbours in the set.
    """
    middle = float(np.median(cosines))
    spread = 1.4826 * float(np.median(np.abs(cosines - middle)))
    return min(max(middle + ABOVE * spread, LEAST_COSINE), SURE_COSINE)


def nearest_neighbours(vectors: Vectors) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosine and place of the nearest other vector of each; exact, a block of rows at a time."""
    cosines = np.empty(len(vectors), np.float32)
    nearest = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK] @ vectors.T
        at = np.arange(len(block))
        block[at, start + at] = -2
        nearest[start : start + BLOCK] = block.argmax(axis=1)
        cosines[start : start + BLOCK] = block[at, nearest[start : start + BLOCK]]
    return cosines, nearest
