"""The same for grades and for groups of cases, where nothing is exact: a rung is made up, and its scores are tested.

Made-up scores have a fixed seed. Every try goes through the tests that decide: `settle`, `mean_p`, `paired_t`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.evaluate._statistics import MIN_GROUPS, Floats, Ints, grouped, mean_p
from luthier.evaluate._statistics_adequacy import settle
from luthier.evaluate._statistics_chances import Chances
from luthier.evaluate._statistics_paired import paired_t
from luthier.evaluate._statistics_power import POWER

ICC = 0.2  # correlation of cases of one source: a common size where several questions share a document
CONCENTRATION = 1.0  # of the beta distribution that grades follow: half of the variance of pass or fail
_STEPS = 7  # of halving


@dataclass(frozen=True)
class Tries:
    """How scores are made up: so many tries, with this seed, for cases in these groups, 0/1 or graded."""

    groups: tuple[str, ...]
    binary: bool
    count: int = 300
    seed: int = 0

    @property
    def error(self) -> float:
        """The largest standard error of a share of the tries."""
        return float(0.5 / np.sqrt(self.count))

    def settled(self, truth: float, *, bar: float, alpha: float) -> Chances:
        """How often `settle` says meets, and falls short."""
        found = [
            settle(scores.tolist(), self.groups, bar=bar, alpha=alpha, binary=self.binary).state
            for scores in self._scores(truth)
        ]
        return Chances(truth, found.count("meets") / len(found), found.count("falls short") / len(found))

    def better(self, difference: float, discordant: float, *, alpha: float) -> float:
        """How often a rung with that true difference is shown to be better, as `better_by` would show it."""
        if len(set(self.groups)) < MIN_GROUPS:
            return 0.0
        pairs = self._differences(difference, discordant)
        return float(np.mean([mean_p(grouped((d + 1) / 2, self.groups), 0.5) <= alpha for d in pairs]))

    def not_worse(self, difference: float, discordant: float, *, margin: float, alpha: float) -> tuple[float, float]:
        """How often a difference is shown to be above -`margin`, and to be below it."""
        found = [paired_t(d, self.groups, alpha) for d in self._differences(difference, discordant)]
        above = np.mean([f.usable and f.low >= -margin for f in found])
        return float(above), float(np.mean([f.usable and f.high < -margin for f in found]))

    def _scores(self, truth: float) -> Iterator[Floats]:
        """Scores of a rung with that true mean; in groups with the correlation `ICC`."""
        rng = np.random.default_rng(self.seed)
        index = self._index()
        for _ in range(self.count):
            means = self._group_means(rng, truth, index)
            if self.binary:
                yield (rng.random(len(index)) < means).astype(np.float64)
            else:
                yield _beta(rng, means, CONCENTRATION)

    def _differences(self, difference: float, discordant: float) -> Iterator[Floats]:
        """Paired differences: of a share of the cases, by 1 for pass or fail, and by anything up to 1 for grades."""
        rng = np.random.default_rng(self.seed)
        index = self._index()
        share = discordant if self.binary else 2 * discordant
        ahead = 0.5 + difference / discordant / 2
        for _ in range(self.count):
            apart = rng.random(len(index)) < self._group_means(rng, share, index)
            sign = np.where(rng.random(len(index)) < self._group_means(rng, ahead, index), 1.0, -1.0)
            size = np.ones(len(index)) if self.binary else rng.random(len(index))
            yield apart * sign * size

    def _index(self) -> Ints:
        return np.unique(np.asarray(self.groups), return_inverse=True)[1]

    def _group_means(self, rng: np.random.Generator, mean: float, index: Ints) -> Floats:
        count = int(index.max()) + 1
        if count == len(index):
            return np.full(len(index), mean)
        return np.asarray(_beta(rng, np.full(count, mean), (1 - ICC) / ICC)[index])


def _beta(rng: np.random.Generator, means: Floats, concentration: float) -> Floats:
    """Beta variates with these means; 0 and 1 where the mean is."""
    inside = np.clip(means, 1e-6, 1 - 1e-6)
    drawn = rng.beta(inside * concentration, (1 - inside) * concentration)
    return np.where(means >= 1, 1.0, np.where(means <= 0, 0.0, drawn))


def enlarged(groups: Sequence[str], times: float) -> tuple[str, ...]:
    """So many times the groups: further independent sources of the same sizes."""
    names = list(dict.fromkeys(groups))
    sizes = {name: 0 for name in names}
    for name in groups:
        sizes[name] += 1
    wanted = max(1, round(times * len(names)))
    return tuple(
        f"{place // len(names)} {names[place % len(names)]}"
        for place in range(wanted)
        for _ in range(sizes[names[place % len(names)]])
    )


def sources_to_show(groups: Sequence[str], chance: Callable[[tuple[str, ...]], float], most: float) -> int | None:
    """How many independent sources of these sizes give 80 % power; None: over `most` times as many. To 3 %.

    Args:
        groups: the source of every case that there is.
        chance: of what is to be shown, with the cases of these sources.
        most: how many times the sources are tried.
    """
    least = max(MIN_GROUPS / len(set(groups)), 1 / 16)
    times = least
    while times <= most and chance(enlarged(groups, times)) < POWER:
        times *= 2
    if times > most:
        return None
    low, high = times / 2, times
    while times > least and high / low > 1.03:
        middle = (low + high) / 2
        low, high = (low, middle) if chance(enlarged(groups, middle)) >= POWER else (middle, high)
    return round(high * len(set(groups)))


def least_difference_tried(tries: Tries, discordant: float, alpha: float) -> float | None:
    """The least true difference that is shown in 80 % of the tries, to 0.01; None where not even the largest is."""
    low, high = 0.0, discordant
    if tries.better(high, discordant, alpha=alpha) < POWER:
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if tries.better(middle, discordant, alpha=alpha) >= POWER else (middle, high)
    return high
