"""The figures that costs rest on: the user's where the price sheet has them, else assumed ones that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from luthier.models import Price, PricePart, PriceSheet, load_sheet, price_in, shipped_sheet

HOURS_A_MONTH = 730  # 8,760 hours a year


@dataclass(frozen=True)
class Figure:
    """A figure with where it comes from and of when; `assumed` where no sheet of the user's has it."""

    value: float
    source: str
    date: str
    assumed: bool


@dataclass(frozen=True)
class Hosting:
    """US dollars a month whether or not requests come; `included`: answers then cost nothing besides."""

    usd_per_month: Figure
    included: bool


@dataclass(frozen=True)
class Inputs:
    """Everything that costs rest on besides what was measured. Money is in US dollars, work in hours of people.

    `machine` and `training` are dollars an hour of the machine that answers and of the one that trains, None where the
    user's sheet has none; `training_hours` None: as measured. `label_usd`, `label_hours` are for one example, of which
    `label_count` have to be labelled (None: as many as a rung uses). `error_usd` None: the value of an error is left
    out. `hosting` is by method, or under `all`; `models` are the prices in the user's own sheet.
    """

    months: Figure
    wage: Figure
    retunes: Figure
    retune_hours: Figure
    updates: Figure
    update_hours: Figure
    refreshes: Figure
    refresh_hours: Figure
    label_usd: Figure
    label_hours: Figure
    label_count: Figure | None = None
    machine: Figure | None = None
    training: Figure | None = None
    training_hours: Figure | None = None
    error_usd: Figure | None = None
    hosting: Mapping[str, Hosting] = field(default_factory=dict)
    models: Mapping[str, Price] = field(default_factory=dict)

    def hosting_of(self, method: str) -> Hosting | None:
        """What the user's sheet says of hosting a method."""
        return self.hosting.get(method) or self.hosting.get("all")

    def price_of(self, base: str) -> Price | None:
        """The price of a model in the user's own sheet, by its name or by the part after `#` of an endpoint."""
        return self.models.get(base) or self.models.get(base.rpartition("#")[2])


def inputs_of(path: Path | None) -> Inputs:
    """What the user's price sheet says, and the assumed figures for the rest.

    Raises:
        StoreError: the sheet cannot be read.
        ModelError: it is not a price sheet.
    """
    return assumed_inputs() if path is None else _inputs(load_sheet(path))


@cache
def assumed_inputs() -> Inputs:
    """The figures of the sheet that ships, all of them assumed."""
    return _inputs(PriceSheet())


def _inputs(own: PriceSheet) -> Inputs:
    def known(part: str, key: str) -> Figure:
        found = _own(own, part, key)
        return found if found is not None else _assumed(part, key)

    return Inputs(
        months=known("horizon", "months"),
        wage=known("people", "usd_per_hour"),
        retunes=known("upkeep", "retunes_per_year"),
        retune_hours=known("upkeep", "retune_hours"),
        updates=known("upkeep", "updates_per_year"),
        update_hours=known("upkeep", "update_hours"),
        refreshes=known("upkeep", "index_refreshes_per_year"),
        refresh_hours=known("upkeep", "index_hours"),
        label_usd=known("labelling", "usd_per_example"),
        label_hours=known("labelling", "hours_per_example"),
        label_count=_own(own, "labelling", "examples"),
        machine=_own(own, "machine", "usd_per_hour"),
        training=_own(own, "training", "usd_per_hour"),
        training_hours=_own(own, "training", "hours"),
        error_usd=_own(own, "errors", "usd_each"),
        hosting={
            str(name): Hosting(_figure(own, part, part.usd_per_month), part.answers == "included")
            for name, part in own.hosting.items()
        },
        models={name: price for name in own.models if (price := price_in(own, name)) is not None},
    )


def _own(sheet: PriceSheet, part: str, key: str) -> Figure | None:
    section: PricePart | None = getattr(sheet, part)
    value = None if section is None else getattr(section, key)
    return None if section is None or value is None else _figure(sheet, section, value)


def _figure(sheet: PriceSheet, part: PricePart, value: float) -> Figure:
    source, date = sheet.where_from(part)
    return Figure(value, source, date, assumed=False)


def _assumed(part: str, key: str) -> Figure:
    sheet = shipped_sheet()
    section: PricePart = getattr(sheet, part)
    source, date = sheet.where_from(section)
    return Figure(getattr(section, key), source, date, assumed=True)
