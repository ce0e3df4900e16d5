"""What a rung costs over the horizon, as a function of every input: the formulas of docs/costs.md and nothing else.

Each input has a factor, 1 where it is as given. The total is linear in every factor but that of the cached share, which
is what the tornado and the shares of variance rest on. Factors may be arrays: then so is the bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.models import Price

Factor = Literal[
    "volume",
    "token prices",
    "machine price",
    "cached share",
    "hosting",
    "hourly wage",
    "labelling",
    "training time",
    "re-tunes a year",
    "re-tune hours",
    "base updates a year",
    "update hours",
    "index refreshes a year",
    "index hours",
    "value per error",
    "horizon",
]
Amount: TypeAlias = "float | npt.NDArray[np.float64]"


@dataclass(frozen=True)
class Ledger:
    """What all rungs share: requests a month (None: not given), months, dollars of an hour's work and of an error."""

    volume: float | None
    months: float
    wage: float
    error: float = 0.0


@dataclass(frozen=True)
class Outlay:
    """What one rung takes, before prices are varied; dollars where nothing else is said.

    A request: `prompt`, `shared`, `written`, `answer` tokens at `price`, or `machine` dollars of its time; `flat` is a
    figure of which only the sum is known. `wrong` is the share of wrong answers. Once: `label_usd`, `label_hours`,
    `training`. A month: `hosting`, which `included` answers. `redone` times a year, with `redo_hours` of people,
    `validation` answers and, where `trained`, the training again; the index `refreshes` times with `refresh_hours`.
    """

    rung: str
    trained: bool
    prompt: float = 0.0
    shared: float = 0.0
    written: float = 0.0
    answer: float = 0.0
    price: Price | None = None
    machine: float = 0.0
    flat: float = 0.0
    wrong: float = 0.0
    label_usd: float = 0.0
    label_hours: float = 0.0
    training: float = 0.0
    hosting: float = 0.0
    included: bool = False
    redone: float = 0.0
    redo_hours: float = 0.0
    validation: int = 0
    refreshes: float = 0.0
    refresh_hours: float = 0.0

    def tokens(self, cached: Amount = 1.0) -> Amount:
        """Dollars of a request's tokens with `cached` times the cached share, at most all that is not written."""
        if self.price is None:
            return 0.0
        price = self.price
        write = price.input if price.write is None else price.write
        shared = np.minimum(self.shared * cached, self.prompt - self.written)
        fresh = self.prompt - self.written - shared
        return (fresh * price.input + shared * price.cached + self.written * write + self.answer * price.output) / 1e6


@dataclass(frozen=True)
class Bill:
    """The parts of a rung's cost: of a `request` and its `error`, once, and of a month without requests."""

    request: Amount
    error: Amount
    labelling: Amount
    training: Amount
    hosting: Amount
    upkeep: Amount
    volume: Amount | None
    months: Amount

    @property
    def once(self) -> Amount:
        """What is spent before the first request."""
        return self.labelling + self.training

    @property
    def standing(self) -> Amount:
        """What a month costs without any request."""
        return self.hosting + self.upkeep

    @property
    def served(self) -> Amount:
        """What a request costs, with the errors in its answers."""
        return self.request + self.error

    def fixed(self) -> Amount:
        """What the horizon costs without any request."""
        return self.once + self.months * self.standing

    def total(self) -> Amount:
        """Total cost of ownership over the horizon; the volume must be known."""
        assert self.volume is not None  # callers look at totals only where there is a volume
        return self.fixed() + self.months * self.volume * self.served


def bill(outlay: Outlay, ledger: Ledger, factors: Mapping[Factor, Amount] | None = None) -> Bill:
    """The bill of a rung with every input multiplied by its factor."""
    given: Mapping[Factor, Amount] = factors or {}

    def by(name: Factor) -> Amount:
        return given.get(name, 1.0)

    wage = ledger.wage * by("hourly wage")
    tokens = (outlay.tokens(by("cached share")) + outlay.flat) * by("token prices")
    request: Amount = 0.0 if outlay.included else tokens + outlay.machine * by("machine price")
    training = outlay.training * by("training time") * by("machine price")
    times = by("re-tunes a year" if outlay.trained else "base updates a year")
    hours = by("re-tune hours" if outlay.trained else "update hours")
    again = training + outlay.validation * request + outlay.redo_hours * hours * wage
    index = outlay.refreshes * by("index refreshes a year") * outlay.refresh_hours * by("index hours") * wage
    return Bill(
        request=request,
        error=outlay.wrong * ledger.error * by("value per error"),
        labelling=by("labelling") * (outlay.label_usd + outlay.label_hours * wage),
        training=training,
        hosting=outlay.hosting * by("hosting"),
        upkeep=(outlay.redone * times * again + index) / 12,
        volume=None if ledger.volume is None else ledger.volume * by("volume"),
        months=ledger.months * by("horizon"),
    )


def break_even(a: Bill, b: Bill) -> float | None:
    """Requests a month at which two rungs cost the same over the horizon.

    V* = (F_b - F_a) / (H (c_a - c_b)), with F the horizon's cost without requests and c that of a request; None where
    there is no such volume above 0: then one of them costs less at every volume.
    """
    saved = float(a.months * (a.served - b.served))
    found = float(b.fixed() - a.fixed()) / saved if saved else 0.0
    return found if found > 0 and np.isfinite(found) else None


def payback(dearer: Bill, cheaper: Bill) -> float | None:
    """Months until what `dearer` costs more once is saved in its running; None where running saves nothing."""
    if dearer.volume is None or cheaper.volume is None:
        return None
    running = [float(b.standing + b.volume * b.served) for b in (dearer, cheaper) if b.volume is not None]
    saved = running[1] - running[0]
    return max(0.0, float(dearer.once - cheaper.once)) / saved if saved > 0 else None
