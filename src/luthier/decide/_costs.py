"""What is said about costs: plain data, saved with the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True)
class RungCost:
    """One rung's bill in US dollars; `meets` the bar and the limits of latency.

    For 1,000 requests: `per_1000`, `errors_per_1000`. Once: `labelling`, `training`. A month: `hosting`, `upkeep`, and
    at the stated volume `requests`, `errors` (None without one). `total` over the horizon.
    """

    rung: str
    meets: bool
    per_1000: float
    errors_per_1000: float
    labelling: float
    training: float
    hosting: float
    upkeep: float
    requests: float | None
    errors: float | None
    total: float | None


@dataclass(frozen=True)
class Crossing:
    """Two rungs: the `volume` (requests a month) at which they cost the same over the horizon.

    `above` costs less above it and `below` below it; where `volume` is None, `above` costs less at every volume (both
    None: they cost the same). `payback_months` until what `pays_back` costs more at the start is saved at the stated
    volume; None: it never is, or no volume is stated.
    """

    a: str
    b: str
    volume: float | None
    above: str | None
    below: str | None
    pays_back: str | None
    payback_months: float | None


@dataclass(frozen=True)
class Effect:
    """What the difference (next less recommended, US dollars over the horizon) is with an input halved and doubled."""

    input: str
    half: float
    double: float

    @property
    def width(self) -> float:
        """How far the difference moves."""
        return abs(self.double - self.half)


@dataclass(frozen=True)
class Turn:
    """From where on the next rung would cost less: `factor` times an input, `value` where it has one of its own."""

    input: str
    factor: float | None
    value: float | None
    text: str


@dataclass(frozen=True)
class Draws:
    """Random draws of volume, prices and hours.

    `cheapest` is the share of draws in which each adequate rung costs least; `low`, `middle`, `high` are the 5th, 50th
    and 95th percentile of the difference (next less recommended), and `ahead` the share in which it is positive;
    `main` is the input with the largest share of its variance, `main_share`.
    """

    draws: int
    seed: int
    cheapest: Mapping[str, float]
    ahead: float | None
    low: float | None
    middle: float | None
    high: float | None
    main: str | None
    main_share: float | None


@dataclass(frozen=True)
class CostReport:
    """Costs of all measured rungs over `months` at `volume` requests a month (None: not given).

    `next` is the adequate rung that costs least besides the recommended one, or, where none is adequate
    (`next_meets` False), the measured one. `difference` is next less recommended. `given` and `assumed` list every
    figure that was used, `notes` what limits them, `summary` is it all in two lines.
    """

    volume: int | None
    months: float
    rungs: tuple[RungCost, ...]
    crossings: tuple[Crossing, ...]
    recommended: str | None
    next: str | None
    next_meets: bool
    difference: float | None
    effects: tuple[Effect, ...]
    turns: tuple[Turn, ...]
    draws: Draws | None
    given: tuple[str, ...]
    assumed: tuple[str, ...]
    notes: tuple[str, ...]
    summary: tuple[str, ...]

    def of(self, rung: str) -> RungCost | None:
        """The costs of a rung, None where they are not known."""
        return next((found for found in self.rungs if found.rung == rung), None)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> CostReport:
        """The inverse of `dataclasses.asdict`."""
        return TypeAdapter(CostReport).validate_python(value)
