"""Preference pairs whose answers seem to be swapped: they contradict what sets chosen from rejected in the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from luthier.audit._finding import Dataset, Finding, finding, sample
from luthier.data import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_PAIRS = 100
CLEAR = 0.75  # share of pairs that the pattern has to get right before it can speak against the others
AGAINST = 0.3  # probability that the chosen answer is the better one, below which a pair is named
FOLDS = 5
SHOWN = 5


def check_preference(data: Dataset) -> Iterable[Finding]:
    """Pairs that a classifier of chosen and rejected answers, which has not seen them, reads the other way round."""
    pairs = [e for e in data.everything if e.rejected is not None and e.rejected.strip() != e.output.strip()]
    if len(pairs) < LEAST_PAIRS:
        return
    right = _probabilities(pairs)
    share = float((right > 0.5).mean())
    rows = [(p, e) for p, e in zip(right, pairs, strict=True) if p < AGAINST]
    if share < CLEAR or not rows:
        return
    reason = (
        f"chosen and rejected seem to be swapped: what tells them apart in {share:.0%} of the pairs says the opposite"
    )
    fix = "read these pairs, the least likely first, and swap those that are the wrong way round"
    rows.sort(key=lambda row: row[0])
    shown = [
        sample(e, f"chosen: {e.output[:140]} | rejected: {(e.rejected or '')[:140]}", f"{p:.0%} likely to be right")
        for p, e in rows[:SHOWN]
    ]
    yield finding("swapped-preference", "note", [e for _, e in rows], reason, fix, samples=shown)


def _probabilities(pairs: Sequence[Example]) -> NDArray[np.float64]:
    """Probability that the chosen answer is the better one, by a logistic regression fitted on the other folds.

    Its features are the differences of the TF-IDF weights of words, pairs of words and parts of words, and of the log
    lengths, so that it is blind to what both answers share (a Bradley-Terry model of texts).
    """
    import numpy as np
    import scipy.sparse as sp
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    features = _differences(pairs)
    right = np.zeros(len(pairs))
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(right):
        sides = np.where(np.arange(len(train)) % 2, 1.0, -1.0)
        model = LogisticRegression(C=3, fit_intercept=False, solver="liblinear", random_state=0)
        model.fit(sp.diags(sides) @ features[train], sides)
        right[test] = model.predict_proba(features[test])[:, 1]
    return right


def _differences(pairs: Sequence[Example]) -> Any:
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import TfidfVectorizer

    chosen, rejected = [e.output for e in pairs], [e.rejected or "" for e in pairs]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\b\w+\b|[^\w\s]")
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    both = [kind.fit([*chosen, *rejected]) for kind in (words, parts)]
    lengths = [[math.log1p(len(a)) - math.log1p(len(b))] for a, b in zip(chosen, rejected, strict=True)]
    weights = [kind.transform(chosen) - kind.transform(rejected) for kind in both]
    return sp.hstack([*weights, sp.csr_matrix(lengths)]).tocsr()
