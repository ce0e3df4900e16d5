"""How probably the answer of a row is another row's, judged by how it fits its input beside others that are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating[Any]]
Numbers = NDArray[np.integer[Any]]

ROUNDS = 30  # of the additive fit; it settles in fewer than ten
FEW = 0.5  # added to the count of an answer's trials: a few of them say little of how likely it is anyway
LEAST_SPREAD = 0.05  # nats a token: less tells nothing of two answers
POINTS, REACH = 300, 3.0  # of the advantages that are integrated over; how far beyond the largest fit they go
LEAST_SHAPE = 2.0  # of the gamma distribution of advantages
HALF_95 = 1.9207  # half of the 95 % point of chi-squared with one degree of freedom
RIGHT = 0.2  # share of the listed rows that may be right, as expected
SKILL = 0.75  # below, whose answer is whose cannot be told, and nothing can be said of single rows
PROBABLE = 0.5  # posterior probability of each listed row, at least

_NORMAL = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True, eq=False)
class Doubts:
    """What is doubtful in the answers of n rows.

    `fits` [n]: how much better the own answer does under its prompt than others do, beyond what is usual for the
    prompt and for the answer, in standard deviations of others; `wrong` [n]: posterior probability that it was drawn
    from the other rows; `rate`: estimated share of such answers, with its 95 % interval `low` to `high` (profile
    likelihood); `skill`: probability that an own answer fits better than another row's (area under the ROC curve);
    `listed`: rows to look at, the worst first.
    """

    fits: Vector
    wrong: Vector
    rate: float
    low: float
    high: float
    skill: float
    listed: tuple[int, ...]


def doubts(own: Sequence[float], tried: Sequence[Sequence[float]], others: Sequence[Sequence[int]]) -> Doubts:
    """Judge answers by their scores under their prompts.

    A score is taken as the effect of its prompt, that of its answer, and how well the two fit; the first two are
    fitted to the answers of other rows by least squares. How other rows' answers fit tells how a wrong one would: the
    own answers are a mixture of that distribution, which is known, and of one of right answers, which is fitted (two
    groups with a measured null; Efron 2008). Rows are listed that are more probably wrong than right, as long as at
    most a fifth of the list is expected to be right (Newton et al. 2004); none where the data are as well explained
    without any wrong answer, or where the own answers fit hardly better than others.

    Args:
        own: score of each row's answer, [n].
        tried: scores of other rows' answers under each row's prompt; two or more for each.
        others: which rows those answers are of.
    """
    prompts = np.repeat(np.arange(len(own)), [len(row) for row in tried])
    answers = np.concatenate([np.asarray(row, dtype=np.int64) for row in others])
    scores = np.concatenate([np.asarray(row, dtype=np.float64) for row in tried])
    fits, wrong_fits = _fits(np.asarray(own, dtype=np.float64), scores, prompts, answers)
    middle, spread = _lower_half(wrong_fits)
    fits, wrong_fits = (fits - middle) / spread, (wrong_fits - middle) / spread
    skill = float((np.searchsorted(np.sort(wrong_fits), fits) / len(wrong_fits)).mean())
    mixture = _Mixture(fits)
    best = mixture.fitted()
    low, high = mixture.interval(best)
    wrong = mixture.posterior(best)
    listed = _listed(wrong, fits) if low > 0 and skill >= SKILL else ()
    return Doubts(fits, wrong, best.rate, low, high, skill, listed)


def _lower_half(values: Vector) -> tuple[float, float]:
    """Median, and the spread below it: some of other rows' answers do fit, and make the upper half a long one."""
    middle = float(np.median(values))
    spread = float(np.sqrt(np.mean((values[values <= middle] - middle) ** 2)))
    return middle, max(spread, LEAST_SPREAD)


def _fits(own: Vector, scores: Vector, prompts: Numbers, answers: Numbers) -> tuple[Vector, Vector]:
    """What is left of the own scores and of the others without the effects of prompt and answer.

    Neither effect has seen the score that it is taken off.
    """
    size = len(own)
    rows, columns = np.bincount(prompts, minlength=size), np.bincount(answers, minlength=size)
    of_prompt = np.bincount(prompts, scores, size) / rows
    of_answer = np.zeros(size)
    for _ in range(ROUNDS):
        of_answer = np.bincount(answers, scores - of_prompt[prompts], size) / (columns + FEW)
        of_prompt = np.bincount(prompts, scores - of_answer[answers], size) / rows
    without_prompt, without_answer = scores - of_prompt[prompts], scores - of_answer[answers]
    answer_sums = np.bincount(answers, without_prompt, size)[answers] - without_prompt
    prompt_sums = np.bincount(prompts, without_answer, size)[prompts] - without_answer
    others_answer = answer_sums / (columns[answers] - 1 + FEW)
    others_prompt = prompt_sums / (rows[prompts] - 1)
    return own - of_prompt - of_answer, scores - others_prompt - others_answer


@dataclass(frozen=True)
class _Groups:
    """Two groups of fits: a share `rate` of wrong answers, and right ones, whose advantage is gamma distributed."""

    rate: float
    shape: float
    scale: float
    log_likelihood: float


class _Mixture:
    """Fits as advantage plus noise, which is standard normal: a wrong answer has none, a right one more than none.

    However far right answers reach up, that tells nothing of how many have next to no advantage: the density of a gamma
    distribution with a shape of at least 2 goes to zero there.

    Args:
        fits: [n]; those below 0 count as being there at all: what fits worse than wrong answers usually do is no
            righter for it.
    """

    def __init__(self, fits: Vector) -> None:
        from scipy.special import log_ndtr

        self._advantages = (np.arange(POINTS) + 0.5) * ((max(float(fits.max()), 1.0) + REACH) / POINTS)
        below = (fits <= 0)[:, None]
        noise = -0.5 * (fits[:, None] - self._advantages) ** 2 - _NORMAL
        self._noise = np.exp(np.where(below, log_ndtr(-self._advantages), noise))
        self.wrong = np.where(fits <= 0, 0.5, np.exp(-0.5 * fits**2 - _NORMAL))
        self._mean = max(float(np.median(fits)), 0.5)

    def right(self, shape: float, scale: float) -> Vector:
        """Density of right answers at each fit."""
        logs = (shape - 1) * np.log(self._advantages) - self._advantages / scale
        weights = np.exp(logs - logs.max())
        found: Vector = self._noise @ (weights / weights.sum())
        return found

    def fitted(self, rate: float | None = None) -> _Groups:
        """The groups of maximum likelihood, at a given rate or at the best one; the best of several starts."""
        from scipy.optimize import minimize
        from scipy.special import expit, logit

        def groups(point: Vector) -> tuple[float, float, float]:
            shape = LEAST_SHAPE + float(np.exp(point[0]))
            return float(expit(point[2])) if rate is None else rate, shape, float(np.exp(point[1])) / shape

        def loss(point: Vector) -> float:
            share, shape, scale = groups(point)
            return -float(np.log(share * self.wrong + (1 - share) * self.right(shape, scale) + 1e-300).sum())

        found = []
        for share, shape in product((0.02, 0.2) if rate is None else (rate,), (3.0, 15.0)):
            first = [float(np.log(shape - LEAST_SHAPE)), float(np.log(self._mean))]
            point = [*first, float(logit(share))] if rate is None else first
            bounds = [(-5, 5), (np.log(0.3), np.log(self._advantages[-1])), (-12, 6)][: len(point)]
            best = minimize(loss, point, method="Nelder-Mead", bounds=bounds, options={"maxiter": 400, "xatol": 1e-3})
            found.append(_Groups(*groups(best.x), -float(best.fun)))
        return max(found, key=lambda one: one.log_likelihood)

    def interval(self, best: _Groups) -> tuple[float, float]:
        """Shares of wrong answers that the fits do not speak against, at 95 % (profile likelihood)."""
        least = best.log_likelihood - HALF_95

        def bound(end: float) -> float:
            inside, outside = best.rate, end
            if self.fitted(end).log_likelihood >= least:
                return end
            for _ in range(9):
                middle = (inside + outside) / 2
                if self.fitted(middle).log_likelihood >= least:
                    inside = middle
                else:
                    outside = middle
            return inside

        return bound(0.0), bound(1.0)

    def posterior(self, groups: _Groups) -> Vector:
        """Probability that each answer is wrong."""
        wrong = groups.rate * self.wrong
        probability: Vector = wrong / (wrong + (1 - groups.rate) * self.right(groups.shape, groups.scale) + 1e-300)
        return probability


def _listed(wrong: Vector, fits: Vector) -> tuple[int, ...]:
    """The longest list of the worst rows, each more probably wrong than right, and a fifth of all right at most."""
    order = np.lexsort((fits, -wrong))
    right = np.cumsum(1 - wrong[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero((right <= RIGHT) & (wrong[order] >= PROBABLE))
    return tuple(int(i) for i in order[: within[-1] + 1]) if len(within) else ()
