"""The price sheet: every figure in money or hours that a cost rests on, dated, with where it comes from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from luthier.errors import ModelError, Problem, SpecError
from luthier.spec import MethodName, did_you_mean, parse_yaml
from luthier.store import writing

HostedFor = MethodName | Literal["all"]
_HOSTED_FOR = (*get_args(MethodName), "all")
# strict: YAML's yes and no are no figures
_Figure = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class PricePart(BaseModel):
    """A part of the sheet; `date` and `source` may be left out where the whole sheet has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = None
    date: dt.date | None = None


class TokenPrices(PricePart):
    """US dollars per million tokens; `cached` (found in a cache) and `write` (put there) are as `input` where None."""

    input: _Figure
    output: _Figure
    cached: _Figure | None = None
    write: _Figure | None = None


class MachineRent(PricePart):
    """US dollars for an hour of the machine that answers, and trains where `training` names no other."""

    usd_per_hour: _Positive


class TrainingCosts(PricePart):
    """The machine that trains: its price an hour and how long it takes; what is left out is as measured."""

    usd_per_hour: _Figure | None = None
    hours: _Figure | None = None


class HostingCosts(PricePart):
    """US dollars a month whether or not requests come; `included`: answers then cost nothing besides."""

    usd_per_month: _Figure
    answers: Literal["included", "extra"] = "extra"


class PeopleCosts(PricePart):
    """US dollars for an hour of a person's work."""

    usd_per_hour: _Figure


class LabellingCosts(PricePart):
    """What a labelled example costs, in money or in hours; `examples` are still to be labelled, all in use if None."""

    usd_per_example: _Figure = 0.0
    hours_per_example: _Figure = 0.0
    examples: _Figure | None = None


class UpkeepCosts(PricePart):
    """How often a rung is done again, and hours of people each time."""

    retunes_per_year: _Figure | None = None
    retune_hours: _Figure | None = None
    updates_per_year: _Figure | None = None
    update_hours: _Figure | None = None
    index_refreshes_per_year: _Figure | None = None
    index_hours: _Figure | None = None


class ErrorCosts(PricePart):
    """US dollars that one wrong answer costs."""

    usd_each: _Figure


class Horizon(PricePart):
    """Over how many months costs are added up."""

    months: _Positive


class PriceSheet(BaseModel):
    """A whole sheet. The one that ships has the defaults; a user's own is read first, key by key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    date: dt.date | None = None
    source: str | None = None
    models: dict[str, TokenPrices] = {}
    machine: MachineRent | None = None
    training: TrainingCosts | None = None
    hosting: dict[HostedFor, HostingCosts] = {}
    people: PeopleCosts | None = None
    labelling: LabellingCosts | None = None
    upkeep: UpkeepCosts | None = None
    errors: ErrorCosts | None = None
    horizon: Horizon | None = None

    @model_validator(mode="after")
    def _says_where_from(self) -> PriceSheet:
        for what in ("date", "source"):
            bare = [name for name, part in self._parts() if getattr(part, what) is None]
            if bare and getattr(self, what) is None:
                raise ValueError(f"`{what}` is missing, for the whole sheet or for {', '.join(bare)}")
        return self

    def _parts(self) -> list[tuple[str, PricePart]]:
        single = [(name, getattr(self, name)) for name in type(self).model_fields]
        parts = [(name, part) for name, part in single if isinstance(part, PricePart)]
        return [*self.models.items(), *((f"hosting.{k}", v) for k, v in self.hosting.items()), *parts]

    def where_from(self, part: PricePart) -> tuple[str, str]:
        """Source and date of a part of this sheet."""
        return part.source or self.source or "", str(part.date or self.date)


@cache
def shipped_sheet() -> PriceSheet:
    """The sheet that ships: list prices of well-known models and the assumed figures."""
    return PriceSheet.model_validate(yaml.safe_load(files("luthier.models").joinpath("prices.yaml").read_text("utf-8")))


def load_sheet(path: Path) -> PriceSheet:
    """A user's price sheet.

    Raises:
        StoreError: it cannot be read.
        ModelError: it is not a price sheet; every problem is named with its line.
    """
    with writing(path):
        path.read_bytes()
    try:
        parsed = parse_yaml(path)
    except SpecError as error:
        raise _unusable(path, error.problems or [Problem(error.what, path)]) from error
    sheet = None
    try:
        sheet = PriceSheet.model_validate(parsed.value)
    except ValidationError as error:
        known = {place for place, _ in parsed.problems}
        for details in error.errors(include_url=False):
            place = tuple(part for part in details["loc"] if part != "[key]")
            if place not in known:
                parsed.problem(place, _what(details, place))
    if sheet is None or parsed.problems:
        raise _unusable(path, [problem for _, problem in parsed.problems])
    return sheet


def _what(details: ErrorDetails, place: Sequence[int | str]) -> str:
    name = ".".join(map(str, place)) or "the sheet"
    if details["type"] == "extra_forbidden":
        keys = _keys(place[:-1])
        near = did_you_mean(str(place[-1]), keys) or f"; there are {', '.join(keys)}"
        return f"`{name}` is not a key of a price sheet{near}"
    if details["type"] == "literal_error":
        choices = _HOSTED_FOR if place[0] == "hosting" and place[-1] != "answers" else ("included", "extra")
        wrong = str(details["input"])
        return f"`{name}`: {wrong} is not one of {', '.join(choices)}{did_you_mean(wrong, choices)}"
    if details["type"] == "missing":
        return f"`{name}` is missing"
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = details["input"]
    shown = f"the text {value!r}" if isinstance(value, str) else str(value)
    given = f", not {shown}" if message.startswith("must be") and place else ""
    return f"{name}: {message}{given}"


def _keys(place: Sequence[int | str]) -> list[str]:
    """The keys that a mapping of the sheet may have."""
    parts: Mapping[str, type[BaseModel]] = {
        "models": TokenPrices,
        "machine": MachineRent,
        "training": TrainingCosts,
        "hosting": HostingCosts,
        "people": PeopleCosts,
        "labelling": LabellingCosts,
        "upkeep": UpkeepCosts,
        "errors": ErrorCosts,
        "horizon": Horizon,
    }
    return list((parts[str(place[0])] if place else PriceSheet).model_fields)


def _unusable(path: Path, problems: Sequence[Problem]) -> ModelError:
    return ModelError(
        f"{path} is not a price sheet",
        why="a sheet says `date` and `source` once or for each part; its parts are models, machine, training, hosting, "
        "people, labelling, upkeep, errors and horizon (docs/costs.md)",
        fix="write for example: {date: 2026-01-31, source: my contract, models: {my-model: {input: 0.2, output: 0.8}}}",
        problems=problems,
    )
