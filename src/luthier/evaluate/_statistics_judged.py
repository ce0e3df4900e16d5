"""Means and paired differences when a judge scored every case and people labelled some of them.

The judge predicts what a person would say; the labelled cases tell how far off it is, and correct it. The result is
right on average whatever the judge is like: a worse judge only makes the interval wider. Valid where the labelled cases
are a random part of all cases.

Estimator: prediction-powered inference with power tuning, PPI++ (Angelopoulos, Duchi & Zrnic 2023). With f the judge's
score, Y the person's, n labelled and N other cases:

    theta = lam mean_N(f) + mean_n(Y - lam f),     lam = Cov(Y, f) / ((1 + n/N) Var f), within 0 and 1
    Var   = lam^2 Var(f) / N + Var(Y - lam f) / n
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.evaluate._statistics import MIN_GROUPS, Floats

# A good judge errs so seldom that 30 labels may show none of its errors, and the plain interval then promises far too
# much (simulated: 10 % below the lower bound at a nominal 2.5 %). As Bonett & Price (2012) do for pairs, the interval
# is that of the cases and two more that disagree, one each way: (judge, person).
MEAN_EXTRA = ((0.0, 1.0), (1.0, 0.0))
PAIR_EXTRA = ((0.0, 1.0), (0.0, -1.0))

_Extra = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Corrected:
    """A corrected mean or difference on `labelled` and `unlabelled` cases.

    `estimate` is PPI++'s; intervals stand around `middle`, which two more cases that disagree have pulled a little.
    `label_part` and `judge_part` are the variances that come from few labels and from few cases; `weight` is how much
    the judge counts (lam); `free` the degrees of freedom. Not `usable` with fewer than 8 labelled sources: then bounds
    are the widest possible, `least` and 1.
    """

    estimate: float
    middle: float
    label_part: float
    judge_part: float
    weight: float
    labelled: int
    unlabelled: int
    free: int
    least: float
    usable: bool = True

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.label_part + self.judge_part)

    def bounds(self, alpha: float) -> tuple[float, float]:
        """One-sided lower and upper bound, each at level `alpha`."""
        from scipy.special import stdtrit

        if not self.usable:
            return self.least, 1.0
        half = -float(stdtrit(self.free, alpha)) * self.error
        return max(self.least, self.middle - half), min(1.0, self.middle + half)

    def p(self, null: float) -> float:
        """One-sided p-value against "no larger than `null`"."""
        from scipy.special import stdtr

        return float(stdtr(self.free, (null - self.middle) / self.error)) if self.usable else 1.0

    def labels_to_settle(self, null: float, alpha: float) -> int | None:
        """How many more labels would show on which side of `null` it lies, with 80 % power if the estimate is right.

        None where no number of labels would: the cases themselves are too few, or it lies at `null`.
        """
        from scipy.special import ndtri

        wanted = ((self.estimate - null) / (float(ndtri(0.8)) - float(ndtri(alpha)))) ** 2
        if not self.usable or wanted <= 0:
            return None
        # What a label does not tell, the judge has to: as all cases get labels, the rest is the spread of their labels.
        per_label = self.label_part * self.labelled
        total = per_label / (wanted - self.judge_part) if wanted > self.judge_part else math.inf
        if total > self.labelled + self.unlabelled:
            return None
        return max(1, math.ceil(total) - self.labelled)


def corrected_mean(judged: Sequence[float], human: Mapping[int, float], groups: Sequence[str]) -> Corrected:
    """The mean that people would give, from the judge's scores of all cases and people's of some.

    Args:
        judged: the judge's score in [0, 1] of every case.
        human: people's score in [0, 1] by the number of the case; a random part of the cases.
        groups: the independent source of every case.
    """
    return _corrected(judged, human, groups, MEAN_EXTRA, 0.0)


def corrected_difference(
    a: Sequence[float], b: Sequence[float], human_a: Mapping[int, float], human_b: Mapping[int, float],
    groups: Sequence[str],
) -> Corrected:  # fmt: skip
    """The paired difference of means, a less b, that people would give; both have to be labelled for a case to count.

    Args:
        a: the judge's scores of one system on all cases.
        b: the same of the other.
        human_a: people's scores of the one by the number of the case.
        human_b: the same of the other.
        groups: the independent source of every case.
    """
    judged = [x - y for x, y in zip(a, b, strict=True)]
    both = {case: value - human_b[case] for case, value in human_a.items() if case in human_b}
    return _corrected(judged, both, groups, PAIR_EXTRA, -1.0)


def _corrected(
    judged: Sequence[float], human: Mapping[int, float], groups: Sequence[str], extra: _Extra, least: float
) -> Corrected:
    f = np.asarray(judged, dtype=np.float64)
    chosen = np.zeros(len(f), dtype=bool)
    chosen[list(human)] = True
    of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    n, others = len(human), len(f) - len(human)
    sources = len(np.unique(of[chosen]))
    if sources < MIN_GROUPS:
        return Corrected(float(f.mean()), float(f.mean()), 0.0, 0.0, 0.0, n, others, 0, least, usable=False)
    y = np.array([human[case] for case in np.flatnonzero(chosen).tolist()], dtype=np.float64)
    more_f, more_y = np.array(extra).T
    seen_f, seen_y = np.append(f[chosen], more_f), np.append(y, more_y)
    weight = _weight(seen_f, seen_y, f[~chosen])
    rest = seen_y - weight * seen_f
    beyond = weight * float(f[~chosen].mean()) if others else 0.0
    own = of.max() + 1 + np.arange(len(extra))  # each of the added cases is a source of its own
    labelled_parts = _influence(rest, np.append(of[chosen], own))
    other_parts = _influence(weight * f[~chosen], of[~chosen])
    total = np.zeros(of.max() + 1 + len(extra))
    for part in (labelled_parts, other_parts):
        total[: len(part)] += part
    # Groups with cases on both sides make the two parts depend on each other: their influences are added before they
    # are squared (Liang & Zeger 1986). Without groups this is the formula above.
    judge_part = float(other_parts @ other_parts)
    return Corrected(
        estimate=float((y - weight * f[chosen]).mean()) + beyond,
        middle=float(rest.mean()) + beyond,
        label_part=max(0.0, float(total @ total) - judge_part),
        judge_part=judge_part,
        weight=weight,
        labelled=n,
        unlabelled=others,
        free=sources - 1,
        least=least,
    )


def _weight(f: Floats, y: Floats, others: Floats) -> float:
    """How much the judge counts: lam, from the labelled cases and the spread of all."""
    spread = float(np.var(np.append(f, others), ddof=1))
    if not len(others) or spread == 0:
        return 0.0
    shared = float(np.cov(y, f, ddof=1)[0, 1])
    return min(1.0, max(0.0, shared / ((1 + len(f) / len(others)) * spread)))


def _influence(values: Floats, sources: np.ndarray) -> Floats:
    """What each source adds to the error of the mean of the values, scaled so that squares sum to its variance."""
    if not len(values):
        return np.zeros(0)
    sums = np.bincount(sources, weights=values - values.mean()) / len(values)
    count = len(np.unique(sources))
    return sums * math.sqrt(count / (count - 1)) if count > 1 else sums
