"""What more examples would bring: a curve through the scores with fewer of them, with a band.

Sources: Figueroa et al. 2012 (weighted inverse power law), Mahmood et al. 2022 (no single form of curve is best, so
several are averaged). The band is a parametric bootstrap. It holds the bands of all forms that are plausible: noise
hides which of them is right, and they part beyond the last point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.audit._forms import fit
from luthier.audit._points import Point, sizes_of

Floats = NDArray[np.float64]

DRAWS = 200
BAND = 0.8
FURTHEST = 4.0  # times the rows that there are: no forecast beyond
FORECAST_AT = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
WORTH = 0.01  # of the score: a smaller gain from twice the rows is none
SURE = 0.8
LEAST_SIZES = 4
PLAUSIBLE = 0.1  # weight of a form
PRIOR_DEGREES = 4.0  # weight of what single cases vary by against what their means do
LEAST_SPREAD = 0.02  # repeats that agree by chance do not make it certain


@dataclass(frozen=True)
class Expected:
    """What is expected with `size` rows.

    `low` to `high` holds, with probability 0.8, the mean score that would be measured on these development cases;
    `others_low` to `others_high` that on as many other cases of the kind.
    """

    size: int
    score: float
    low: float
    high: float
    others_low: float
    others_high: float


@dataclass(frozen=True)
class Measured:
    """Mean score with `size` rows over the repeats, and the lowest and the highest of them."""

    size: int
    repeats: int
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve.

    `now` is what the curve says at the present size, `expected` beyond it. `gain` is the change of the score from twice
    the rows, `gain_low` to `gain_high` its 80 % band. `reach` is the probability that four times the rows (or fewer)
    reach the bar; `needed` is the 80 % interval of the rows that takes, where `reach` is at least 0.8. `kind` is "more
    helps", "more of the same will not help" or "unknown".
    """

    method: str
    cases: int
    measured: tuple[Measured, ...]
    now: Expected
    expected: tuple[Expected, ...]
    gain: float
    gain_low: float
    gain_high: float
    bar: float | None
    reach: float | None
    needed: tuple[int, int] | None
    kind: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and for saving."""
        return asdict(self)


def fit_curve(points: Sequence[Point], *, method: str = "", bar: float | None = None, seed: int = 0) -> LearningCurve:
    """The curve through measured points, and what it says of up to four times the rows.

    Args:
        points: at least four sizes; every point has the scores of the same cases in one order.
        method: what the points were measured with.
        bar: the score that is good enough.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than four sizes.
    """
    sizes = sizes_of(points)
    if len(sizes) < LEAST_SIZES:
        raise ValueError(f"{len(sizes)} sizes are too few for a curve: {LEAST_SIZES} are needed")
    known = sizes[-1]
    at = [known, *(round(known * times) for times in FORECAST_AT)]
    drawn = _draw(points, np.array(at, dtype=float), np.random.default_rng(seed))
    now, *expected = (drawn.expected(place, size) for place, size in enumerate(at))
    twice = 1 + FORECAST_AT.index(2.0)
    gains = drawn.curves[..., twice] - drawn.curves[..., 0]
    gain_low, gain_high = drawn.middle(gains)
    reach, needed = (None, None) if bar is None else _reaching(drawn, at, bar)
    kind = _kind(gain_low, gain_high)
    return LearningCurve(
        method=method,
        cases=len(points[0].scores),
        measured=tuple(_measured(points, size) for size in sizes),
        now=now,
        expected=tuple(expected),
        gain=drawn.mean(gains),
        gain_low=gain_low,
        gain_high=gain_high,
        bar=bar,
        reach=reach,
        needed=needed,
        kind=kind,
        sentence=_sentence(kind, known, expected[FORECAST_AT.index(2.0)], now, (gain_low, gain_high), reach, needed),
    )


def _measured(points: Sequence[Point], size: int) -> Measured:
    means = [point.mean for point in points if point.size == size]
    return Measured(size, len(means), float(np.mean(means)), min(means), max(means))


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Curves of the bootstrap [draws, forms, sizes], their weights [draws, forms], and the noise around them."""

    curves: Floats
    weights: Floats
    noise: Floats  # [draws, forms, sizes] of a score that is measured once, on these cases
    others: Floats  # [draws, forms] of the choice of cases

    def mean(self, values: Floats) -> float:
        """Of values [draws, forms], by weight."""
        return float(np.average(values, weights=self.weights))

    def band(self, values: Floats) -> tuple[float, float]:
        """What holds the middle 80 % of the values [draws, forms] of each plausible form."""
        plausible = self.weights.mean(axis=0) >= PLAUSIBLE
        low, high = np.quantile(values[:, plausible], [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
        return float(low.min()), float(high.max())

    def middle(self, values: Floats) -> tuple[float, float]:
        """The middle 80 % of values [draws, forms], by weight."""
        order = np.argsort(values, axis=None)
        sorted_, weights = values.reshape(-1)[order], self.weights.reshape(-1)[order]
        below = (np.cumsum(weights) - weights / 2) / weights.sum()
        low, high = np.interp([(1 - BAND) / 2, (1 + BAND) / 2], below, sorted_)
        return float(low), float(high)

    def expected(self, place: int, size: int) -> Expected:
        """What the curves say at one of the sizes."""
        curve = self.curves[..., place]
        here = np.clip(curve + self.noise[..., place], 0, 1)
        elsewhere = np.clip(curve + self.noise[..., place] + self.others, 0, 1)
        return Expected(size, self.mean(curve), *self.band(here), *self.band(elsewhere))


def _draw(points: Sequence[Point], at: Floats, rng: np.random.Generator) -> _Drawn:
    """Bootstrap: scores drawn anew around the fitted curve, each fitted with every form.

    What varies between two measurements at one size is the choice of the subset, so the repeats show it; the choice of
    the cases is the same for all points, moves the whole curve, and is added only where other cases are meant.
    """
    sizes = np.array(sizes_of(points), dtype=float)
    groups = [[p for p in points if p.size == size] for size in sizes]
    means = np.array([np.mean([p.mean for p in group]) for group in groups])
    repeats, cases = np.array([len(group) for group in groups]), len(points[0].scores)
    degrees, spread = _degrees(groups), _spread(groups, means, cases)
    smooth = _smoothed(1 - means, cases * repeats)
    variances = spread * smooth * (1 - smooth) / cases / repeats
    centre = fit(sizes, (1 - means)[None], variances).averaged(sizes)[0]
    scale = degrees / rng.chisquare(degrees, DRAWS)  # the repeats show the noise no better than this
    errors = centre + rng.normal(size=(DRAWS, len(sizes))) * np.sqrt(scale[:, None] * variances)
    drawn = fit(sizes, np.clip(errors, 0, 1), variances)
    curves = 1 - drawn.curves(at)
    ahead = np.clip(curves, 1 / (2 * cases), 1 - 1 / (2 * cases))
    noise = rng.normal(size=curves.shape) * np.sqrt(scale[:, None, None] * spread * ahead * (1 - ahead) / cases)
    last = np.array([p.scores for p in groups[-1]]).mean(axis=0)
    choice = max(float(last.var()), float(smooth[-1] * (1 - smooth[-1])) / 4) / cases
    return _Drawn(curves, drawn.weights, noise, rng.normal(size=curves.shape[:2]) * np.sqrt(choice))


def _smoothed(error: Floats, answers: NDArray[np.int_]) -> Floats:
    """Errors with one right and one wrong answer added: none is surely 0 or 1 (Agresti and Coull 1998)."""
    smoothed: Floats = (error * answers + 1) / (answers + 2)
    return smoothed


def _degrees(groups: Sequence[Sequence[Point]]) -> float:
    return PRIOR_DEGREES + sum(len(group) - 1 for group in groups)


def _spread(groups: Sequence[Sequence[Point]], means: Floats, cases: int) -> float:
    """Variance of a mean score between repeats, as a share of that of independent right and wrong answers.

    What single cases vary by between repeats is known well, and begins the estimate; what the means vary by holds what
    all cases have in common besides. Without repeats it is the share 1.
    """
    units = [float(error * (1 - error)) for error in _smoothed(1 - means, cases * np.array([len(g) for g in groups]))]
    repeated = [(np.array([p.scores for p in group]), unit) for group, unit in zip(groups, units, strict=True)]
    repeated = [(scores, unit) for scores, unit in repeated if len(scores) > 1]
    if not repeated:
        return 1.0
    alone = float(np.mean([scores.var(axis=0, ddof=1).mean() / unit for scores, unit in repeated]))
    squares = sum(scores.mean(axis=1).var() * len(scores) * cases / unit for scores, unit in repeated)
    return max(LEAST_SPREAD, (PRIOR_DEGREES * alone + float(squares)) / _degrees(groups))


def _reaching(drawn: _Drawn, at: Sequence[int], bar: float) -> tuple[float, tuple[int, int] | None]:
    """How probable it is that other cases reach the bar within four times the rows, and the rows that it takes."""
    reached = drawn.curves + drawn.others[..., None] >= bar
    reach = drawn.mean(reached.any(axis=-1).astype(float))
    if reach < SURE:
        return reach, None
    rows = np.where(reached.any(axis=-1), np.array(at)[reached.argmax(axis=-1)], at[-1])
    low, high = drawn.band(rows.astype(float))
    return reach, (round(low), round(high))


def _kind(low: float, high: float) -> str:
    if low >= WORTH:
        return "more helps"
    return "more of the same will not help" if high < 2 * WORTH else "unknown"


def _sentence(
    kind: str,
    known: int,
    twice: Expected,
    now: Expected,
    gain: tuple[float, float],
    reach: float | None,
    needed: tuple[int, int] | None,
) -> str:
    more = twice.size - known
    if kind == "more helps":
        said = (
            f"{more:,} more examples would bring the score from {now.score:.2f} to {twice.low:.2f}–{twice.high:.2f}"
            " on these cases"
        )
    elif kind == "unknown":
        said = (
            f"unknown: {more:,} more examples would change the score by {gain[0]:+.2f} to {gain[1]:+.2f}; collect "
            "twice as many, then fit again"
        )
    else:
        said = (
            f"more of the same will not help: twice the examples change the score by {gain[0]:+.3f} to {gain[1]:+.3f}; "
            "look at wrong labels, at what the examples do not cover, and at a larger base"
        )
    if needed is not None and known < needed[1]:
        return f"{said}. The bar is reached with {needed[0]:,}–{needed[1]:,} examples"
    if reach is not None and needed is None:
        return f"{said}. Four times the examples reach the bar with probability {reach:.2f}"
    return said
