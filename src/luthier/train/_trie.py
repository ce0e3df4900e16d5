"""A batch as a prefix tree: every distinct prefix of its token sequences is laid down once.

The tree is packed into one sequence in depth-first order, so that every unbranched piece of it is contiguous. A token
knows its depth (its position in each row that runs through it). What is to be predicted after a token can differ by
row, so labels are triples (node, target, weight) and not one label per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.train._rows import EncodedRow

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """An unbranched piece of the tree: packed tokens `start` to `start + length`, the first of them at `depth`.

    `parent` is the index of the segment that it continues, -1 at a root. Parents stand before their children.
    """

    parent: int
    start: int
    length: int
    depth: int


@dataclass(frozen=True)
class Packed:
    """A micro-batch as a tree, for `tokens` distinct of `row_tokens` tokens.

    `ids` and `positions` have one entry per distinct token. The i-th label says that `targets[i]` follows packed token
    `nodes[i]` in `weights[i]` rows.
    """

    ids: Integers
    positions: Integers
    segments: tuple[Segment, ...]
    nodes: Integers
    targets: Integers
    weights: Integers
    row_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens that are run."""
        return len(self.ids)

    @property
    def labels(self) -> int:
        """Label tokens of all rows."""
        return int(self.weights.sum())


def pack(rows: Sequence[EncodedRow]) -> Packed:
    """Build the tree of rows.

    The last token of a row is only a label: nothing is predicted from it, so it is not run.
    """
    ids: list[int] = []
    positions: list[int] = []
    follows: list[int] = []  # packed index of the token before, -1 at a root
    labels: list[Integers] = []
    before: tuple[int, ...] = ()
    path = np.empty(0, dtype=np.int64)  # packed index of each token of the row before
    for row in sorted(rows, key=lambda r: r.ids):
        run = row.ids[:-1]
        shared = common_prefix(before, run)
        new = np.arange(len(ids), len(ids) + len(run) - shared, dtype=np.int64)
        path = np.concatenate([path[:shared], new])
        follows += [int(path[shared - 1]) if shared else -1, *new[:-1].tolist()] if len(new) else []
        ids += run[shared:]
        positions += range(shared, len(run))
        labels.append(np.stack([path[row.start - 1 :], np.asarray(row.ids[row.start :], dtype=np.int64)]))
        before = run
    (nodes, targets), weights = np.unique(np.concatenate(labels, axis=1), axis=1, return_counts=True)
    return Packed(
        ids=np.asarray(ids, dtype=np.int64),
        positions=np.asarray(positions, dtype=np.int64),
        segments=_segments(follows, positions),
        nodes=nodes,
        targets=targets,
        weights=weights.astype(np.int64),
        row_tokens=sum(len(row.ids) - 1 for row in rows),
    )


def micro_batches(rows: Sequence[EncodedRow], budget: int) -> list[list[EncodedRow]]:
    """Divide the rows of one optimizer step into trees of at most `budget` tokens (a longer row stands alone).

    Neighbours in sorted order share the longest prefixes, so few prefixes are divided between trees.
    """
    divided: list[list[EncodedRow]] = []
    room = 0
    before: tuple[int, ...] = ()
    for row in sorted(rows, key=lambda r: r.ids):
        run = row.ids[:-1]
        new = len(run) - (common_prefix(before, run) if divided else 0)
        if not divided or new > room:
            divided.append([])
            new, room = len(run), budget
        divided[-1].append(row)
        room -= new
        before = run
    return divided


def tree_tokens(rows: Sequence[EncodedRow]) -> int:
    """Distinct tokens of the tree of rows, without building it."""
    runs = sorted(row.ids[:-1] for row in rows)
    return sum(len(run) - common_prefix(before, run) for before, run in zip([(), *runs], runs, strict=False))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens that two sequences begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # slices are compared in C: fewer steps in Python than token by token
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _segments(follows: list[int], positions: list[int]) -> tuple[Segment, ...]:
    """Cut the packed tokens wherever one does not follow the one before it, and after each that several follow."""
    branches = {follows[i] for i in range(1, len(follows)) if follows[i] != i - 1}
    starts = [i for i in range(len(follows)) if i == 0 or follows[i] != i - 1 or i - 1 in branches]
    segments: list[Segment] = []
    ends_at: dict[int, int] = {}  # packed index of a segment's last token -> the segment
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(follows)], strict=True)):
        parent = ends_at[follows[start]] if follows[start] >= 0 else -1
        segments.append(Segment(parent, start, end - start, positions[start]))
        ends_at[end - 1] = number
    return tuple(segments)
