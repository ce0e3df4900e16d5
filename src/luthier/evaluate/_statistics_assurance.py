"""How many more cases would settle an open question?

Assurance (O'Hagan, Stevens & Campbell 2005): the chance of a conclusive test, averaged over what the data leave
possible, instead of the power at the observed mean, which is too hopeful half of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from luthier.evaluate._statistics import MIN_GROUPS, Floats, grouped, is_clustered

MIN_CASES = 20  # fewer show nothing, except a certificate without any failure
FINAL_SHARE = 0.8  # of the error budget: what the test at the last case has (see `settle`)
ASSURANCE = 0.8
HOPELESS = 0.2
_NODES = (np.arange(200) + 0.5) / 200


def more_cases(
    scores: Sequence[float], groups: Sequence[str], *, bar: float, alpha: float, binary: bool
) -> tuple[int | None, str]:
    """How many more cases would show, with 80 % assurance, that an open rung is good enough, if it is; and a note.

    None where no number helps: the note says why. `alpha` is the rung's whole error budget; the rest as in `settle`.
    """
    n, sources = len(scores), len(set(groups))
    if bar == 1.0:
        return None, "no number of cases can show a mean of 1; set the bar below 1"
    if n < len(groups):
        return len(groups) - n, f"{n} of {len(groups)} cases are answered"
    floor, note = 0, ""
    if sources < MIN_GROUPS:
        floor = math.ceil((MIN_GROUPS - sources) * n / sources)
        note = f"needs cases from at least {MIN_GROUPS} independent sources; it has {sources}"
    elif n < MIN_CASES:
        floor, note = MIN_CASES - n, f"fewer than {MIN_CASES} cases show nothing but a flawless record"
    cap = max(5 * n, 300)
    if binary and not is_clustered(groups):
        chance, total = binary_total(round(sum(scores)), n, bar, FINAL_SHARE * alpha, n + cap)
    else:
        units = grouped(scores, groups)
        spread = pseudo_spread(units.weights, units.means, units.mean)
        least = math.log(FINAL_SHARE * alpha) / math.log(bar)  # so many flawless groups it takes at the very least
        chance, found = normal_total(units.mean - bar, spread, sources, FINAL_SHARE * alpha, (n + cap) * sources / n)
        total = None if found is None else math.ceil(max(found, least) * n / sources)
        if is_clustered(groups) and not note:
            note = "count new independent sources, not more cases of the same ones"
    if chance < HOPELESS:
        return None, f"more cases will not rescue it: the chance that it is good enough is {chance:.0%}"
    if total is None or total - n > cap:
        if sources < MIN_GROUPS:  # so few say nothing of how far from the bar it is
            return None, note
        return None, f"practically at the bar: more than {cap} more cases would be needed to tell"
    return max(total - n, floor, 1), note


def more_pairs(
    differences: Sequence[float], groups: Sequence[str], *, margin: float, alpha: float
) -> tuple[int | None, str]:
    """How many more cases would show, with 80 % assurance, that a paired difference is above -`margin`; and a note."""
    n, sources = len(differences), len(set(groups))
    units = grouped((np.asarray(differences) + 1) / 2, groups)
    spread = 2 * pseudo_spread(units.weights, units.means, units.mean)
    ahead = 2 * units.mean - 1 + margin
    cap = max(5 * n, 300)
    chance, total = normal_total(ahead, spread, sources, alpha, (n + cap) * sources / n)
    if chance < HOPELESS:
        return None, f"more cases will not rescue it: the chance that it is within the margin is {chance:.0%}"
    if total is None:
        if sources < MIN_GROUPS:
            return None, f"needs cases from at least {MIN_GROUPS} independent sources; it has {sources}"
        return None, f"practically at the margin: more than {cap} more cases would be needed to tell"
    return max(1, math.ceil(total * n / sources) - n), ""


def binary_total(successes: int, n: int, bar: float, alpha: float, most: int) -> tuple[float, int | None]:
    """Chance that the proportion is above the bar, and the total of cases with 80 % assurance (None: over `most`).

    Draws are the quantiles of the posterior Beta(s + 1/2, f + 1/2) above the bar; the test is the exact binomial one.
    """
    from scipy.special import betainc, betaincc, betainccinv

    a, b = successes + 0.5, n - successes + 0.5
    chance = float(betaincc(a, b, bar))
    if chance < HOPELESS:
        return chance, None
    draws = betainccinv(a, b, chance * _NODES)

    def assured(total: int) -> bool:
        wins = np.arange(1, total + 1)
        enough = wins[betainc(wins, total - wins + 1, bar) <= alpha]
        if not len(enough):
            return False
        return float(betainc(enough[0], total - enough[0] + 1, draws).mean()) >= ASSURANCE

    return chance, _smallest(assured, n + 1, most)


def normal_total(ahead: float, spread: float, n: int, alpha: float, most: float) -> tuple[float, int | None]:
    """The same for a mean that lies `ahead` of what is to be shown, with standard deviation `spread` per unit.

    Draws are quantiles of the normal posterior above 0; the test is the normal one. Units are independent groups.
    """
    from scipy.special import ndtr, ndtri

    error = spread / math.sqrt(n)
    chance = float(ndtr(ahead / error))
    if chance < HOPELESS:
        return chance, None
    draws = ahead - error * ndtri(chance * _NODES)
    z = float(ndtri(alpha))

    def assured(total: int) -> bool:
        return float(ndtr(z + draws * math.sqrt(total) / spread).mean()) >= ASSURANCE

    return chance, _smallest(assured, n + 1, int(most))


def pseudo_spread(weights: Floats, values: Floats, mean: float) -> float:
    """Standard deviation per unit of a weighted mean, with half an observation at 0 and half at 1, so never 0."""
    deviations = weights * (values - mean) / weights.mean()
    total = float(deviations @ deviations) + (mean**2 + (1 - mean) ** 2) / 2
    return math.sqrt(total / len(values))


def _smallest(assured: Callable[[int], bool], first: int, most: int) -> int | None:
    """The smallest total that is assured, to 2 %; None when none up to `most` is."""
    total = first
    while total <= most:
        if assured(total):
            return total
        total = max(total + 1, math.ceil(total * 1.02))
    return None
