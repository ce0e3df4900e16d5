"""MinHash sketches of many texts in little memory: 228 bytes each, whatever their length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Grams = NDArray[np.uint32]

GRAM = 5  # characters
PERMUTATIONS = 128
BANDS = (25, 5)  # 25 bands of 5 rows find a pair of similarity 0.8 with probability 0.99995; the rest is verified away
CHUNK = 512  # texts that are sketched at once


class Sketches:
    """What is kept of each text: the key of each band, and the lowest 8 bits of each of the 128 minima.

    Bands find candidates (Broder 1997); the lowest bits estimate the similarity of two of them (b-bit minwise hashing,
    Li and König 2010). A text without a single gram has no candidates.

    Args:
        texts: normalised texts.
        common: grams that are left out, sorted: they stand in most texts and tell nothing apart.
    """

    def __init__(self, texts: Sequence[str], common: Grams | None = None) -> None:
        import numpy as np

        self.bits = np.zeros((len(texts), PERMUTATIONS), np.uint8)
        self.keys = np.zeros((len(texts), BANDS[0]), np.uint32)
        self.sizes = np.zeros(len(texts), np.int32)  # distinct grams
        for start in range(0, len(texts), CHUNK):
            part = slice(start, start + CHUNK)
            minima, self.sizes[part] = _minima(texts[part], common)
            self.bits[part] = minima.astype(np.uint8)
            for band in range(BANDS[0]):
                self.keys[part, band] = _key(minima[:, band * BANDS[1] : (band + 1) * BANDS[1]])

    def buckets(self) -> Iterator[NDArray[np.int64]]:
        """The texts that agree in a band, two or more of them, in ascending order."""
        import numpy as np

        some = np.flatnonzero(self.sizes)
        for band in range(BANDS[0]):
            keys = self.keys[some, band]
            order = np.argsort(keys, kind="stable")
            edges = np.flatnonzero(np.diff(keys[order])) + 1
            starts = np.concatenate([[0], edges])
            ends = np.concatenate([edges, [len(order)]])
            for place in np.flatnonzero(ends - starts > 1):
                yield some[order[starts[place] : ends[place]]]

    def similarity(self, i: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """The estimated Jaccard similarity of text `i` with each of the others."""
        agree: NDArray[np.float64] = (self.bits[others] == self.bits[i]).mean(axis=1)
        return (agree - 1 / 256) / (1 - 1 / 256)  # two texts that share nothing still agree in one of 256 values


def grams_of(text: str, common: Grams | None = None) -> Grams:
    """Sorted distinct 32-bit hashes of the character 5-grams (one of the whole text when it is shorter)."""
    return _without(_grams([text])[0], common)


def common_grams(sample: Sequence[Grams], share: float) -> Grams:
    """The grams that stand in more than this share of a sample of texts, sorted."""
    import numpy as np

    values, counts = np.unique(np.concatenate(sample), return_counts=True)
    common: Grams = values[counts > share * len(sample)]
    return common


def _without(grams: Grams, common: Grams | None) -> Grams:
    import numpy as np

    return grams if common is None else grams[~np.isin(grams, common, assume_unique=True)]


def _grams(texts: Sequence[str]) -> tuple[Grams, NDArray[np.int64]]:
    """Distinct grams of each text, one text after another, and where each text's begin."""
    import numpy as np

    # padding to whole grams, so that no text is without one
    padded = [text + "\0" * (GRAM - len(text)) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths = np.array([len(text) for text in padded])
    mixed = np.zeros(max(0, len(codes) - GRAM + 1), np.uint64)
    for column in range(GRAM):  # FNV-1a over code points; wraps around modulo 2**64
        mixed = (mixed ^ codes[column : column + len(mixed)]) * np.uint64(0x100000001B3)
    hashes = (mixed ^ (mixed >> np.uint64(29))) & np.uint64(0xFFFFFFFF)
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)[: len(mixed)]
    ends = np.cumsum(lengths)
    whole = np.arange(len(mixed)) + GRAM <= ends[owner.astype(np.int64)]  # grams that lie within their text
    keyed = np.unique((owner[whole] << np.uint64(32)) | hashes[whole])
    starts = np.searchsorted(keyed, np.arange(len(texts), dtype=np.uint64) << np.uint64(32))
    return (keyed & np.uint64(0xFFFFFFFF)).astype(np.uint32), starts


def _minima(texts: Sequence[str], common: Grams | None) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The least value of each permutation over each text's grams, uint32 [texts, 128], and the number of grams."""
    import numpy as np

    grams, starts = _grams(texts)
    counts = np.diff(np.append(starts, len(grams)))
    if common is not None:
        kept = ~np.isin(grams, common)
        owner = np.repeat(np.arange(len(texts)), counts)[kept]
        grams, counts = grams[kept], np.bincount(owner, minlength=len(texts))
    empty = counts == 0
    minima = np.zeros((len(texts), PERMUTATIONS), np.uint32)
    if not len(grams):
        return minima, counts
    starts = (np.cumsum(counts) - counts)[~empty]
    wide = grams.astype(np.uint64)
    factors, shifts = _permutations()
    for place in range(PERMUTATIONS):
        # multiply-shift: 2-universal, without a division (Dietzfelbinger et al. 1997)
        values = ((wide * factors[place] + shifts[place]) >> np.uint64(32)).astype(np.uint32)
        minima[~empty, place] = np.minimum.reduceat(values, starts)
    return minima, counts


def _permutations() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Factor and shift of each hash function; the same on every machine and in every version of numpy."""
    import numpy as np

    raw = b"".join(hashlib.sha256(f"minhash {i}".encode()).digest()[:16] for i in range(PERMUTATIONS))
    pairs = np.frombuffer(raw, "<u8").reshape(PERMUTATIONS, 2)
    return pairs[:, 0] | np.uint64(1), pairs[:, 1]


def _key(part: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """One value for the rows of a band, uint32 [texts]."""
    import numpy as np

    mixed = np.zeros(len(part), np.uint64)
    for column in range(part.shape[1]):
        mixed = (mixed ^ part[:, column]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return (mixed & np.uint64(0xFFFFFFFF)).astype(np.uint32)
