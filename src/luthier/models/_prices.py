"""What a hosted model costs: a small dated sheet that ships, and the user's own, which is read first."""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from luthier.errors import ModelError, Problem
from luthier.models._base import Answer, Price
from luthier.store import writing


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)  # None: cached tokens cost what fresh ones do
    source: str | None = None
    date: dt.date | None = None


class _Sheet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    date: dt.date | None = None
    source: str | None = None
    models: dict[str, _Entry] = {}
    machine: Any = None  # the price of an own machine: read and checked where it is used, by the costs of a verdict

    @model_validator(mode="after")
    def _says_where_from(self) -> _Sheet:
        for what in ("date", "source"):
            bare = [name for name, entry in self.models.items() if getattr(entry, what) is None]
            if bare and getattr(self, what) is None:
                raise ValueError(f"`{what}` is missing, for the whole sheet or for {', '.join(bare)}")
        return self


def price_of(name: str, sheet: Path | None = None) -> Price | None:
    """The price of a model by its name, or by the part after `#` of an endpoint; None where no sheet has it.

    The user's sheet is read first, then the one that ships. Where both the whole name and the part after `#` stand
    in a sheet, the whole name wins.

    Raises:
        StoreError: the user's sheet cannot be read.
        ModelError: it is not a price sheet; every problem is named.
    """
    keys = (name, name.rpartition("#")[2])
    for prices in (None if sheet is None else _user_sheet(sheet), _shipped_sheet()):
        for key in keys:
            if prices is not None and key in prices.models:
                return _price(prices, prices.models[key])
    return None


def cost_of(answer: Answer, price: Price) -> float:
    """US dollars of one answer; the tokens that a prefix cache spared cost the cached price."""
    fresh = answer.prompt_tokens - answer.shared_tokens
    dollars = fresh * price.input + answer.shared_tokens * price.cached + answer.completion_tokens * price.output
    return dollars / 1e6


def _price(sheet: _Sheet, entry: _Entry) -> Price:
    return Price(
        input=entry.input,
        output=entry.output,
        cached=entry.input if entry.cached is None else entry.cached,
        source=entry.source or sheet.source or "",
        date=str(entry.date or sheet.date),
    )


def _shipped_sheet() -> _Sheet:
    return _Sheet.model_validate(yaml.safe_load(files("luthier.models").joinpath("prices.yaml").read_text("utf-8")))


def _user_sheet(path: Path) -> _Sheet:
    with writing(path):
        data = path.read_bytes()
    try:
        content: Any = yaml.safe_load(data)
        return _Sheet.model_validate(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problems = [
            Problem(getattr(error, "problem", None) or str(error), path, None if mark is None else mark.line + 1)
        ]
    except ValidationError as error:
        problems = [
            Problem(f"{'.'.join(str(part) for part in e['loc']) or 'the sheet'}: {e['msg']}", path)
            for e in error.errors()
        ]
    raise ModelError(
        f"{path} is not a price sheet",
        why="a sheet has `models`, each with `input` and `output` (`cached` may be left out) in US dollars per million "
        "tokens, and says `date` and `source` once or for each; it may have `machine`",
        fix="write for example: {date: 2026-01-31, source: my contract, models: {my-model: {input: 0.2, output: 0.8}}}",
        problems=problems,
    )
