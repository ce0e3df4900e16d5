"""Intervals for one mean: binomial, and for any scores in [0, 1], with independent groups.

All functions are pure. Bounds are one-sided at `alpha` each, so that a two-sided 95 % interval takes alpha = 0.025.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_GROUPS = 8  # fewer independent sources carry no verdict: CR1 with t(G-1) covers .915 at G = 5, .934 at G = 8
_TAIL = 30.0  # aliasing error of the inversion is about exp(-_TAIL)
_SMALL = 20.0  # terms below exp(-_SMALL) are left out
_BLOCK, _MOST_TERMS = 128, 32_768  # a single case takes about 3,000 terms, a hundred cases about 100


def clopper_pearson(successes: int, n: int, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of a proportion, each at level `alpha`; exact.

    Source: Clopper & Pearson 1934.
    """
    from scipy.special import betaincinv

    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - alpha))
    return low, high


def binomial_p(successes: int, n: int, null: float) -> float:
    """P(at least this many successes) if the proportion were `null`: the exact one-sided test that it is larger."""
    from scipy.special import betainc

    return 1.0 if successes == 0 else float(betainc(successes, n - successes + 1, null))


def wilson(successes: float, n: float, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper score bound of a proportion, each at level `alpha`; for display.

    Source: Wilson 1927; coverage close to nominal on average, not guaranteed.
    """
    from scipy.special import ndtri

    z = -float(ndtri(alpha))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # at 0 and n the bound is exactly 0 and 1; rounding would leave a crumb
    return (0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == n else min(1.0, middle + half))


@dataclass(frozen=True)
class Grouped:
    """Independent units: the mean of each complete group and its weight, its size over the largest one's (at most 1).

    `ends` counts the cases that were answered when the group became complete.
    """

    means: Floats
    weights: Floats
    sizes: Ints
    ends: Ints

    @property
    def mean(self) -> float:
        """The mean over cases."""
        return float(self.sizes @ self.means / self.sizes.sum())

    @property
    def failures(self) -> Grouped:
        """The same units with every score s turned into 1 - s."""
        return replace(self, means=1 - self.means)


def grouped(scores: Sequence[float] | Floats, groups: Sequence[str]) -> Grouped:
    """The complete groups of a prefix of the cases, in the order in which they were completed.

    Args:
        scores: scores of the first cases.
        groups: the group of every planned case, in the same order; at least as many as scores.
    """
    planned: dict[str, int] = {}
    for group in groups:
        planned[group] = planned.get(group, 0) + 1
    largest = max(planned.values())
    seen: dict[str, list[float]] = {}
    done: dict[str, int] = {}
    for count, (group, score) in enumerate(zip(groups, scores, strict=False), start=1):
        seen.setdefault(group, []).append(float(score))
        if len(seen[group]) == planned[group]:
            done[group] = count
    sizes = np.array([planned[group] for group in done], dtype=np.int64)
    means = np.array([math.fsum(seen[group]) / planned[group] for group in done], dtype=np.float64)
    return Grouped(means, sizes / largest, sizes, np.array(list(done.values()), dtype=np.int64))


def is_clustered(groups: Sequence[str]) -> bool:
    """Whether any group holds more than one case."""
    return len(set(groups)) < len(groups)


def mean_p(units: Grouped, null: float) -> float:
    """One-sided p-value for "the mean is at most `null`", for scores in [0, 1] in independent groups.

    The unknown distribution is replaced by random weights: P(sum_g E_g w_g (m_g - null) <= E_0 null), E independent
    standard exponentials; the last term is an observation at the worst value, in a group as large as that of a case
    drawn at random (sum w^2 / sum w: so many groups of that size carry the same information). For scores 0 and 1
    without groups this is exactly the binomial test; for others it is Gaffke's bound.
    Source: Gaffke 2005; Learned-Miller & Thomas 2019, who conjecture that it is valid for every bounded distribution;
    here it is checked by simulation, groups of unequal size among it (tests and benchmarks/verdict_simulation.py).
    """
    typical = float(units.weights @ units.weights) / float(units.weights.sum())
    terms = np.append(units.weights * (units.means - null), -null * typical)
    values, counts = np.unique(terms, return_counts=True)
    return _below_zero(values, counts.astype(np.float64))


def mean_bounds(units: Grouped, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of the mean, each at level `alpha`, by inverting `mean_p`."""

    def low(side: Grouped) -> float:
        return boundary(lambda null: mean_p(side, null) <= alpha, side.mean)

    return low(units), 1 - low(units.failures)


def boundary(rejected: Callable[[float], bool], estimate: float) -> float:
    """The largest value below `estimate` that a test rejects, to 1e-6; the test rejects everything below it."""
    low, high = 0.0, estimate
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def _below_zero(values: Floats, counts: Floats) -> float:
    """P(Q <= 0) for Q = sum of values_j times independent Gamma(counts_j, 1), by inverting its characteristic function.

    Source: Imhof 1961; the trapezoidal sum at half steps is Davies 1973, its error the chance that |Q| exceeds the
    period below, of the order of exp(-30).
    """
    if (values <= 0).all():
        return 1.0
    if (values >= 0).all():
        return 0.0
    spread = math.sqrt(float(counts @ values**2))
    period = abs(float(counts @ values)) + 9 * spread + _TAIL * float(np.abs(values).max())
    step = 2 * math.pi / period
    total = 0.0
    for start in range(0, _MOST_TERMS, _BLOCK):
        k = np.arange(start, start + _BLOCK) + 0.5
        scaled = np.outer(values, k * step)
        log_size = 0.5 * (counts @ np.log1p(scaled**2)) + np.log(k)
        total += float(np.sin(counts @ np.arctan(scaled)) @ np.exp(-log_size))
        if log_size[-1] > _SMALL:
            break
    return min(1.0, max(0.0, 0.5 - total / math.pi))
