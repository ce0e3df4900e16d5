"""What the test cases can show, before a model is asked: for each true score, how probable each answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from luthier.decide._evidence import Rules
from luthier.decide._power_words import sentences
from luthier.errors import EvidenceError
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

BELOW, ABOVE = (0.20, 0.10, 0.05), (0.02, 0.05, 0.10, 0.15)  # true means are looked at that far from the bar
DISCORDANCE = (0.1, 0.2, 0.3)  # shares of cases that only one of two rungs passes
DIFFERENCES = (0.05, 0.10)  # between two rungs, that a team would want to see
MOST_TIMES = 8.0  # as many sources as there are, sought where it is tried out
TRIES, SEARCH_TRIES, SEED = 300, 100, 0


@dataclass(frozen=True)
class Outlook:
    """A rung of that true mean: how probable it is that it is shown to meet and to fall short; the rest stays open.

    `total` cases (independent sources, where they bind) would settle it rightly with 80 % power; None where
    no number that was tried does, or where the mean is the bar itself.
    """

    truth: float
    meets: float
    falls_short: float
    total: int | None


@dataclass(frozen=True)
class PairOutlook:
    """Two rungs that differ in answer on a share `discordant` of the cases.

    `detectable` is the least true difference shown with 80 % power. `totals` are the cases (sources) that show each of
    `DIFFERENCES`. `not_worse` is the probability that a rung as good as the best is shown to be within the margin, and
    `not_worse_total` what would make that 80 %; None where the yardstick is a bar.
    """

    discordant: float
    detectable: float | None
    totals: dict[str, int | None]
    not_worse: float | None
    not_worse_total: int | None


@dataclass(frozen=True)
class Power:
    """What `cases` test cases from `sources` independent sources can show under rules that are fixed.

    `unit` says what `total` counts. `alpha_each` is what every one of the planned `rungs` has of `alpha`. `how` says
    whether chances are exact or tried out, `assumed` what was made up for that, `summary` is all of it in sentences.
    """

    cases: int
    sources: int
    binary: bool
    unit: str
    bar: float | None
    margin: float
    alpha: float
    alpha_each: float
    rungs: tuple[str, ...]
    outlooks: tuple[Outlook, ...]
    pairs: tuple[PairOutlook, ...]
    how: str
    assumed: tuple[str, ...]
    summary: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def power_of(rules: Rules, groups: Sequence[str], *, binary: bool, rungs: Sequence[str]) -> Power:
    """What test cases can show, from their number, their sources and the rules alone.

    Pass or fail without groups: exact, by the binomial distribution, through the same looks as `decide`. Grades and
    groups: the tests of `decide` on made-up scores, with a fixed seed.

    Args:
        rules: bar or margin, and the error budget.
        groups: the independent source of every test case.
        binary: whether scores are 0 or 1.
        rungs: the planned ones, which share the error budget.

    Raises:
        EvidenceError: no cases, no rungs, or a bar that every rung meets.
    """
    if not groups or not rungs:
        raise EvidenceError(
            f"there are no {'rungs' if groups else 'test cases'} to say anything about", fix="luthier check"
        )
    if rules.bar is not None and rules.bar <= 0:
        what = f"a bar of {rules.bar:g} is met by any answer, so there is nothing to show"
        raise EvidenceError(what, fix="set bar: in luthier.yaml to the mean score that is good enough, such as 0.9")
    exact = binary and not is_clustered(groups)
    planner = _Exact(rules, tuple(groups), len(rungs)) if exact else _Tried(rules, tuple(groups), len(rungs), binary)
    sources = len(set(groups))
    power = Power(
        cases=len(groups),
        sources=sources,
        binary=binary,
        unit="sources" if is_clustered(groups) else "cases",
        bar=rules.bar,
        margin=rules.margin,
        alpha=rules.alpha,
        alpha_each=rules.alpha / len(rungs),
        rungs=tuple(rungs),
        outlooks=() if rules.bar is None else tuple(map(planner.outlook, truths(rules.bar))),
        pairs=tuple(map(planner.pair, DISCORDANCE)),
        how="exact" if exact else f"{TRIES} tries each, seed {SEED}: right to {2 * planner.error:.2f}",
        assumed=planner.assumed,
    )
    return Power(**{**vars(power), "summary": sentences(power)})


def truths(bar: float) -> tuple[float, ...]:
    """True means on both sides of a bar, and the bar itself, lowest first."""
    below = [bar - step for step in BELOW if bar - step > 0]
    above = [bar + step for step in ABOVE if bar + step < 1]
    near_one = [(1 + bar) / 2] if not above and bar < 1 else []
    return tuple(round(value, 4) for value in (*below, bar, *above, *near_one, *([1.0] if bar < 1 else [])))


@dataclass(frozen=True)
class _Exact:
    """Pass or fail, every case a source of its own."""

    rules: Rules
    groups: tuple[str, ...]
    rungs: int
    assumed: tuple[str, ...] = ()
    error: float = 0.0

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
class _Tried:
    """Grades, or several cases of one source."""

    rules: Rules
    groups: tuple[str, ...]
    rungs: int
    binary: bool

    @property
    def alpha(self) -> float:
        return self.rules.alpha / self.rungs

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
