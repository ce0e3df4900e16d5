"""The same where a judge scores: what labels of people have to add before its scores show anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from luthier.decide._judged_standing import RUNG_LABELS as LEAST_LABELS
from luthier.decide._power_outlooks import DIFFERENCES, JudgeOutlook, Outlook, PairOutlook, truths
from luthier.decide._power_tries import SEARCH_TRIES, SEED, TRIES, Tried
from luthier.evaluate import POWER, JudgedTries, least_difference_tried

USUAL_J, JUDGES = 0.7, (0.9, 0.7, 0.5)  # a judge of the middle, and the range down to where one is refused
CLEARLY = 0.1  # how far above the bar a rung is, of which better and worse judges are told


@dataclass(frozen=True)
class Judged(Tried):
    """A judge's scores, corrected by labels of people: what is short are labels, so these are what is counted."""

    labels: int
    j: float = USUAL_J

    @property
    def unit(self) -> str:
        return "labels"

    @property
    def assumed(self) -> tuple[str, ...]:
        judge = (
            f"the judge agrees with people with J = {self.j:g} on every rung, and {self.labels} random answers of each"
        )
        return (*super().assumed, f"{judge} are labelled, of the same cases")

    def outlook(self, truth: float) -> Outlook:
        bar = self.rules.bar or 1.0
        found = self._with(self.labels).settled(truth, bar=bar, alpha=self.alpha)
        return Outlook(truth, found.meets, found.falls_short, self._labels_to_settle(truth, bar))

    def pair(self, discordant: float) -> PairOutlook:
        margin, tries = self.rules.margin, self._with(self.labels)
        totals = {f"{d:g}": self._labels_to_see(d, discordant) for d in DIFFERENCES}
        detectable = least_difference_tried(tries, discordant, self.alpha)
        if self.rules.bar is not None:
            return PairOutlook(discordant, detectable, totals, None, None)
        same = {"margin": margin, "alpha": self.alpha}
        chance = tries.not_worse(0.0, discordant, **same)[0]
        total = self._labels_for(lambda t: t.not_worse(0.0, discordant, **same)[0])
        return PairOutlook(discordant, detectable, totals, chance, total)

    def judges(self) -> tuple[JudgeOutlook, ...]:
        """What a better and a worse judge would change for a rung that is clearly above the bar."""
        if self.rules.bar is None or self.rules.bar >= 1:
            return ()
        truth = next((t for t in truths(self.rules.bar) if t >= self.rules.bar + CLEARLY - 1e-9), 1.0)
        return tuple(self._judge(j, truth, self.rules.bar) for j in JUDGES)

    def _judge(self, j: float, truth: float, bar: float) -> JudgeOutlook:
        other = replace(self, j=j)
        meets = other._with(self.labels).settled(truth, bar=bar, alpha=self.alpha).meets
        return JudgeOutlook(j, truth, meets, other._labels_to_settle(truth, bar))

    def _labels_to_see(self, difference: float, discordant: float) -> int | None:
        if difference > discordant:
            return None
        return self._labels_for(lambda tries: tries.better(difference, discordant, alpha=self.alpha))

    def _labels_to_settle(self, truth: float, bar: float) -> int | None:
        if bar in (truth, 1.0):
            return None

        def chance(tries: JudgedTries) -> float:
            found = tries.settled(truth, bar=bar, alpha=self.alpha)
            return found.meets if truth > bar else found.falls_short

        return self._labels_for(chance)

    def _labels_for(self, chance: Callable[[JudgedTries], float]) -> int | None:
        """The least number of labels of each rung, to 10, with which a chance reaches 80 %; None: not even with all."""
        cases = len(self.groups)
        numbers: list[int] = [*range(LEAST_LABELS, cases, 10), cases]
        if cases < LEAST_LABELS or chance(self._with(cases, SEARCH_TRIES)) < POWER:
            return None
        low, high = -1, len(numbers) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if chance(self._with(numbers[middle], SEARCH_TRIES)) >= POWER else (middle, high)
        return numbers[high]

    def _with(self, labels: int, count: int = TRIES) -> JudgedTries:
        return JudgedTries(self.groups, self.binary, count=count, seed=SEED, labels=labels, j=self.j)
