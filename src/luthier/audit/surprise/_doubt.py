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
BETTER = 1.0  # standard deviations of wrong answers that a group of right ones is better by, at least
NARROW = 0.5  # of them, the least spread of a group of right ones
STEPS = 500  # of expectation maximisation
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
    own answers are a mixture of that distribution, which is known, and of right answers, which are fitted as one or two
    normal groups (a mixture with a measured null; Efron 2008). Rows are listed that are more probably wrong than right,
    as long as at most a fifth of the list is expected to be right (Newton et al. 2004); none where the data are as well
    explained without any wrong answer.

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
    best, groups = _best(fits)
    low, high = _interval(fits, best, groups)
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


@dataclass(frozen=True, eq=False)
class _Groups:
    """Fits as a mixture: wrong answers, standard normal, and one or two groups of right ones, normal.

    `shares`, `middles` and `spreads` have one entry a group, the wrong answers first.
    """

    shares: Vector
    middles: Vector
    spreads: Vector
    log_likelihood: float

    @property
    def rate(self) -> float:
        """Share of wrong answers."""
        return float(self.shares[0])


def _densities(fits: Vector, middles: Vector, spreads: Vector) -> Vector:
    """Logarithms of the densities of each group, [fits, groups]; of fits below 0, of being there at all.

    An answer that fits worse than wrong ones usually do is no righter for it, however wide another group is.
    """
    from scipy.special import log_ndtr

    distances = (fits[:, None] - middles) / spreads
    inside: Vector = -0.5 * distances**2 - np.log(spreads) - _NORMAL
    return np.where(fits[:, None] <= 0, log_ndtr(-middles / spreads), inside)


def _fitted(fits: Vector, rate: float | None = None, groups: int = 1) -> _Groups:
    """The mixture of maximum likelihood with so many groups of right answers, by expectation maximisation.

    Args:
        fits: [n].
        rate: share of wrong answers, where it is given.
        groups: of right answers.
    """
    from scipy.special import logsumexp

    above = np.sort(fits)[len(fits) // 10 :]
    starts = np.quantile(above, [0.5] if groups == 1 else [0.25, 0.75])
    middles = np.maximum(np.array([0.0, *starts]), [0.0, *[BETTER] * groups])
    spreads = np.array([1.0, *[max(float(above.std()) / groups, NARROW)] * groups])
    share = 0.1 if rate is None else rate
    shares = np.array([share, *[(1 - share) / groups] * groups])
    total = -np.inf
    for _ in range(STEPS):
        joint = np.log(np.maximum(shares, 1e-300)) + _densities(fits, middles, spreads)
        each = logsumexp(joint, axis=1)
        before, total = total, float(each.sum())
        if total - before < 1e-6:
            break
        members = np.exp(joint - each[:, None])
        shares = members.mean(axis=0)
        if rate is not None:
            shares[1:] *= (1 - rate) / max(float(shares[1:].sum()), 1e-300)
            shares[0] = rate
        middles[1:], spreads[1:] = _moments(fits, members[:, 1:], middles[1:], spreads[1:])
    return _Groups(shares, middles, spreads, total)


def _moments(fits: Vector, members: Vector, middles: Vector, spreads: Vector) -> tuple[Vector, Vector]:
    """Means and standard deviations of groups; what lies below 0 counts as its group would lie there."""
    from scipy.special import log_ndtr

    limit = -middles / spreads
    hazard = np.exp(-0.5 * limit**2 - _NORMAL - log_ndtr(limit))
    below = (fits <= 0)[:, None]
    values = np.where(below, middles - spreads * hazard, fits[:, None])
    inner = np.where(below, np.maximum(spreads**2 * (1 - limit * hazard - hazard**2), 0), 0)
    weights = np.maximum(members.sum(axis=0), 1e-9)
    means = np.maximum((members * values).sum(axis=0) / weights, BETTER)
    squares = (members * (inner + (values - means) ** 2)).sum(axis=0) / weights
    return means, np.maximum(np.sqrt(squares), NARROW)


def _best(fits: Vector) -> tuple[_Groups, int]:
    """The mixture with one or two groups of right answers, by Akaike's information criterion (1974)."""
    one, two = _fitted(fits), _fitted(fits, groups=2)
    gained = two.log_likelihood - one.log_likelihood
    return (two, 2) if gained > 3 else (one, 1)  # for three more parameters


def _interval(fits: Vector, best: _Groups, groups: int) -> tuple[float, float]:
    """Shares of wrong answers that the fits do not speak against, at 95 % (profile likelihood)."""
    least = best.log_likelihood - HALF_95

    def bound(end: float) -> float:
        inside, outside = best.rate, end
        if _fitted(fits, end, groups).log_likelihood >= least:
            return end
        for _ in range(12):
            middle = (inside + outside) / 2
            if _fitted(fits, middle, groups).log_likelihood >= least:
                inside = middle
            else:
                outside = middle
        return inside

    return bound(0.0), bound(1.0)


def _posterior(fits: Vector, groups: _Groups) -> Vector:
    from scipy.special import logsumexp

    joint = np.log(np.maximum(groups.shares, 1e-300)) + _densities(fits, groups.middles, groups.spreads)
    probability: Vector = np.exp(joint[:, 0] - logsumexp(joint, axis=1))
    order = np.argsort(fits)  # a wide group of right ones would take back far rows on the other side
    probability[order] = np.minimum.accumulate(probability[order])
    return probability


def _listed(wrong: Vector, fits: Vector) -> tuple[int, ...]:
    """The longest list of the worst rows, each more probably wrong than right, and a fifth of all right at most."""
    order = np.lexsort((fits, -wrong))
    right = np.cumsum(1 - wrong[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero((right <= RIGHT) & (wrong[order] >= PROBABLE))
    return tuple(int(i) for i in order[: within[-1] + 1]) if len(within) else ()
