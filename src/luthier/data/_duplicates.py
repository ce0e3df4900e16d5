"""Which texts say the same: exact after normalising, near by the Jaccard similarity of their character 5-grams."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAM = 5
PERMUTATIONS = 128
BANDS = (25, 5)  # 25 bands of 5 rows find a pair of similarity 0.8 with probability 0.99995; the rest is verified away
SHORT = 45  # 5-grams; below, a single changed character moves the similarity by more than the threshold allows for
COMMON = 0.5  # what stands in more than this share of the texts is their shared wrapper and tells nothing apart
COMMON_FROM = 20  # texts, from which on a wrapper can be told from coincidence

_SPACE = re.compile(r"\s+")


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

    def join_equal(self, keys: Iterable[object]) -> None:
        """Join all numbers whose keys are equal; None is equal to nothing."""
        first: dict[object, int] = {}
        for i, key in enumerate(keys):
            if key is not None:
                self.join(first.setdefault(key, i), i)


def normalise(text: str) -> str:
    """Compatibility characters, case and white space made one: what "the same text" means."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def words(text: str) -> list[str]:
    """Words of a normalised text: runs of letters, marks and digits."""
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).split()


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.8) -> list[int]:
    """Number of the component of each text; a component is named by the index of its first text.

    Two texts are joined when they are equal after normalising or hold the same words, or when their sets of character
    5-grams have Jaccard similarity >= `threshold` (candidates by MinHash and banding, Broder 1997; verified). Short
    texts also have to differ only by added words, so that `play X` and `play Y` stay apart. 5-grams and words that
    stand in more than half of the texts (an instruction around every input) are left out of the comparison.
    """
    normal = [normalise(text) for text in texts]
    components = Components(len(texts))
    components.join_equal(normal)
    components.join_equal(" ".join(sorted(words(text))) or None for text in normal)
    unique = sorted({components.find(i) for i in range(len(texts))})
    for a, b in _near_pairs([normal[i] for i in unique], threshold):
        components.join(unique[a], unique[b])
    return [components.find(i) for i in range(len(texts))]


def _near_pairs(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of distinct normalised texts that are near duplicates; enough of them to span every component."""
    grams = _without_common([_grams(text) for text in texts])
    bags = [set(words(text)) for text in texts]
    common = _common_words(bags)
    joined = Components(len(texts))
    for a, b in _candidates(grams):
        if joined.find(a) == joined.find(b) or _jaccard(grams[a], grams[b]) < threshold:
            continue
        short = min(len(grams[a]), len(grams[b])) < SHORT
        if short and not _only_adds(bags[a] - common, bags[b] - common, threshold):
            continue
        joined.join(a, b)
        yield a, b


def _grams(text: str) -> NDArray[np.uint32]:
    """Sorted distinct 32-bit hashes of the character 5-grams (one hash of the whole text when it is shorter)."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    if len(codes) < GRAM:
        codes = np.concatenate([codes, np.zeros(GRAM - len(codes), dtype=np.uint64)])
    windows = np.lib.stride_tricks.sliding_window_view(codes, GRAM)
    mixed = np.zeros(len(windows), dtype=np.uint64)
    for column in range(GRAM):  # FNV-1a over code points; wraps around modulo 2**64
        mixed = (mixed ^ windows[:, column]) * np.uint64(0x100000001B3)
    return np.unique((mixed ^ (mixed >> np.uint64(29))).astype(np.uint32))


def _without_common(grams: list[NDArray[np.uint32]]) -> list[NDArray[np.uint32]]:
    import numpy as np

    if len(grams) < COMMON_FROM:
        return grams
    values, counts = np.unique(np.concatenate(grams), return_counts=True)
    common = values[counts > COMMON * len(grams)]
    return [g[~np.isin(g, common, assume_unique=True)] for g in grams] if len(common) else grams


def _common_words(bags: Sequence[set[str]]) -> set[str]:
    if len(bags) < COMMON_FROM:
        return set()
    counts: dict[str, int] = {}
    for bag in bags:
        for word in bag:
            counts[word] = counts.get(word, 0) + 1
    return {word for word, count in counts.items() if count > COMMON * len(bags)}


def _candidates(grams: Sequence[NDArray[np.uint32]]) -> Iterator[tuple[int, int]]:
    """Pairs that agree in at least one band of their MinHash signatures."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
    some = [i for i, g in enumerate(grams) if len(g)]
    signatures = MinHash.bulk((grams[i] for i in some), num_perm=PERMUTATIONS, hashfunc=int)
    for i, signature in zip(some, signatures, strict=True):
        for j in sorted(index.query(signature)):
            yield int(j), i
        index.insert(i, signature, check_duplication=False)


def _jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    import numpy as np

    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def _only_adds(a: set[str], b: set[str], threshold: float) -> bool:
    """Whether one text is the other with words added, few of them."""
    return bool(a) and bool(b) and (a <= b or b <= a) and min(len(a), len(b)) >= threshold * max(len(a), len(b))
