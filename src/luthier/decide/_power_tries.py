"""How chances are reckoned: exactly for pass or fail, and on made-up scores for grades and groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from luthier.decide._evidence import Rules
from luthier.decide._power_outlooks import DIFFERENCES, Outlook, PairOutlook
from luthier.evaluate import (
    ICC,
    Chances,
    Tries,
    cases_to_settle,
    is_clustered,
    least_difference,
    least_difference_tried,
    pair_chances,
    pairs_to_see,
    settled_chances,
    sources_to_show,
)

MOST_TIMES = 8.0  # as many sources as there are, sought where it is tried out
TRIES, SEARCH_TRIES, SEED = 300, 100, 0


@dataclass(frozen=True)
class Exact:
    """Pass or fail, every case a source of its own."""

    rules: Rules
    groups: tuple[str, ...]
    rungs: int
    assumed: tuple[str, ...] = ()
    error: float = 0.0
    unit: str = "cases"

    @property
    def alpha(self) -> float:
        return self.rules.alpha / self.rungs

    def outlook(self, truth: float) -> Outlook:
        bar = self.rules.bar or 1.0
        found = settled_chances(len(self.groups), truth, bar=bar, alpha=self.alpha)
        return Outlook(truth, found.meets, found.falls_short, cases_to_settle(truth, bar=bar, alpha=self.alpha))

    def pair(self, discordant: float) -> PairOutlook:
        n, margin = len(self.groups), self.rules.margin
        at = {"discordant": discordant, "alpha": self.alpha}
        with_margin = self.rules.bar is None
        return PairOutlook(
            discordant,
            least_difference(n, **at),
            {f"{d:g}": pairs_to_see(d, **at) for d in DIFFERENCES},
            pair_chances(n, 0.0, margin=-margin, **at)[0] if with_margin else None,
            pairs_to_see(0.0, margin=-margin, **at) if with_margin else None,
        )


@dataclass(frozen=True)
class Tried:
    """Grades, or several cases of one source."""

    rules: Rules
    groups: tuple[str, ...]
    rungs: int
    binary: bool

    @property
    def alpha(self) -> float:
        return self.rules.alpha / self.rungs

    @property
    def unit(self) -> str:
        return "sources" if is_clustered(self.groups) else "cases"

    @property
    def error(self) -> float:
        return self._tries(self.groups).error

    @property
    def assumed(self) -> tuple[str, ...]:
        said = []
        if not self.binary:
            said.append("grades spread half as much as pass or fail of the same mean, as they have not been seen yet")
            said.append("two rungs differ on twice that share of the cases, each time by anything up to 1")
        if is_clustered(self.groups):
            said.append(f"cases of one source are alike with a correlation of {ICC:g}")
        return tuple(said)

    def outlook(self, truth: float) -> Outlook:
        bar = self.rules.bar or 1.0
        found = self._settled(self.groups, truth, bar)
        if truth == bar or bar == 1.0:
            return Outlook(truth, found.meets, found.falls_short, None)

        def chance(groups: tuple[str, ...]) -> float:
            chances = self._settled(groups, truth, bar)
            return chances.meets if truth > bar else chances.falls_short

        return Outlook(truth, found.meets, found.falls_short, sources_to_show(self.groups, chance, MOST_TIMES))

    def pair(self, discordant: float) -> PairOutlook:
        detectable = least_difference_tried(self._tries(self.groups), discordant, self.alpha)
        totals = {f"{d:g}": self._sources_to_see(d, discordant) for d in DIFFERENCES}
        if self.rules.bar is not None:
            return PairOutlook(discordant, detectable, totals, None, None)
        not_worse = partial(self._not_worse, discordant=discordant)
        total = sources_to_show(self.groups, not_worse, MOST_TIMES)
        return PairOutlook(discordant, detectable, totals, not_worse(self.groups), total)

    def _sources_to_see(self, difference: float, discordant: float) -> int | None:
        def chance(groups: tuple[str, ...]) -> float:
            return self._tries(groups).better(difference, discordant, alpha=self.alpha)

        return sources_to_show(self.groups, chance, MOST_TIMES) if difference <= discordant else None

    def _settled(self, groups: tuple[str, ...], truth: float, bar: float) -> Chances:
        return self._tries(groups).settled(truth, bar=bar, alpha=self.alpha)

    def _not_worse(self, groups: tuple[str, ...], discordant: float) -> float:
        return self._tries(groups).not_worse(0.0, discordant, margin=self.rules.margin, alpha=self.alpha)[0]

    def _tries(self, groups: tuple[str, ...]) -> Tries:
        count = TRIES if groups == self.groups else SEARCH_TRIES
        return Tries(groups, self.binary, count=count, seed=SEED)
