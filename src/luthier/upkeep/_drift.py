"""Are the inputs that come in still like the inputs it was made for? Two-sample tests on embeddings.

Source: Gretton et al. 2012 (MMD), Lopez-Paz & Oquab 2017 (classifier two-sample test), Rabanser et al. 2019 (tests on
the representation of a pretrained model find shifts best).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]

NEEDED = 200  # inputs per side; below, the tests have no power worth the name
MOST = 1000  # inputs per side and window; more cost time and change nothing
PERMUTATIONS = 999
SIGNIFICANT = 0.01
EFFECT = 0.65  # area under the curve of the classifier: .5 is chance
LENGTH_RATIO = 1.5
MOST_UNLIKE = 50


@dataclass(frozen=True)
class Window:
    """One window of logged inputs against the reference.

    `mmd2` is the unbiased squared maximum mean discrepancy (RBF kernel, median heuristic) with its permutation p-value;
    `auc` that of a logistic regression telling the two apart, out of fold, with a 95 % interval.
    """

    logged: int
    reference: int
    mmd2: float
    p: float
    auc: float
    auc_low: float
    auc_high: float

    @property
    def alarm(self) -> bool:
        """Whether the difference is both significant and large enough to matter."""
        return self.p < SIGNIFICANT and self.auc > EFFECT


@dataclass(frozen=True)
class Drift:
    """Logged inputs compared with the reference.

    `missing_logged` and `missing_reference` say how many inputs are needed before there is a test; `windows` are then
    the one or two latest windows, oldest first. `most_unlike` are places in `logged` of the inputs least like the
    reference. `length_ratio` is that of the median lengths in characters, with the p-value of a rank test.
    """

    missing_logged: int
    missing_reference: int
    windows: tuple[Window, ...] = ()
    most_unlike: tuple[int, ...] = ()
    length_ratio: float | None = None
    length_p: float | None = None

    @property
    def alarm(self) -> bool:
        """Whether every window alarms; with enough inputs that is two in a row."""
        return bool(self.windows) and all(window.alarm for window in self.windows)

    @property
    def length_shift(self) -> bool:
        """Whether inputs have become much longer or shorter."""
        if self.length_ratio is None or self.length_p is None:
            return False
        return self.length_p < SIGNIFICANT and not 1 / LENGTH_RATIO <= self.length_ratio <= LENGTH_RATIO

    def as_dict(self) -> dict[str, Any]:
        """For saving as JSON."""
        return asdict(self) | {"alarm": self.alarm}


def compare_inputs(reference: Sequence[str], logged: Sequence[str], embed: Embed, *, seed: int = 0) -> Drift:
    """Compare logged inputs with the inputs that a system was made from.

    Args:
        reference: texts of the training inputs.
        logged: texts of the served inputs, oldest first.
        embed: texts to vectors [n, d] of length 1.
        seed: of the permutations, the folds and the sample of the reference.
    """
    missing = max(0, NEEDED - len(logged)), max(0, NEEDED - len(reference))
    if any(missing):
        return Drift(*missing)
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(reference), size=min(MOST, len(reference)), replace=False))
    known = np.asarray(embed([reference[i] for i in chosen]), dtype=np.float64)
    parts = _windows(len(logged))
    windows, unlike = [], np.zeros(0)
    for places in parts:
        new = np.asarray(embed([logged[i] for i in places]), dtype=np.float64)
        window, unlike = _compare(known, new, rng)
        windows.append(window)
    latest = parts[-1]
    order = np.argsort(-unlike, kind="stable")[:MOST_UNLIKE]
    ratio, p = _lengths([reference[i] for i in chosen], [logged[i] for i in latest])
    return Drift(0, 0, tuple(windows), tuple(int(latest[i]) for i in order), ratio, p)


def _windows(n: int) -> list[range]:
    """The two latest windows where there is enough for two, else one."""
    size = min(MOST, n // 2 if n >= 2 * NEEDED else n)
    ends = [n - size, n] if n >= 2 * NEEDED else [n]
    return [range(end - size, end) for end in ends]


def _compare(known: Floats, new: Floats, rng: np.random.Generator) -> tuple[Window, Floats]:
    mmd2, p = mmd_test(known, new, rng)
    scores = _out_of_fold(known, new, int(rng.integers(2**31)))
    auc, low, high = auc_interval(scores[len(known) :], scores[: len(known)])
    return Window(len(new), len(known), mmd2, p, auc, low, high), scores[len(known) :]


def mmd_test(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Unbiased MMD² of two samples [n, d] and [m, d], with the p-value of a permutation test."""
    both = np.concatenate([x, y])
    n, total = len(x), len(both)
    norms = (both**2).sum(axis=1)
    distances = np.maximum(norms[:, None] + norms[None, :] - 2 * both @ both.T, 0)
    apart = distances[np.triu_indices(total, k=1)]
    width = float(np.median(apart[apart > 1e-12])) if (apart > 1e-12).any() else 1.0
    kernel = np.exp(-distances / width)
    np.fill_diagonal(kernel, 0)
    sides = np.zeros((total, PERMUTATIONS + 1))
    sides[:n, 0] = 1
    for column in range(1, PERMUTATIONS + 1):
        sides[rng.permutation(total)[:n], column] = 1
    inside = (sides * (kernel @ sides)).sum(axis=0)
    across = kernel.sum(axis=1) @ sides - inside
    outside = kernel.sum() - inside - 2 * across
    m = total - n
    values = inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * across / (n * m)
    # rounding must not make equal permutations look smaller than the observed value
    p = (1 + int((values[1:] >= values[0] - 1e-12).sum())) / (PERMUTATIONS + 1)
    return float(values[0]), p


def auc_interval(positive: Floats, negative: Floats) -> tuple[float, float, float]:
    """Area under the ROC curve with a 95 % interval (DeLong et al. 1988)."""
    below = np.sort(negative)
    above = np.sort(positive)

    def share(values: Floats, others: Floats) -> Floats:
        left, right = np.searchsorted(others, values, "left"), np.searchsorted(others, values, "right")
        return (left + right) / (2 * len(others))

    wins, losses = share(positive, below), 1 - share(negative, above)
    auc = float(wins.mean())
    error = float(np.sqrt(wins.var(ddof=1) / len(wins) + losses.var(ddof=1) / len(losses)))
    return auc, max(0.0, auc - 1.96 * error), min(1.0, auc + 1.96 * error)


def _out_of_fold(known: Floats, new: Floats, seed: int) -> Floats:
    """For every input, how much a classifier that has not seen it takes it for a new one."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    inputs = np.concatenate([known, new])
    labels = np.concatenate([np.zeros(len(known)), np.ones(len(new))])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    classifier = LogisticRegression(max_iter=2000, class_weight="balanced")
    return np.asarray(cross_val_predict(classifier, inputs, labels, cv=folds, method="decision_function"))


def _lengths(reference: Sequence[str], logged: Sequence[str]) -> tuple[float, float]:
    from scipy.stats import mannwhitneyu

    was, now = [len(text) for text in reference], [len(text) for text in logged]
    ratio = float(np.median(now)) / max(1.0, float(np.median(was)))
    return ratio, float(mannwhitneyu(now, was).pvalue)
