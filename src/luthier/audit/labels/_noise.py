"""How likely each label of a set is wrong, judged by classifiers that have seen neither the row nor its near copies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Vector = NDArray[np.floating[Any]]
    Numbers = NDArray[np.integer[Any]]

FOLDS = 5
TRAINED_ON = 20_000  # rows: more make the classifiers hardly better, and much slower
CHUNK = 10_000
READ = 2_000  # characters of an input
GRAM = 4
UNKNOWN = -100.0  # score of a class that a classifier has not met


@dataclass(frozen=True, eq=False)
class Doubts:
    """What is doubtful in the labels of n rows.

    `wrong` [n]: posterior probability that the label was drawn at random; `likely` [n]: number of the class that the
    row looks like otherwise; `confident` [n]: an error by confident learning (Northcutt et al. 2021); `rate`: estimated
    share of random labels; `skill`: how much of what the most frequent class leaves wrong is predicted.
    """

    wrong: Vector
    likely: Numbers
    confident: NDArray[np.bool_]
    rate: float
    skill: float


@dataclass(frozen=True)
class _Noise:
    """How scores become probabilities: P(label | x) = (1 - rate) softmax(sharpness · scores) + rate / classes."""

    sharpness: float
    rate: float
    thresholds: Vector


def doubts(texts: Sequence[str], labels: Sequence[int], families: Sequence[int], seed: int = 0) -> Doubts:
    """Judge labels (numbers from 0, each class at least once) by linear classifiers on words and pieces of words.

    Rows of one family stand in one fold. Of more than 20,000 rows, a random choice trains and calibrates.
    """
    import numpy as np

    y = np.asarray(labels)
    rng = np.random.default_rng(seed)
    folds = _folds(y, np.asarray(families), rng)
    chosen = np.arange(len(y))
    if len(y) > TRAINED_ON:
        chosen = np.sort(rng.choice(len(y), TRAINED_ON, replace=False))
    jury = _Jury([texts[int(i)] for i in chosen], y[chosen], folds[chosen], int(y.max()) + 1)
    own = jury.scores(jury.features, folds[chosen])
    noise = _calibrated(own, y[chosen])
    if len(chosen) == len(y):
        parts = [_judged(own, y, noise)]
    else:
        parts = [_judged(jury.read(texts[a:b], folds[a:b]), y[a:b], noise) for a, b in _chunks(len(y))]
    wrong, likely, confident = (np.concatenate(column) for column in zip(*parts, strict=True))
    common = np.bincount(y[chosen]).max() / len(chosen)
    right = float((own.argmax(1) == y[chosen]).mean())
    return Doubts(wrong, likely, confident, noise.rate, (right - common) / max(1 - common, 1e-9))


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, CHUNK):
        yield start, min(start + CHUNK, count)


def _folds(y: Numbers, families: Numbers, rng: np.random.Generator) -> Numbers:
    """The fold of each row: families are dealt in turn, class by class, so that each fold has its share of a class."""
    import numpy as np

    _, first, member = np.unique(families, return_index=True, return_inverse=True)
    order = np.lexsort((rng.random(len(first)), y[first]))
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return np.asarray(fold[member])


class _Jury:
    """One linear classifier (one-versus-rest hinge, squared) for each fold, trained on the other folds."""

    def __init__(self, texts: Sequence[str], y: Numbers, folds: Numbers, classes: int) -> None:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC

        least = 3 if len(texts) >= 1000 else 1
        self.classes = classes
        self.words = TfidfVectorizer(analyzer=_terms, sublinear_tf=True, min_df=least, dtype=np.float32)
        self.features = self.words.fit_transform(texts)
        self.judges = [
            LinearSVC(C=0.2, tol=0.5, random_state=0).fit(self.features[folds != k], y[folds != k])
            if len(np.unique(y[folds != k])) > 1
            else None
            for k in range(FOLDS)
        ]

    def read(self, texts: Sequence[str], folds: Numbers) -> Vector:
        """Scores [n, classes] of texts, by the classifiers that have not seen their folds."""
        return self.scores(self.words.transform(texts), folds)

    def scores(self, features: csr_matrix, folds: Numbers) -> Vector:
        import numpy as np

        found = np.full((features.shape[0], self.classes), UNKNOWN, dtype=np.float32)
        for k, judge in enumerate(self.judges):
            rows = np.flatnonzero(folds == k)
            if judge is None or not len(rows):
                continue
            said = judge.decision_function(features[rows])
            if said.ndim == 1:  # two classes: one score, of the second
                said = np.stack([-said, said], axis=1)
            found[np.ix_(rows, judge.classes_)] = said
        return found


def _terms(text: str) -> list[str]:
    """Words, pairs of words, and the pieces of 4 characters of each word with its edges."""
    words = re.findall(r"\w+", text[:READ].lower())
    terms = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    for word in words:
        edged = f"<{word}>"
        terms += ["#" + edged[i : i + GRAM] for i in range(max(len(edged) - GRAM + 1, 1))]
    return terms


def _calibrated(scores: Vector, y: Numbers) -> _Noise:
    """Sharpness and rate by maximum likelihood; thresholds of confident learning: mean probability within a class."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(point: Vector) -> float:
        clean, random = _likelihoods(scores, y, float(np.exp(point[0])), float(expit(point[1])))
        return -float(np.logaddexp(clean, random).mean())

    best = minimize(loss, [1.5, -3.0], method="Nelder-Mead", options={"maxiter": 200}).x
    sharpness, rate = float(np.exp(best[0])), float(expit(best[1]))
    sure = _probabilities(scores, sharpness)[np.arange(len(y)), y]
    counts = np.bincount(y, minlength=scores.shape[1])
    means = np.bincount(y, weights=sure, minlength=scores.shape[1]) / np.maximum(counts, 1)
    return _Noise(sharpness, rate, np.where(counts > 0, means, 1.0))


def _likelihoods(scores: Vector, y: Numbers, sharpness: float, rate: float) -> tuple[Vector, Vector]:
    """Logarithms of the probabilities of each label as a meant one and as a random one."""
    import numpy as np
    from scipy.special import logsumexp

    scaled = sharpness * scores
    clean = scaled[np.arange(len(y)), y] - logsumexp(scaled, axis=1)
    tiny = 1e-12
    random = np.full(len(y), np.log(rate + tiny) - np.log(scores.shape[1]))
    return clean + np.log(1 - rate + tiny), random


def _probabilities(scores: Vector, sharpness: float) -> Vector:
    from scipy.special import softmax

    probabilities: Vector = softmax(sharpness * scores, axis=1)
    return probabilities


def _judged(scores: Vector, y: Numbers, noise: _Noise) -> tuple[Vector, Numbers, NDArray[np.bool_]]:
    import numpy as np

    clean, random = _likelihoods(scores, y, noise.sharpness, noise.rate)
    rows = np.arange(len(y))
    known = scores[rows, y] > UNKNOWN
    others = scores.copy()
    others[rows, y] = -np.inf
    likely = others.argmax(1)
    disagrees = known & (others[rows, likely] > scores[rows, y])
    wrong = np.where(known, np.exp(random - np.logaddexp(clean, random)), 0.0)
    probabilities = _probabilities(scores, noise.sharpness)
    beyond = probabilities >= noise.thresholds
    confident = disagrees & beyond[rows, likely] & (likely == probabilities.argmax(1))
    return wrong, likely, confident
