"""What a difference in cost hangs on: each input halved and doubled, all drawn at random, and where it turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from luthier.decide._bill import Amount, Factor, Ledger, Outlay, bill
from luthier.decide._costs import Draws, Effect

FACTORS: tuple[Factor, ...] = get_args(Factor)
DRAWS, SEED = 2000, 20260131
# Standard deviations of the natural logarithm: own judgement of how well a team knows these figures beforehand.
SIGMA: Mapping[Factor, float] = {
    "volume": 0.5,
    "token prices": 0.3,
    "machine price": 0.3,
    "hosting": 0.3,
    "hourly wage": 0.3,
    "labelling": 0.3,
    "training time": 0.3,
    "re-tune hours": 0.3,
    "update hours": 0.3,
    "index hours": 0.3,
    "value per error": 0.3,
}


def difference(a: Outlay, b: Outlay, ledger: Ledger, factors: Mapping[Factor, Amount] | None = None) -> Amount:
    """US dollars that `b` costs more than `a` over the horizon."""
    return bill(b, ledger, factors).total() - bill(a, ledger, factors).total()


def tornado(a: Outlay, b: Outlay, ledger: Ledger) -> tuple[Effect, ...]:
    """The difference with each input halved and doubled, widest first; inputs that do not matter are left out."""
    effects = [
        Effect(
            name,
            float(difference(a, b, ledger, {name: 0.5})),
            float(difference(a, b, ledger, {name: 2.0})),
        )
        for name in FACTORS
    ]
    largest = max(abs(float(difference(a, b, ledger))), *(effect.width for effect in effects))
    return tuple(sorted((e for e in effects if e.width > 1e-9 * largest), key=lambda e: -e.width))


def turning_factor(a: Outlay, b: Outlay, ledger: Ledger, name: Factor) -> float | None:
    """What an input has to be multiplied by for both to cost the same; None where no positive factor does it.

    The difference is linear in every factor but the cached share, so that two points fix it.
    """
    at_0, at_1 = (float(difference(a, b, ledger, {name: factor})) for factor in (0.0, 1.0))
    slope = at_1 - at_0
    found = -at_0 / slope if abs(slope) > 1e-9 * max(abs(at_0), abs(at_1)) else 0.0
    return found if found > 0 else None


def simulate(
    adequate: Sequence[Outlay],
    pair: tuple[Outlay, Outlay] | None,
    ledger: Ledger,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    spread: float = 1.0,
) -> Draws:
    """Draw the inputs from lognormal distributions around what was given, each by itself, the same for all rungs.

    The difference is linear in each factor and factors are independent, so that its mean given one factor is linear in
    it: the squared correlation is the first-order share of variance (Sobol 1993; Saltelli et al. 2010).

    Args:
        adequate: rungs of which the cheapest is counted, in the order of the ladder, which settles a tie.
        pair: the recommended rung and the next one.
        spread: multiplies every standard deviation; 0 gives the point estimate in each draw.
    """
    rng = np.random.default_rng(seed)
    factors: dict[Factor, Amount] = {
        name: np.exp(spread * sigma * rng.standard_normal(draws)) for name, sigma in SIGMA.items()
    }
    cheapest: dict[str, float] = {}
    if adequate:
        totals = np.stack([np.broadcast_to(bill(o, ledger, factors).total(), draws) for o in adequate])
        counts = np.bincount(np.argmin(totals, axis=0), minlength=len(adequate))
        cheapest = {o.rung: int(count) / draws for o, count in zip(adequate, counts, strict=True)}
    if pair is None:
        return Draws(draws, seed, cheapest, None, None, None, None, None, None)
    found = np.broadcast_to(np.asarray(difference(*pair, ledger, factors)), draws)
    low, middle, high = (float(q) for q in np.quantile(found, (0.05, 0.5, 0.95)))
    main, share = _main(found, factors)
    return Draws(draws, seed, cheapest, float(np.mean(found > 0)), low, middle, high, main, share)


def _main(found: np.ndarray, factors: Mapping[Factor, Amount]) -> tuple[str | None, float | None]:
    """The input with the largest first-order share of the variance."""
    if np.ptp(found) <= 1e-12 * np.max(np.abs(found), initial=0.0):
        return None, None
    shares = {name: float(np.corrcoef(found, values)[0, 1] ** 2) for name, values in factors.items()}
    main = max(shares, key=lambda name: shares[name])
    return main, shares[main]
