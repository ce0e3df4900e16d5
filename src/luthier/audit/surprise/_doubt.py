"""How probably the answer of a row is another row's, judged by how it fits its input beside others that are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating[Any]]
Numbers = NDArray[np.integer[Any]]

ROUNDS = 30  # of the additive fit; it settles in fewer than ten
FEW = 0.5  # added to the count of an answer's trials: a few of them say little of how likely it is anyway
LEAST_SPREAD = 0.05  # nats a token: less tells nothing of two answers
NARROW = 0.3  # of the spread of wrong answers, below which that of right ones is not believed
HALF_95 = 1.9207  # half of the 95 % point of chi-squared with one degree of freedom
RIGHT = 0.2  # share of the listed rows that may be right, as expected
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
    own answers are a mixture of that distribution, which is known, and of one of right answers, which is fitted
    (two groups with a measured null; Efron 2008). Rows are listed that are more probably wrong than right, as long as
    at most a fifth of the list is expected to be right (Newton et al. 2004); none where no share at all is as likely.

    Args:
        own: score of each row's answer, [n].
        tried: scores of other rows' answers under each row's prompt; two or more for each.
        others: which rows those answers are of.
    """
    prompts = np.repeat(np.arange(len(own)), [len(row) for row in tried])
    answers = np.concatenate([np.asarray(row, dtype=np.int64) for row in others])
    scores = np.concatenate([np.asarray(row, dtype=np.float64) for row in tried])
    fits, wrong_fits = _fits(np.asarray(own, dtype=np.float64), scores, prompts, answers)
    middle, spread = float(wrong_fits.mean()), max(float(wrong_fits.std()), LEAST_SPREAD)
    fits, wrong_fits = (fits - middle) / spread, (wrong_fits - middle) / spread
    skill = float((np.searchsorted(np.sort(wrong_fits), fits) / len(wrong_fits)).mean())
    best = _fitted(fits)
    low, high = _interval(fits, best)
    wrong = _posterior(fits, best)
    return Doubts(fits, wrong, best.rate, low, high, skill, _listed(wrong, fits) if low > 0 else ())


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
    """Two groups of fits: wrong ones, standard normal, a share of `rate`; right ones, normal."""

    rate: float
    middle: float
    spread: float
    log_likelihood: float


def _densities(fits: Vector, middle: float, spread: float) -> tuple[Vector, Vector]:
    """Logarithms of the densities of wrong and of right answers; below 0 of being there at all.

    An answer that fits worse than wrong ones usually do is no righter for it, however wide the other group is.
    """
    from scipy.special import log_ndtr

    below = fits <= 0
    wrong = np.where(below, np.log(0.5), -0.5 * fits**2 - _NORMAL)
    distance = (fits - middle) / spread
    right = np.where(below, log_ndtr(-middle / spread), -0.5 * distance**2 - np.log(spread) - _NORMAL)
    return wrong, right


def _likelihood(fits: Vector, rate: float, middle: float, spread: float) -> float:
    wrong, right = _densities(fits, middle, spread)
    tiny = 1e-300
    return float(np.logaddexp(np.log(rate + tiny) + wrong, np.log(1 - rate + tiny) + right).sum())


def _fitted(fits: Vector, rate: float | None = None) -> _Groups:
    """The groups of maximum likelihood, at a given rate or at the best one."""
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    def groups(point: Vector) -> tuple[float, float, float]:
        share = float(expit(point[2])) if rate is None else rate
        return share, float(np.exp(point[0])), NARROW + float(np.exp(point[1]))

    def loss(point: Vector) -> float:
        return -_likelihood(fits, *groups(point))

    found = []
    for start in (0.02, 0.2) if rate is None else (rate,):
        first = [np.log(max(float(np.median(fits)), 0.1)), np.log(max(float(fits.std()) - NARROW, 0.1))]
        point = [*first, float(logit(start))] if rate is None else first
        best = minimize(loss, point, method="Nelder-Mead", options={"maxiter": 600})
        found.append(_Groups(*groups(best.x), -float(best.fun)))
    return max(found, key=lambda one: one.log_likelihood)


def _interval(fits: Vector, best: _Groups) -> tuple[float, float]:
    """Shares of wrong answers that the fits do not speak against, at 95 % (profile likelihood)."""
    least = best.log_likelihood - HALF_95

    def bound(end: float) -> float:
        inside, outside = best.rate, end
        if _fitted(fits, end).log_likelihood >= least:
            return end
        for _ in range(12):
            middle = (inside + outside) / 2
            if _fitted(fits, middle).log_likelihood >= least:
                inside = middle
            else:
                outside = middle
        return inside

    return bound(0.0), bound(1.0)


def _posterior(fits: Vector, groups: _Groups) -> Vector:
    wrong, right = _densities(fits, groups.middle, groups.spread)
    tiny = 1e-300
    first, second = np.log(groups.rate + tiny) + wrong, np.log(1 - groups.rate + tiny) + right
    probability: Vector = np.exp(first - np.logaddexp(first, second))
    order = np.argsort(fits)  # a wide group of right ones would take back far rows on the other side
    probability[order] = np.minimum.accumulate(probability[order])
    return probability


def _listed(wrong: Vector, fits: Vector) -> tuple[int, ...]:
    """The longest list of the worst rows, each more probably wrong than right, and a fifth of all right at most."""
    order = np.lexsort((fits, -wrong))
    right = np.cumsum(1 - wrong[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero((right <= RIGHT) & (wrong[order] >= PROBABLE))
    return tuple(int(i) for i in order[: within[-1] + 1]) if len(within) else ()
