"""How often a rung would be settled, and a difference seen, if the truth were known: pass or fail, no groups; exact.

The rules are those of `settle` and `better_by`, followed through every number of successes there can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from luthier.evaluate._statistics import MIN_GROUPS, Floats, Ints
from luthier.evaluate._statistics_adequacy import EARLY_SHARE, look_sizes
from luthier.evaluate._statistics_assurance import FINAL_SHARE, MIN_CASES
from luthier.evaluate._statistics_power import DISCORDANT, POWER, adequacy_cases
from luthier.evaluate._statistics_sequential import e_process_adequacy

MOST_CASES = 20_000  # that more are sought up to
_TAIL = 1e-9  # of the number of discordant pairs, left out on either side


@dataclass(frozen=True)
class Chances:
    """How probable it is that a rung of that true mean is shown to meet, and to fall short; the rest stays open."""

    truth: float
    meets: float
    falls_short: float


def settled_chances(n: int, truth: float, *, bar: float, alpha: float) -> Chances:
    """What `settle` says of `n` independent cases that are passed with probability `truth`; exact.

    The walk through the counts of successes: what a look settles is taken out of it, as it would be.
    """
    if bar == 1.0:
        return Chances(truth, 0.0, 1 - truth**n)
    if n < MIN_GROUPS:
        return Chances(truth, 0.0, 0.0)
    alive, at, meets, short = np.ones(1), 0, 0.0, 0.0
    limits = [(int(look), _early_limits(int(look), bar, EARLY_SHARE * alpha)) for look in look_sizes(n, n)]
    for look, (least, most) in [*limits, (n, _last_limits(n, bar, FINAL_SHARE * alpha))]:
        alive = np.convolve(alive, _binomial(look - at, truth))
        meets, short = meets + float(alive[least:].sum()), short + float(alive[: most + 1].sum())
        alive[least:] = alive[: most + 1] = 0.0
        at = look
    return Chances(truth, min(1.0, meets), min(1.0, short))


@lru_cache(maxsize=8192)
def _early_limits(n: int, bar: float, alpha: float) -> tuple[int, int]:
    """The least successes of `n` with which an early look says meets, and the most with which it says falls short."""
    least = _first(n, lambda wins: float(e_process_adequacy(wins, n - wins, bar)) >= -math.log(alpha))
    most = n - _first(n, lambda lost: float(e_process_adequacy(lost, n - lost, 1 - bar)) >= -math.log(alpha))
    return (least if n >= MIN_CASES else max(least, n)), most


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The first of 0 to `n` for which it holds, as it does for all that follow; n + 1 where there is none."""
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _last_limits(n: int, bar: float, alpha: float) -> tuple[int, int]:
    """The same for the test on all cases."""
    from scipy.special import bdtr, bdtrc

    wins = np.arange(n + 1)
    meets = bdtrc(wins - 1, n, bar) <= alpha
    meets[0] = False  # P(at least none) is 1
    least = n + 1 - int(meets.sum())
    return (least if n >= MIN_CASES else max(least, n)), int((bdtr(wins, n, bar) <= alpha).sum()) - 1


def _binomial(n: int, p: float) -> Floats:
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(n + 1), n, p))


def cases_to_settle(truth: float, *, bar: float, alpha: float) -> int | None:
    """How many cases settle, with 80 % power, that a rung of that true mean meets or falls short; None: over 20,000.

    To 1 %. It is sought below what the last test would take by itself; early looks add a little.
    """
    if not 0 < bar < 1 or truth == bar:
        return None
    above = truth > bar
    most = (
        adequacy_cases(bar, truth, FINAL_SHARE * alpha)
        if above
        else adequacy_cases(1 - bar, 1 - truth, FINAL_SHARE * alpha)
    )

    def shown(n: int) -> bool:
        found = settled_chances(n, truth, bar=bar, alpha=alpha)
        return (found.meets if above else found.falls_short) >= POWER

    return None if most is None else smallest(shown, max(most // 2, 1), most)


def smallest(shown: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number from `low` to `high` for which it holds, to 1 %, by halving; `high` where none below does."""
    while high - low > max(0, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle + 1, high)
    return high


def pair_chances(
    n: int, difference: float, *, discordant: float = DISCORDANT, margin: float = 0.0, alpha: float
) -> tuple[float, float]:
    """How probable it is that `n` pairs show a true difference to be above `margin`, and to be below it; exact.

    By the Bonett-Price bounds that `better_by` and `compare` take for cases that are passed or failed.

    Args:
        n: pairs of answers to the same case.
        difference: of the true pass rates.
        discordant: the share of cases that only one of the two passes; at least the size of the difference.
        margin: what the difference is compared with; -0.03 for "not worse by more than 0.03".
        alpha: level of each bound.
    """
    from scipy.special import ndtri
    from scipy.stats import binom

    spread = math.sqrt(n * discordant * (1 - discordant)) + 1
    reach = float(-ndtri(_TAIL)) * spread
    counts = np.arange(max(0, math.floor(n * discordant - reach)), min(n, math.ceil(n * discordant + reach)) + 1)
    share = (discordant + difference) / (2 * discordant)
    above = below = 0.0
    for count, weight in zip(counts, binom.pmf(counts, n, discordant), strict=True):
        better = np.arange(count + 1)
        low, high = _bonett_price(better, count - better, n, alpha)
        mass = binom.pmf(better, count, min(1.0, max(0.0, share)))
        above += float(weight) * float(mass[low > margin].sum())
        below += float(weight) * float(mass[high < margin].sum())
    return above, below


def _bonett_price(better: Ints, worse: Ints, n: int, alpha: float) -> tuple[Floats, Floats]:
    """`bonett_price` for many counts at once."""
    from scipy.special import ndtri

    p1, p2 = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    half = -float(ndtri(alpha)) * np.sqrt((p1 + p2 - (p1 - p2) ** 2) / (n + 2))
    return p1 - p2 - half, p1 - p2 + half


def least_difference(n: int, *, discordant: float = DISCORDANT, alpha: float) -> float | None:
    """The least true difference that `n` pairs show with 80 % power, to 0.001; None where not even the largest is.

    The largest is that of a rung that passes every case on which the two differ.
    """

    def seen(thousandths: int) -> bool:
        return pair_chances(n, thousandths / 1000, discordant=discordant, alpha=alpha)[0] >= POWER

    most = math.floor(discordant * 1000 + 1e-9)
    if not seen(most):
        return None
    low = 1
    while low < most:
        middle = (low + most) // 2
        low, most = (low, middle) if seen(middle) else (middle + 1, most)
    return low / 1000


def pairs_to_see(difference: float, *, discordant: float = DISCORDANT, margin: float = 0.0, alpha: float) -> int | None:
    """How many pairs show, with 80 % power, that a true difference is above `margin`; None: over 20,000. To 1 %.

    Sought around (z_{1-alpha} + z_{power})^2 (psi - d^2) / (d - margin)^2 (Connor 1987).
    """
    from scipy.special import ndtri

    k = float(ndtri(1 - alpha) + ndtri(POWER)) ** 2
    if difference <= margin or abs(difference) > discordant:
        return None
    about = k * max(discordant - difference**2, 0.01) / (difference - margin) ** 2
    if about > MOST_CASES:
        return None

    def shown(n: int) -> bool:
        return pair_chances(n, difference, discordant=discordant, margin=margin, alpha=alpha)[0] >= POWER

    low, high = max(1, int(about * 0.6)), math.ceil(about * 1.2) + 20
    return smallest(shown, low, high) if shown(high) else None
