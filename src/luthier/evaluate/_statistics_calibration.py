"""How well a judge agrees with people: sensitivity, specificity, Youden's J, kappa."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.evaluate._statistics import wilson


@dataclass(frozen=True)
class Rate:
    """A share of `n` with its 95 % interval (Wilson); None where there is nothing to take a share of."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """A judge against `labels` labels of people, both cut into good and not good.

    `sensitivity` is the share of good answers that the judge finds good (q1), `specificity` the share of others that it
    does not (q0). `j` = q1 + q0 - 1 (Youden 1950), 0 for a judge that knows nothing; its 95 % interval adds the squared
    distances of Wilson's limits (Newcombe 1998). `kappa` is Cohen's (1960). None where labels of one kind are missing.
    """

    labels: int
    sensitivity: Rate
    specificity: Rate
    j: float | None
    j_low: float | None
    j_high: float | None
    agreement: float | None
    kappa: float | None


def agreement(judged: Sequence[bool], human: Sequence[bool]) -> Agreement:
    """The agreement of a judge with people on the same answers."""
    n = len(human)
    both = sum(j and h for j, h in zip(judged, human, strict=True))
    neither = sum(not j and not h for j, h in zip(judged, human, strict=True))
    good, found = sum(human), sum(judged)
    q1, q0 = _rate(both, good), _rate(neither, n - good)
    agreed = (both + neither) / n if n else None
    kappa = None
    if agreed is not None:
        chance = (good * found + (n - good) * (n - found)) / n**2
        kappa = (agreed - chance) / (1 - chance) if chance < 1 else None
    return Agreement(n, q1, q0, *_youden(q1, q0), agreed, kappa)


def _rate(count: int, n: int) -> Rate:
    return Rate(count / n, *wilson(count, n, 0.025), n) if n else Rate(None, None, None, 0)


def _youden(q1: Rate, q0: Rate) -> tuple[float | None, float | None, float | None]:
    if q1.value is None or q1.low is None or q1.high is None or q0.value is None or q0.low is None or q0.high is None:
        return None, None, None
    j = q1.value + q0.value - 1
    down = math.hypot(q1.value - q1.low, q0.value - q0.low)
    up = math.hypot(q1.high - q1.value, q0.high - q0.value)
    return j, max(-1.0, j - down), min(1.0, j + up)
