"""Geometry of the coverage check: who has whom near, and how well two samples can be told apart."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAREST = 10
THIN = 0.5  # of the neighbours that are to be expected
LEAST_GROUP, LEAST_MEAN = 5, 12  # rows of a group
FOLDS = 5
PERMUTATIONS = 199
RIDGE = 1.0
AT_ONCE = 500  # rows of a block of similarities
WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Group:
    """Rows that lie together, the most typical first, and the words that they are known by."""

    rows: tuple[int, ...]
    name: str


def groups_without(vectors: Floats, others: Floats, texts: Sequence[str]) -> list[Group]:
    """Groups of texts that have hardly any of the others among their neighbours; the largest first.

    k-means into groups of about sqrt(n / 8) rows: larger ones hide a missing kind among those that are there. A row
    counts where less than half of the others that are to be expected stand among
    its ten nearest neighbours; a group counts where that holds on average, and where its rows lie farther from the
    others than those do from each other.

    Args:
        vectors: of the texts, [n, d], of length 1.
        others: of what should be near, [m, d].
        texts: to name the groups by.
    """
    from sklearn.cluster import KMeans

    shares, nearest = _shares(vectors, others)
    usual = float(np.median(_nearest(others, others, 1, itself=True)))
    count = max(2, min(4 * math.isqrt(len(vectors) // 2), len(vectors) // LEAST_MEAN))
    clusters = KMeans(count, n_init=1, random_state=0).fit(vectors)
    found = []
    for cluster in range(count):
        inside = np.flatnonzero(clusters.labels_ == cluster)
        if len(inside) < LEAST_GROUP or shares[inside].mean() >= THIN or np.median(nearest[inside]) >= usual:
            continue
        rows = inside[shares[inside] < THIN]
        if len(rows) >= LEAST_GROUP:
            closest = np.argsort(-(vectors[rows] @ clusters.cluster_centers_[cluster]), kind="stable")
            rows = rows[closest]
            found.append(Group(tuple(rows.tolist()), _name([texts[row] for row in rows], texts)))
    return sorted(found, key=lambda group: -len(group.rows))


def _shares(vectors: Floats, others: Floats) -> tuple[Floats, Floats]:
    """The others among the nearest neighbours, as a share of those to be expected; similarity to the nearest other."""
    near_others = _nearest(vectors, others, NEAREST)
    near_own = _nearest(vectors, vectors, NEAREST, itself=True)
    both = np.concatenate([near_others, near_own], axis=1)
    best = np.argsort(-both, axis=1, kind="stable")[:, :NEAREST]
    expected = len(others) / (len(others) + len(vectors) - 1)
    return (best < near_others.shape[1]).mean(axis=1) / expected, near_others[:, 0]


def _nearest(vectors: Floats, others: Floats, count: int, *, itself: bool = False) -> Floats:
    """Similarities to the nearest others, [n, count], falling; `itself`: within one set, no row near itself."""
    found = np.empty((len(vectors), count))
    for start in range(0, len(vectors), AT_ONCE):
        block = vectors[start : start + AT_ONCE] @ others.T
        if itself:
            block[np.arange(len(block)), start + np.arange(len(block))] = -2
        found[start : start + AT_ONCE] = -np.sort(np.partition(-block, count - 1, axis=1)[:, :count], axis=1)
    return found


def auc_of(first: Floats, second: Floats, seed: int = 0) -> tuple[float, float, Floats]:
    """How well a linear classifier that has not seen them tells two samples apart.

    Gives the area under the ROC curve of five-fold least squares with a ridge, its permutation p-value, and the score
    of each row of the first sample (higher: less like the second).
    """
    rng = np.random.default_rng(seed)
    size = min(len(first), len(second))
    chosen = [rng.permutation(len(sample))[:size] for sample in (first, second)]
    vectors = np.concatenate([first[chosen[0]], second[chosen[1]]])
    labels = np.repeat([1.0, -1.0], size)
    columns = np.stack([labels, *(rng.permutation(labels) for _ in range(PERMUTATIONS))], axis=1)
    folds = np.concatenate([rng.permutation(size) % FOLDS, rng.permutation(size) % FOLDS])
    vectors = np.column_stack([vectors - vectors.mean(axis=0), np.ones(2 * size)])
    scores = np.empty_like(columns)
    for fold in range(FOLDS):
        train = vectors[folds != fold]
        weights = np.linalg.solve(train.T @ train + RIDGE * np.eye(train.shape[1]), train.T @ columns[folds != fold])
        scores[folds == fold] = vectors[folds == fold] @ weights
    ranks = scores.argsort(axis=0).argsort(axis=0) + 1.0
    areas = ((ranks * (columns > 0)).sum(axis=0) - size * (size + 1) / 2) / size**2
    every = np.full(len(first), -np.inf)
    every[chosen[0]] = scores[:size, 0]
    return float(areas[0]), float((1 + (areas[1:] >= areas[0]).sum()) / (1 + PERMUTATIONS)), every


def telling(texts: Sequence[str], others: Sequence[str], count: int = 5) -> list[str]:
    """Words of texts that the others have seldom, by the difference of the shares of texts that hold them."""
    own, foreign = _documents(texts), _documents(others)
    gain = {word: n / len(texts) - foreign[word] / len(others) for word, n in own.items()}
    return sorted(gain, key=lambda word: (-gain[word], word))[:count]


def _name(texts: Sequence[str], everything: Sequence[str]) -> str:
    """The three words with the most weight by TF-IDF."""
    own, all_ = _documents(texts), _documents(everything)
    weight = {word: n * math.log((1 + len(everything)) / (1 + all_[word])) for word, n in own.items()}
    return ", ".join(sorted(weight, key=lambda word: (-weight[word], word))[:3])


def _documents(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in set(WORD.findall(text.casefold())))
