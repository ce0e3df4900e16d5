"""The same where a judge scores and people label some of the answers: made-up scores, a made-up judge, real tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from luthier.evaluate._statistics import Floats
from luthier.evaluate._statistics_chances import Chances
from luthier.evaluate._statistics_judged import Corrected, corrected_difference, corrected_mean
from luthier.evaluate._statistics_tries import Tries


@dataclass(frozen=True)
class JudgedTries(Tries):
    """Tries of which `labels` random cases are labelled by people; the judge says the same on a share `j` of all.

    On the others it says what has nothing to do with the answer: a coin for pass or fail, another case's grade
    otherwise. For pass or fail that share is Youden's J. Every try goes through `corrected_mean` and
    `corrected_difference`, as what a judge really scored does.
    """

    labels: int = 30
    j: float = 0.7

    def with_labels(self, labels: int) -> JudgedTries:
        """The same with another number of labels."""
        return replace(self, labels=min(labels, len(self.groups)))

    def settled(self, truth: float, *, bar: float, alpha: float) -> Chances:
        """How often the corrected mean is shown to meet a bar, and to fall short of it."""
        rng = np.random.default_rng([self.seed, 1])
        found = [self._mean(rng, scores).bounds(alpha) for scores in self._scores(truth)]
        meets, falls = (float(np.mean(side)) for side in zip(*((lo >= bar, up < bar) for lo, up in found), strict=True))
        return Chances(truth, meets, falls)

    def better(self, difference: float, discordant: float, *, alpha: float) -> float:
        """How often a rung with that true difference is shown to be better."""
        return float(np.mean([found.bounds(alpha)[0] > 0 for found in self._pairs(difference, discordant)]))

    def not_worse(self, difference: float, discordant: float, *, margin: float, alpha: float) -> tuple[float, float]:
        """How often a difference is shown to be above -`margin`, and to be below it."""
        found = [pair.bounds(alpha) for pair in self._pairs(difference, discordant)]
        above, below = np.mean([low >= -margin for low, _ in found]), np.mean([high < -margin for _, high in found])
        return float(above), float(below)

    def _mean(self, rng: np.random.Generator, scores: Floats) -> Corrected:
        return corrected_mean(self._said(rng, scores).tolist(), self._labelled(rng, scores), self.groups)

    def _pairs(self, difference: float, discordant: float) -> Iterator[Corrected]:
        """Two rungs with such differences; where they do not differ, both are good or both bad, as often."""
        rng = np.random.default_rng([self.seed, 2])
        for apart in self._differences(difference, discordant):
            base = rng.integers(0, 2, len(apart)) if self.binary else rng.random(len(apart))
            a = np.clip(np.where(apart == 0, base, np.maximum(apart, 0)), 0, 1)
            b = a - apart
            human = self._labelled(rng, a)
            said = (self._said(rng, a).tolist(), self._said(rng, b).tolist())
            yield corrected_difference(*said, human, {case: float(b[case]) for case in human}, self.groups)

    def _said(self, rng: np.random.Generator, scores: Floats) -> Floats:
        chance = rng.integers(0, 2, len(scores)) if self.binary else rng.permutation(scores)
        return np.where(rng.random(len(scores)) < self.j, scores, chance).astype(np.float64)

    def _labelled(self, rng: np.random.Generator, scores: Floats) -> Mapping[int, float]:
        chosen = rng.permutation(len(scores))[: self.labels]
        return {int(case): float(scores[case]) for case in chosen}
