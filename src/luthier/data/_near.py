"""Near duplicates among distinct texts: candidates by sketches, each verified on the texts themselves."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from luthier.data._sketch import Sketches, common_grams, grams_of
from luthier.data._wording import RARE, only_slips, told_apart
from luthier.data._words import Texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONG = 150  # 5-grams; above, a single number or negation is a small part of what a text says
SLIPPED = 400  # 5-grams; below, texts that differ by slips of the keyboard only are looked at word by word
SHORT = 45  # 5-grams; below, a single changed character moves the similarity by more than the threshold allows for
WRAPPED = 0.5  # when half of the texts share half of their 5-grams, that half is a wrapper and tells nothing apart
SAMPLE = 100  # texts that are looked at to find out
COUNTED = 2000  # texts that what they share is counted in
SLIPS = 0.5  # similarity of texts that may differ by slips of the keyboard only: each takes five 5-grams from both
LETTERS = 8  # that may be more or fewer in all, then
SLACK = 0.12  # 3.4 standard deviations of a similarity of 0.8 that is estimated from 128 permutations
KEPT = 4096  # texts whose 5-grams are kept at hand


def near_pairs(texts: Texts, times: Counter[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of near duplicates; enough of them to join all that are.

    Args:
        texts: distinct normalised texts.
        times: in how many of them each word stands.
        threshold: least Jaccard similarity of the character 5-grams.
    """
    return _Families(texts, times, threshold).pairs()


class _Families:
    def __init__(self, texts: Texts, times: Counter[str], threshold: float) -> None:
        self.texts, self.times, self.threshold = texts, times, threshold
        common, self.common_words = _wrapper(texts)
        self.sketches = Sketches(texts, common)
        self.letters = _letters(texts)
        self.grams = lru_cache(KEPT)(lambda i: grams_of(texts[i], common))
        self.said = lru_cache(KEPT)(texts.words)
        self.roots = list(range(len(texts)))

    def pairs(self) -> Iterator[tuple[int, int]]:
        for bucket in self.sketches.buckets():
            yield from self._pairs(bucket)

    def _root(self, i: int) -> int:
        while self.roots[i] != i:
            self.roots[i] = self.roots[self.roots[i]]
            i = self.roots[i]
        return i

    def _pairs(self, bucket: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """What is near in a bucket; families that are joined already are not compared again."""
        import numpy as np

        roots = np.array([self._root(int(i)) for i in bucket])
        for last, member in enumerate(bucket):
            i = int(member)
            for j in self._likely(i, bucket[:last][roots[:last] != roots[last]]):
                a, b = self._root(i), self._root(j)
                if a != b and self._near(i, j):
                    self.roots[max(a, b)] = min(a, b)
                    roots[(roots == a) | (roots == b)] = min(a, b)
                    yield j, i

    def _likely(self, i: int, others: NDArray[np.int64]) -> list[int]:
        """Those whose sketches say that they may be near: a hundred times cheaper than to compare the 5-grams."""
        import numpy as np

        if not len(others):
            return []
        estimates = self.sketches.similarity(i, others)
        near = estimates >= self.threshold - SLACK
        if self.sketches.sizes[i] < SLIPPED:
            differ = np.abs(self.letters[others].astype(np.int16) - self.letters[i]).sum(axis=1)
            near |= (estimates >= SLIPS - SLACK / 2) & (differ <= LETTERS)
        return [int(j) for j in others[near]]

    def _near(self, i: int, j: int) -> bool:
        a, b = self.grams(i), self.grams(j)
        size = min(len(a), len(b))
        bags = self._bag(i), self._bag(j)
        alike = _jaccard(a, b) >= self.threshold and (size >= SHORT or self._only_adds(*bags))
        if alike and (size >= LONG or not told_apart(*bags)):
            return True
        return size < SLIPPED and only_slips(self.said(i), self.said(j), self._is_word)

    def _bag(self, i: int) -> frozenset[str]:
        return frozenset(self.said(i)) - self.common_words

    def _is_word(self, word: str) -> bool:
        return self.times[word] > RARE

    def _only_adds(self, a: frozenset[str], b: frozenset[str]) -> bool:
        """Whether one text is the other with words added, few of them."""
        few = min(len(a), len(b)) >= self.threshold * max(len(a), len(b))
        return few and bool(a) and bool(b) and (a <= b or b <= a)


def _wrapper(texts: Texts) -> tuple[NDArray[np.uint32] | None, frozenset[str]]:
    """The 5-grams and words of what stands around most texts; nothing where they share little.

    A sample tells, which does not depend on the order of the texts.
    """
    if len(texts) < SAMPLE // 5:
        return None, frozenset()
    chosen = heapq.nsmallest(COUNTED, range(len(texts)), key=lambda i: _digest(texts[i]))
    grams = [grams_of(texts[i]) for i in chosen]
    alike = [_jaccard(a, b) >= WRAPPED for a, b in itertools.combinations(grams[:SAMPLE], 2)]
    if sum(alike) <= WRAPPED**2 * len(alike):
        return None, frozenset()
    counts = Counter(word for i in chosen for word in set(texts.words(i)))
    return common_grams(grams, WRAPPED), frozenset(w for w, n in counts.items() if n > WRAPPED * len(chosen))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _letters(texts: Texts) -> NDArray[np.uint8]:
    """How often each letter stands in a text, [texts, 32]; letters of other alphabets share columns."""
    import numpy as np

    counts = np.zeros((len(texts), 32), np.uint8)
    for i in range(len(texts)):
        codes = np.frombuffer(texts[i].replace(" ", "").encode("utf-32-le", "surrogatepass"), "<u4") % 32
        counts[i] = np.minimum(np.bincount(codes, minlength=32), 255)
    return counts


def _jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    import numpy as np

    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)
