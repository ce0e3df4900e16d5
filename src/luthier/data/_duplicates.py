"""Which texts say the same: exact after normalising, near by the Jaccard similarity of their character 5-grams."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from luthier.data._near import near_pairs
from luthier.data._wording import in_any_order, same_wordings, unspaced, word_counts
from luthier.data._words import Texts, normalise, words


class Components:
    """Disjoint sets of the numbers 0..n-1 (union-find with path halving)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, i: int) -> int:
        """The smallest number of the set that holds `i`."""
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make the sets of `i` and `j` one."""
        a, b = self.find(i), self.find(j)
        self._parent[max(a, b)] = min(a, b)

    def join_hashes(self, hashes: Iterable[int]) -> None:
        """Join all numbers whose 64-bit hashes are equal, without holding what was hashed."""
        import numpy as np

        values = np.fromiter(hashes, np.int64, len(self._parent))
        order = np.argsort(values, kind="stable")
        same = np.flatnonzero(values[order][1:] == values[order][:-1])
        for place in same:
            self.join(int(order[place]), int(order[place + 1]))

    def join_equal(self, keys: Iterable[object]) -> None:
        """Join all numbers whose keys are equal; None is equal to nothing."""
        first: dict[object, int] = {}
        for i, key in enumerate(keys):
            if key is not None:
                self.join(first.setdefault(key, i), i)


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.8) -> list[int]:
    """Number of the component of each text; a component is named by the index of its first text.

    Two texts are joined when they are equal after normalising, when they hold the same words or differ by where spaces
    stand, or when their sets of character 5-grams have Jaccard similarity >= `threshold` (candidates by MinHash and
    banding, Broder 1997; verified). Short texts also have to differ only by added words, so that `play X` and `play Y`
    stay apart. Where most texts share most of their 5-grams (an instruction around every input), what stands in more
    than half of them is left out.
    """
    components = Components(len(texts))
    components.join_hashes(hash(normalise(text)) for text in texts)
    ordered, spaced = array("q"), array("q")
    for i, text in enumerate(texts):
        said = words(normalise(text))
        ordered.append(hash(in_any_order(said) or i))
        spaced.append(hash(unspaced(said) or i))
    components.join_hashes(ordered)
    components.join_hashes(spaced)
    unique = sorted({components.find(i) for i in range(len(texts))})
    distinct = Texts([texts[i] for i in unique])
    times = word_counts(len(distinct), distinct.words)
    for a, b in same_wordings(len(distinct), distinct.words, times):
        components.join(unique[a], unique[b])
    for a, b in near_pairs(distinct, times, threshold):
        components.join(unique[a], unique[b])
    return [components.find(i) for i in range(len(texts))]
