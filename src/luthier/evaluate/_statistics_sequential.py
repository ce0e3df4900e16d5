"""Tests that may be looked at as often as one likes: evidence against a bar that grows case by case.

An e-process starts at 1 and has mean at most 1 at every stopping time while the hypothesis is true, so it ever reaches
1/alpha with probability at most alpha (Ville 1939).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from luthier.evaluate._statistics import Floats, Grouped, Ints, boundary

_BETS = (np.arange(64) + 0.5) / 64  # shares of the largest bet that cannot lose everything


def e_process_adequacy(successes: ArrayLike, failures: ArrayLike, bar: float) -> Floats:
    """Log e-values against "the proportion is at most `bar`", after so many successes and failures.

    A uniform mixture over the proportions above the bar. For "at least `bar`", swap successes and failures and give
    1 - bar. Source: Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021.
    """
    from scipy.special import betaincc, betaln

    s, f = np.asarray(successes, dtype=np.float64), np.asarray(failures, dtype=np.float64)
    # a tail of 0 is a proportion far below the bar: log e is -inf, and rightly never reaches a threshold
    with np.errstate(divide="ignore"):
        tail = np.log(betaincc(s + 1, f + 1, bar))
    result: Floats = betaln(s + 1, f + 1) + tail - s * math.log(bar) - (f + 1) * math.log1p(-bar)
    return result


def betting_e_process(units: Grouped, bar: float) -> Floats:
    """Log e-values against "the mean is at most `bar`" after each group, for scores in [0, 1].

    Capital of a gambler who bets that scores lie above the bar, averaged over 64 bet sizes; for scores 0 and 1 without
    groups this is `e_process_adequacy` up to the grid. A group bets in proportion to its size, so that the mean over
    cases is what is tested. Source: Waudby-Smith & Ramdas 2024, section on mixtures over a grid of bets.
    """
    gains = units.weights * (units.means / bar - 1)
    paths = np.cumsum(np.log1p(np.outer(_BETS, gains)), axis=1)
    top = paths.max(axis=0)
    result: Floats = top + np.log(np.exp(paths - top).mean(axis=0))
    return result


def confidence_sequence(units: Grouped, looks: Ints, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of the mean, each at level `alpha`, valid whenever one stops.

    Args:
        units: the independent groups, in order.
        looks: after how many groups there was a look.
        alpha: the chance that the bound is ever wrong at any look.
    """

    def low(side: Grouped) -> float:
        def rejected(bar: float) -> bool:
            return bool(betting_e_process(side, bar)[looks - 1].max() >= -math.log(alpha))

        return boundary(rejected, 1 - 1e-9) if len(looks) else 0.0

    return low(units), 1 - low(units.failures)


def binomial_confidence_sequence(successes: ArrayLike, n: ArrayLike, alpha: float) -> tuple[float, float]:
    """`confidence_sequence` for 0/1 scores, from the running counts at the looks, with the exact mixture."""
    s = np.asarray(successes, dtype=np.float64)
    f = np.asarray(n, dtype=np.float64) - s

    def low(s: Floats, f: Floats) -> float:
        def rejected(bar: float) -> bool:
            return bool(e_process_adequacy(s, f, bar).max() >= -math.log(alpha))

        return boundary(rejected, 1 - 1e-9) if len(s) else 0.0

    return low(s, f), 1 - low(f, s)
