"""Which texts say the same: exact after normalising, near by the Jaccard similarity of their character 5-grams."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from luthier.data._wording import RARE, in_any_order, only_slips, same_wordings, told_apart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAM = 5
PERMUTATIONS = 128
BANDS = (25, 5)  # 25 bands of 5 rows find a pair of similarity 0.8 with probability 0.99995; the rest is verified away
LONG = 150  # 5-grams; above, a single number or negation is a small part of what a text says
SHORT = 45  # 5-grams; below, a single changed character moves the similarity by more than the threshold allows for
WRAPPED = 0.5  # when half of the texts share half of their 5-grams, that half is a wrapper and tells nothing apart
SAMPLE = 100  # texts that are looked at to find out
SLIPS = (
    0.5  # similarity of short texts that may differ by slips of the keyboard only: each takes five 5-grams from both
)
LETTERS = 8  # that may be more or fewer in all, then
SLACK = 0.12  # 3.4 standard deviations of a similarity of 0.8 that is estimated from 128 permutations

_SPACE = re.compile(r"\s+")
# A language named C++ is not C, and 1 + 1 is not 1 - 1: some signs are part of what is said.
_DENIED = re.compile(
    r"\b(do|does|did|is|was|are|were|have|has|had|could|would|should|must|need|ai|wo|ca|can)n?(?:(?<=n)['\u2019]?t|not)\b"
)
_WORD = re.compile(r"[a-z0-9]+(?:[+#]+(?![a-z0-9]))?|(?<=\d)\s*[-+*/^=<>%]\s*(?=\d)")


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
    """Words of a normalised text: runs of letters, marks and digits, and the signs that tell texts apart.

    A negation written together is two words (`isn't`, `isnt`, `is not`).
    """
    text = _DENIED.sub(r"\1 not", text)
    if text.isascii():
        return [word.strip() for word in _WORD.findall(text)]
    plain = "".join(_said(c) for c in text)
    return [word.strip() for part in plain.split() for word in (_WORD.findall(part) if part.isascii() else (part,))]


def _said(c: str) -> str:
    kind = unicodedata.category(c)
    return c if kind[0] in "LMN" or c in "+#-*/^=<>%" else f" {c} " if kind == "So" else " "


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.8) -> list[int]:
    """Number of the component of each text; a component is named by the index of its first text.

    Two texts are joined when they are equal after normalising or hold the same words, or when their sets of character
    5-grams have Jaccard similarity >= `threshold` (candidates by MinHash and banding, Broder 1997; verified). Short
    texts also have to differ only by added words, so that `play X` and `play Y` stay apart. Where most texts share
    most of their 5-grams (an instruction around every input), what stands in more than half of them is left out.
    """
    normal = [normalise(text) for text in texts]
    components = Components(len(texts))
    components.join_equal(normal)
    said = [words(text) for text in normal]
    components.join_equal(in_any_order(some) or None for some in said)
    unique = sorted({components.find(i) for i in range(len(texts))})
    for a, b in same_wordings([said[i] for i in unique]):
        components.join(unique[a], unique[b])
    families = _Families([normal[i] for i in unique], [said[i] for i in unique], threshold)
    for i, number in zip(unique, families.numbers(), strict=True):
        components.join(i, unique[number])
    return [components.find(i) for i in range(len(texts))]


class _Families:
    """Near duplicates among distinct normalised texts."""

    def __init__(self, texts: Sequence[str], said: Sequence[list[str]], threshold: float) -> None:
        self.threshold = threshold
        self.grams = [_grams(text) for text in texts]
        self.said = said
        self.bags = [frozenset(some) for some in said]
        self.times = Counter(word for bag in self.bags for word in bag)
        self.letters = _letters(texts)
        if _wrapped(self.grams):
            self.grams = _without_common_grams(self.grams)
            self.bags = _without_common_words(self.bags)
        self.signatures = _signatures(self.grams)
        self.components = Components(len(texts))

    def numbers(self) -> list[int]:
        for bucket in self._buckets():
            self._join(bucket)
        return [self.components.find(i) for i in range(len(self.grams))]

    def _buckets(self) -> Iterator[list[int]]:
        """Texts that agree in a band of their signatures."""
        some = [i for i, grams in enumerate(self.grams) if len(grams)]
        bands, rows = BANDS
        for band in range(bands):
            part = self.signatures[:, band * rows : (band + 1) * rows]
            buckets: dict[bytes, list[int]] = {}
            for i in some:
                buckets.setdefault(part[i].tobytes(), []).append(i)
            yield from (bucket for bucket in buckets.values() if len(bucket) > 1)

    def _join(self, bucket: Sequence[int]) -> None:
        """Join what is near in a bucket; families that are joined already are not compared again."""
        import numpy as np

        members = np.array(bucket)
        roots = np.array([self.components.find(i) for i in bucket])
        for last, i in enumerate(bucket):
            others = members[:last][roots[:last] != roots[last]]
            for j in self._likely(i, others):
                a, b = self.components.find(i), self.components.find(j)
                if a != b and self._near(i, j):
                    self.components.join(a, b)
                    roots[(roots == a) | (roots == b)] = min(a, b)

    def _likely(self, i: int, others: NDArray[np.int64]) -> list[int]:
        """Those whose signatures say that they may be near: a hundred times cheaper than to compare the 5-grams."""
        import numpy as np

        if not len(others):
            return []
        estimates = (self.signatures[others] == self.signatures[i]).mean(axis=1)
        near = estimates >= self.threshold - SLACK
        if len(self.grams[i]) < LONG:
            differ = np.abs(self.letters[others].astype(np.int16) - self.letters[i]).sum(axis=1)
            near |= (estimates >= SLIPS - SLACK / 2) & (differ <= LETTERS)
        return [int(j) for j in others[near]]

    def _near(self, i: int, j: int) -> bool:
        a, b = self.grams[i], self.grams[j]
        size = min(len(a), len(b))
        if size < LONG and told_apart(self.bags[i], self.bags[j]):
            return False
        if _jaccard(a, b) >= self.threshold and (size >= SHORT or self._only_adds(self.bags[i], self.bags[j])):
            return True
        return size < LONG and only_slips(self.said[i], self.said[j], self._is_word)

    def _is_word(self, word: str) -> bool:
        return self.times[word] > RARE

    def _only_adds(self, a: frozenset[str], b: frozenset[str]) -> bool:
        """Whether one text is the other with words added, few of them."""
        few = min(len(a), len(b)) >= self.threshold * max(len(a), len(b))
        return few and bool(a) and bool(b) and (a <= b or b <= a)


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


def _letters(texts: Sequence[str]) -> NDArray[np.uint8]:
    """How often each letter stands in a text, [texts, 32]; letters of other alphabets share columns."""
    import numpy as np

    counts = np.zeros((len(texts), 32), dtype=np.uint8)
    for row, text in zip(counts, texts, strict=True):
        codes = np.frombuffer(text.replace(" ", "").encode("utf-32-le"), dtype="<u4") % 32
        row[:] = np.minimum(np.bincount(codes, minlength=32), 255)
    return counts


def _wrapped(grams: Sequence[NDArray[np.uint32]]) -> bool:
    """Whether in a sample, which does not depend on the order, most texts share most of what they say."""
    if len(grams) < SAMPLE // 5:
        return False
    sample = heapq.nsmallest(SAMPLE, grams, key=lambda g: hashlib.sha256(g.tobytes()).digest())
    alike = [_jaccard(a, b) >= WRAPPED for a, b in itertools.combinations(sample, 2)]
    return sum(alike) > WRAPPED**2 * len(alike)


def _without_common_grams(grams: Sequence[NDArray[np.uint32]]) -> list[NDArray[np.uint32]]:
    import numpy as np

    values, counts = np.unique(np.concatenate(grams), return_counts=True)
    common = values[counts > WRAPPED * len(grams)]
    return [g[~np.isin(g, common, assume_unique=True)] for g in grams]


def _without_common_words(bags: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    counts = Counter(word for bag in bags for word in bag)
    common = {word for word, count in counts.items() if count > WRAPPED * len(bags)}
    return [bag - common for bag in bags]


def _signatures(grams: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    import numpy as np
    from datasketch import MinHash

    hashes = MinHash.bulk(grams, num_perm=PERMUTATIONS, hashfunc=int)
    return np.stack([h.hashvalues for h in hashes]) if hashes else np.zeros((0, PERMUTATIONS), dtype=np.uint32)


def _jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    import numpy as np

    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)
