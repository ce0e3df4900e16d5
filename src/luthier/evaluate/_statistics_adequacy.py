"""Is a system good enough? One rule, used while cases are being answered and again by the verdict.

A rung has an error budget `alpha` for being called good enough when it is not, and the same for the reverse. One fifth
goes to an e-process looked at every 8 cases, four fifths to an exact test when all planned cases are answered (union
bound). That stops early on clear cases and loses almost no power on close ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from luthier.evaluate._statistics import (
    MIN_GROUPS,
    Grouped,
    Ints,
    binomial_p,
    clopper_pearson,
    grouped,
    is_clustered,
    mean_bounds,
    mean_p,
    wilson,
)
from luthier.evaluate._statistics_assurance import FINAL_SHARE, MIN_CASES, more_cases
from luthier.evaluate._statistics_sequential import (
    betting_e_process,
    binomial_confidence_sequence,
    confidence_sequence,
    e_process_adequacy,
)

LOOK_EVERY = 8
EARLY_SHARE = 1 - FINAL_SHARE

AdequacyState = Literal["meets", "falls short", "open"]


@dataclass(frozen=True)
class Settled:
    """What the rule alone says, without figures.

    `at` is the number of cases at the look that settled it, None when no early look did; `p` is the one-sided p-value
    against "not good enough", None before the first look.
    """

    state: AdequacyState
    at: int | None
    p: float | None


@dataclass(frozen=True)
class Adequacy:
    """A rung against the bar. `low`, `high` at the level of the decision; `display_*` a plain 95 % interval.

    `more_cases` would show with 80 % assurance that it is good enough, if it is; None: settled, or see `note`.
    """

    state: AdequacyState
    answered: int
    planned: int
    settled_at: int | None
    mean: float | None
    low: float | None
    high: float | None
    display_low: float | None
    display_high: float | None
    p: float | None
    more_cases: int | None
    note: str


def settle(scores: Sequence[float], groups: Sequence[str], *, bar: float, alpha: float, binary: bool) -> Settled:
    """Replay the looks and, once every planned case is answered, the final test.

    Args:
        scores: of the first cases in the common order, each in [0, 1].
        groups: the independent source of every planned case, in that order.
        bar: the mean score that is good enough.
        alpha: error budget of this rung, one-sided, for each of the two errors.
        binary: whether scores are 0 or 1.
    """
    _check(scores, groups, bar, alpha, binary)
    if bar == 1.0:
        # a mean of 1 cannot be shown by any number of cases; one failure refutes it
        return Settled("falls short", None, 1.0) if any(s < 1 for s in scores) else Settled("open", None, 1.0)
    if len(set(groups)) < MIN_GROUPS:
        return Settled("open", None, None)
    early = _early(scores, groups, bar, EARLY_SHARE * alpha, binary)
    if early.state != "open" or len(scores) < len(groups):
        return early
    return _final(scores, groups, bar, FINAL_SHARE * alpha, binary)


def adequacy_state(
    scores: Sequence[float], groups: Sequence[str], *, bar: float, alpha: float, binary: bool
) -> Adequacy:
    """Where a rung stands against the bar, with its figures: the rule of `settle`; same arguments.

    Raises:
        ValueError: a score outside [0, 1], more scores than planned cases, or a bar or alpha out of range.
    """
    found = settle(scores, groups, bar=bar, alpha=alpha, binary=binary)
    if not scores:
        return Adequacy("open", 0, len(groups), None, None, None, None, None, None, None, len(groups), "not answered")
    low, high = bounds(scores, groups, alpha=alpha, binary=binary)
    display = display_interval(scores, groups, binary=binary)
    more, note = (
        more_cases(scores, groups, bar=bar, alpha=alpha, binary=binary) if found.state == "open" else (None, "")
    )
    mean = math.fsum(scores) / len(scores)
    return Adequacy(
        found.state, len(scores), len(groups), found.at, mean, low, high, display[0], display[1], found.p, more, note
    )


def bounds(scores: Sequence[float], groups: Sequence[str], *, alpha: float, binary: bool) -> tuple[float, float]:
    """Bounds of the mean, each at level `alpha`, that hold whenever answering stopped: what `settle` decides by."""
    simple = binary and not is_clustered(groups)
    looks = look_sizes(len(scores), len(groups))
    units = grouped(scores, groups)
    if simple:
        sums = np.cumsum(scores)[looks - 1]
        low, high = binomial_confidence_sequence(sums, looks, EARLY_SHARE * alpha)
    else:
        low, high = confidence_sequence(units, _complete(units, looks), EARLY_SHARE * alpha)
    if len(scores) == len(groups):
        late = FINAL_SHARE * alpha
        fixed = clopper_pearson(round(sum(scores)), len(scores), late) if simple else mean_bounds(units, late)
        low, high = max(low, fixed[0]), min(high, fixed[1])
    return low, high


def display_interval(scores: Sequence[float], groups: Sequence[str], *, binary: bool) -> tuple[float, float]:
    """A plain two-sided 95 % interval of the mean: Wilson for 0/1 scores, Gaffke's bounds for grades or groups."""
    if binary and not is_clustered(groups):
        return wilson(sum(scores), len(scores), 0.025)
    return mean_bounds(grouped(scores, groups[: len(scores)]), 0.025)


def look_sizes(answered: int, planned: int) -> Ints:
    """Numbers of cases at which a look is due: every 8, and the last planned one."""
    sizes = list(range(LOOK_EVERY, answered + 1, LOOK_EVERY))
    if answered == planned and planned % LOOK_EVERY:
        sizes.append(planned)
    return np.array(sizes, dtype=np.int64)


def _complete(units: Grouped, looks: Ints) -> Ints:
    """How many groups were complete at each look; looks with too few of them are left out."""
    count = np.searchsorted(units.ends, looks, side="right")
    return count[count >= MIN_GROUPS].astype(np.int64)


def _early(scores: Sequence[float], groups: Sequence[str], bar: float, alpha: float, binary: bool) -> Settled:
    """The first look at which an e-process crosses; open if none does, with the anytime-valid p-value so far."""
    looks = look_sizes(len(scores), len(groups))
    if binary and not is_clustered(groups):
        sums = np.cumsum(scores)[looks - 1]
        above, below = e_process_adequacy(sums, looks - sums, bar), e_process_adequacy(looks - sums, sums, 1 - bar)
    else:
        units = grouped(scores, groups)
        count = _complete(units, looks)
        looks = looks[len(looks) - len(count) :]
        above, below = betting_e_process(units, bar)[count - 1], betting_e_process(units.failures, 1 - bar)[count - 1]
    if not len(looks):
        return Settled("open", None, None)
    flawless = np.cumsum(np.asarray(scores) < 1)[looks - 1] == 0
    meets = (above >= -math.log(alpha)) & ((looks >= MIN_CASES) | flawless)
    short = below >= -math.log(alpha)
    p = min(1.0, math.exp(-float(above.max())))
    crossed = np.flatnonzero(meets | short)
    if not len(crossed):
        return Settled("open", None, p)
    first = int(crossed[0])
    return Settled("meets" if meets[first] else "falls short", int(looks[first]), p)


def _final(scores: Sequence[float], groups: Sequence[str], bar: float, alpha: float, binary: bool) -> Settled:
    """The fixed-size test on all planned cases."""
    n = len(scores)
    if binary and not is_clustered(groups):
        wins = round(sum(scores))
        p, p_short = binomial_p(wins, n, bar), binomial_p(n - wins, n, 1 - bar)
    else:
        units = grouped(scores, groups)
        p, p_short = mean_p(units, bar), mean_p(units.failures, 1 - bar)
    if p <= alpha and (n >= MIN_CASES or min(scores) == 1):
        return Settled("meets", None, p)
    return Settled("falls short" if p_short <= alpha else "open", None, p)


def _check(scores: Sequence[float], groups: Sequence[str], bar: float, alpha: float, binary: bool) -> None:
    if len(scores) > len(groups):
        raise ValueError(f"{len(scores)} scores for {len(groups)} planned cases")
    if not (0 < bar <= 1 and 0 < alpha < 1):
        raise ValueError(f"bar must lie in (0, 1] and alpha in (0, 1); they are {bar} and {alpha}")
    wrong = [s for s in scores if not 0 <= s <= 1 or (binary and s not in (0, 1))]
    if wrong:
        raise ValueError(f"scores must be {'0 or 1' if binary else 'in [0, 1]'}; found {wrong[0]}")
