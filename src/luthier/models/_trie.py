"""Token sequences as a prefix tree: every distinct prefix stands in it once.

The nodes are laid down in the sorted order of the sequences, so that every unbranched piece is contiguous and parents
stand before their children. Scoring runs such a tree in one pass, and training does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Trie:
    """`ids`, `depths` and `parents` have one entry a node; a root's parent is -1.

    `paths[i]` are the nodes of the i-th sequence, from the root down, [tokens of the sequence].
    """

    ids: Integers
    depths: Integers
    parents: Integers
    paths: tuple[Integers, ...]

    def ancestors(self) -> NDArray[np.bool_]:
        """Which nodes (columns) lie on the path to each node (rows), itself included, [nodes, nodes]."""
        found = np.eye(len(self.ids), dtype=np.bool_)
        for node, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                found[node] |= found[parent]
        return found


def lay_down(sequences: Sequence[tuple[int, ...]]) -> Trie:
    """Build the tree of sequences; empty ones have empty paths."""
    ids: list[int] = []
    depths: list[int] = []
    parents: list[int] = []
    paths: list[Integers] = [np.empty(0, dtype=np.int64)] * len(sequences)
    before: tuple[int, ...] = ()
    path = paths[0] if paths else np.empty(0, dtype=np.int64)
    for i in sorted(range(len(sequences)), key=lambda i: sequences[i]):
        sequence = sequences[i]
        shared = common_prefix(before, sequence)
        new = np.arange(len(ids), len(ids) + len(sequence) - shared, dtype=np.int64)
        path = np.concatenate([path[:shared], new])
        parents += [int(path[shared - 1]) if shared else -1, *new[:-1].tolist()] if len(new) else []
        ids += sequence[shared:]
        depths += range(shared, len(sequence))
        paths[i], before = path, sequence
    first, second, third = (np.asarray(part, dtype=np.int64) for part in (ids, depths, parents))
    return Trie(first, second, third, tuple(paths))


def divide(sequences: Sequence[tuple[int, ...]], budget: int) -> list[list[int]]:
    """Indices of the sequences, divided into trees of at most `budget` nodes (a longer sequence stands alone).

    Neighbours in sorted order share the longest prefixes, so few prefixes are divided between trees.
    """
    divided: list[list[int]] = []
    room = 0
    before: tuple[int, ...] = ()
    for i in sorted(range(len(sequences)), key=lambda i: sequences[i]):
        sequence = sequences[i]
        new = len(sequence) - (common_prefix(before, sequence) if divided else 0)
        if not divided or new > room:
            divided.append([])
            new, room = len(sequence), budget
        divided[-1].append(i)
        room -= new
        before = sequence
    return divided


def tree_size(sequences: Sequence[tuple[int, ...]]) -> int:
    """Number of nodes of the tree of sequences, without building it."""
    ordered = sorted(sequences)
    return sum(len(own) - common_prefix(before, own) for before, own in zip([(), *ordered], ordered, strict=False))


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
