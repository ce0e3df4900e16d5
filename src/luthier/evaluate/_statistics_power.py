"""What a number of cases can show, before any is answered: the planning side of the tests."""

from __future__ import annotations

import math

import numpy as np

POWER = 0.8
DISCORDANT = (
    0.2  # of the cases are answered rightly by one of two systems only: what is common between neighbouring rungs
)
_MOST = 20_000


def adequate_score(n: int, bar: float, alpha: float) -> float | None:
    """The least true pass rate that `n` cases show to be at or above the bar, with 80 % power; None where none is.

    The test is the exact binomial one at level `alpha`, one-sided.
    """
    from scipy.special import betainc, betaincinv

    wins = np.arange(1, n + 1)
    enough = wins[betainc(wins, n - wins + 1, bar) <= alpha]
    if not len(enough):
        return None
    least = int(enough[0])
    return float(betaincinv(least, n - least + 1, POWER))


def adequacy_cases(bar: float, score: float, alpha: float) -> int | None:
    """How many cases show that a pass rate of `score` is at or above the bar, with 80 % power; None: over 20,000.

    From here on every larger number does: the exact test is a little uneven in the number of cases.
    """
    low, high = 1, _MOST
    if not _shown(high, bar, score, alpha):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _shown(middle, bar, score, alpha) else (middle + 1, high)
    while any(not _shown(n, bar, score, alpha) for n in range(low, min(low + 40, _MOST))):
        low += 1
    return low


def _shown(n: int, bar: float, score: float, alpha: float) -> bool:
    least = adequate_score(n, bar, alpha)
    return least is not None and least <= score


def detectable_difference(n: int, alpha: float, discordant: float = DISCORDANT) -> float:
    """The least true difference of two pass rates that `n` paired cases detect with 80 % power.

    n = (z_{1-alpha} + z_{power})^2 (psi - d^2) / d^2 solved for d, psi being the share of discordant cases (Connor
    1987); never more than psi.
    """
    from scipy.special import ndtri

    k = float(ndtri(1 - alpha) + ndtri(POWER)) ** 2
    return min(discordant, math.sqrt(k * discordant / (n + k)))
