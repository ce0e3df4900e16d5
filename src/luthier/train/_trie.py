"""A batch as a prefix tree: every distinct prefix of its token sequences is laid down once.

The tree is packed into one sequence in depth-first order, so that every unbranched piece of it is contiguous. A token
knows its depth (its position in each row that runs through it). What is to be predicted after a token can differ by
row, so labels are triples (node, target, weight) and not one label per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.models import Integers, divide, lay_down, tree_size
from luthier.train._rows import EncodedRow


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
    `nodes[i]` in `weights[i]` rows. After the packed tokens `held`, held rows have their labels: row by row, in order.
    """

    ids: Integers
    positions: Integers
    segments: tuple[Segment, ...]
    nodes: Integers
    targets: Integers
    weights: Integers
    held: Integers
    row_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens that are run."""
        return len(self.ids)

    @property
    def labels(self) -> int:
        """Label tokens of all rows."""
        return int(self.weights.sum())

    def filled(self, multiple: int) -> Packed:
        """The same with a tree of its own at the end that nothing is learned of, to make a `multiple` of tokens."""
        missing = -len(self.ids) % multiple
        if not missing:
            return self
        ids = np.concatenate([self.ids, np.zeros(missing, dtype=self.ids.dtype)])
        positions = np.concatenate([self.positions, np.arange(missing, dtype=self.positions.dtype)])
        segments = (*self.segments, Segment(-1, len(self.ids), missing, 0))
        return replace(self, ids=ids, positions=positions, segments=segments)


def pack(rows: Sequence[EncodedRow]) -> Packed:
    """Build the tree of rows.

    The last token of a row is only a label: nothing is predicted from it, so it is not run.
    """
    trie = lay_down([row.ids[:-1] for row in rows])
    labels = [np.empty((2, 0), dtype=np.int64)]
    held = [np.empty(0, dtype=np.int64)]
    for row, path in zip(rows, trie.paths, strict=True):
        if row.held:
            held.append(path[row.start - 1 :])
        else:
            labels.append(np.stack([path[row.start - 1 :], np.asarray(row.ids[row.start :], dtype=np.int64)]))
    (nodes, targets), weights = np.unique(np.concatenate(labels, axis=1), axis=1, return_counts=True)
    return Packed(
        ids=trie.ids,
        positions=trie.depths,
        segments=_segments(trie.parents.tolist(), trie.depths.tolist()),
        nodes=nodes,
        targets=targets,
        weights=weights.astype(np.int64),
        held=np.concatenate(held),
        row_tokens=sum(len(row.ids) - 1 for row in rows),
    )


def micro_batches(rows: Sequence[EncodedRow], budget: int) -> list[list[EncodedRow]]:
    """Divide the rows of one optimizer step into trees of at most `budget` tokens (a longer row stands alone)."""
    return [[rows[i] for i in part] for part in divide([row.ids[:-1] for row in rows], budget)]


def tree_tokens(rows: Sequence[EncodedRow]) -> int:
    """Distinct tokens of the tree of rows, without building it."""
    return tree_size([row.ids[:-1] for row in rows])


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
