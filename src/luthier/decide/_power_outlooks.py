"""What is foreseen of a rung, of two rungs, and of a judge."""

from __future__ import annotations

from dataclasses import dataclass

BELOW, ABOVE = (0.20, 0.10, 0.05), (0.02, 0.05, 0.10, 0.15)  # true means are looked at that far from the bar
DIFFERENCES = (0.05, 0.10)  # between two rungs, that a team would want to see


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
class JudgeOutlook:
    """How probable it is that a rung of that true mean is shown to meet the bar with a judge of that J.

    `total` labels of each rung would make that 80 %; None where not even a label for every answer does.
    """

    j: float
    truth: float
    meets: float
    total: int | None


def truths(bar: float) -> tuple[float, ...]:
    """True means on both sides of a bar, and the bar itself, lowest first."""
    below = [bar - step for step in BELOW if bar - step > 0]
    above = [bar + step for step in ABOVE if bar + step < 1]
    near_one = [(1 + bar) / 2] if not above and bar < 1 else []
    return tuple(round(value, 4) for value in (*below, bar, *above, *near_one, *([1.0] if bar < 1 else [])))
