"""What a rung costs: by the price of tokens where the model is hosted, else by the time of a machine."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.decide._evidence import Cost
from luthier.errors import EvidenceError, ModelError, Problem
from luthier.evaluate import Record
from luthier.models import Model, Price, price_of

REPAY_MONTHS = 12
_HELP = "machine: {usd_per_hour: 0.25, source: my contract, date: 2026-01-31}"


@dataclass(frozen=True)
class MachinePrice:
    """US dollars for an hour of the machine that answers, and where the figure comes from."""

    usd_per_hour: float
    source: str
    date: str


# Rounded from public on-demand list prices; a user's own figure goes under `machine:` in the price sheet.
PROCESSOR = MachinePrice(0.10, "assumed: a rented machine with 2 processor cores", "2026-01-31")
ACCELERATOR = MachinePrice(3.00, "assumed: a rented machine with one data-centre GPU", "2026-01-31")


class _Machine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_hour: float = Field(gt=0)
    source: str
    date: dt.date


def cost_of(
    records: Sequence[Record],
    model: Model,
    *,
    volume: int | None,
    sheet: Path | None = None,
    build_seconds: float = 0.0,
) -> Cost:
    """The cost of a rung, from what its answers took.

    Hosted: 1000 (P ((1 - h) c_in + h c_cached) + O c_out), with P prompt and O answer tokens a request and h the share
    of prompt tokens in a cached prefix, all as measured. Local: measured seconds times the price of the machine.

    Args:
        records: the measured cases, at least one.
        model: what answered.
        volume: requests a month; None leaves the monthly figure out.
        sheet: the user's price sheet, which may also hold `machine:`.
        build_seconds: what it took to build the rung on this machine (training).

    Raises:
        EvidenceError: there are no records.
        ModelError: the price sheet cannot be used.
    """
    if not records:
        raise EvidenceError(f"nothing was measured with {model.name}", fix="run `luthier decide` first")
    n = len(records)
    prompt, answer = sum(r.prompt_tokens for r in records) / n, sum(r.completion_tokens for r in records) / n
    shared = sum(r.shared_tokens for r in records) / n
    price, machine = price_of(model.name, sheet), machine_price(model, sheet)
    if price is not None:
        per_1000 = 1000 * tokens_cost(price, prompt, shared, answer)
        basis = f"tokens at the prices of {price.date} ({price.source})"
    else:
        per_1000 = 1000 * sum(r.seconds for r in records) / n * machine.usd_per_hour / 3600
        basis = f"seconds measured here at ${machine.usd_per_hour:.2f} an hour ({machine.source})"
    return Cost(
        per_1000=per_1000,
        per_month=None if volume is None else per_1000 * volume / 1000,
        once=build_seconds * machine.usd_per_hour / 3600,
        prompt_tokens=prompt,
        completion_tokens=answer,
        shared=shared / prompt if prompt else 0.0,
        seconds=statistics.median(r.seconds for r in records),
        basis=basis,
    )


def tokens_cost(price: Price, prompt: float, shared: float, answer: float) -> float:
    """US dollars of one request with `shared` of its `prompt` tokens in a cached prefix."""
    return ((prompt - shared) * price.input + shared * price.cached + answer * price.output) / 1e6


def machine_price(model: Model, sheet: Path | None) -> MachinePrice:
    """The price of the machine: the user's, or an assumed one for a processor or an accelerator.

    Raises:
        ModelError: `machine:` in the sheet cannot be used.
    """
    own = own_machine_price(sheet)
    if own is not None:
        return own
    device = str(getattr(getattr(model, "module", None), "device", "cpu"))
    return PROCESSOR if device == "cpu" else ACCELERATOR


def own_machine_price(sheet: Path | None) -> MachinePrice | None:
    """What the user's price sheet says an hour of the machine costs; None where it says nothing.

    Raises:
        ModelError: `machine:` in the sheet cannot be used.
    """
    if sheet is None:
        return None
    content: Any = yaml.safe_load(sheet.read_text(encoding="utf-8"))
    return _own_machine(content["machine"], sheet) if isinstance(content, dict) and "machine" in content else None


def _own_machine(value: Any, sheet: Path) -> MachinePrice:
    try:
        machine = _Machine.model_validate(value)
    except ValidationError as error:
        problems = [Problem(f"machine.{'.'.join(map(str, e['loc']))}: {e['msg']}", sheet) for e in error.errors()]
        raise ModelError(f"{sheet} has no usable machine price", fix=f"write: {_HELP}", problems=problems) from error
    return MachinePrice(machine.usd_per_hour, machine.source, machine.date.isoformat())


def monthly(cost: Cost | None) -> float | None:
    """US dollars a month with what it took to build spread over 12 months; None where it is not known."""
    if cost is None or cost.per_month is None:
        return None
    return cost.per_month + (cost.once or 0.0) / REPAY_MONTHS


def break_even(now: Cost | None, instead: Cost | None) -> float | None:
    """Requests a month from which `instead` is cheaper than `now` within 12 months.

    None where a cost is not known or a request costs no less: then no volume makes it cheaper. Upkeep is taken to be
    equal on both sides.
    """
    if now is None or instead is None or now.per_1000 is None or instead.per_1000 is None:
        return None
    saved = (now.per_1000 - instead.per_1000) / 1000
    if saved <= 0:
        return None
    return max(0.0, ((instead.once or 0.0) - (now.once or 0.0)) / (REPAY_MONTHS * saved))
