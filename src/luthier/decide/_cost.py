"""What a rung costs: by the price of tokens where the model is hosted, else by the time of a machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.decide._evidence import Cost
from luthier.decide._inputs import Figure, inputs_of
from luthier.errors import EvidenceError
from luthier.evaluate import Record
from luthier.models import Model, Price, price_of


@dataclass(frozen=True)
class MachinePrice:
    """US dollars for an hour of the machine that answers, and where the figure comes from."""

    usd_per_hour: float
    source: str
    date: str


# Rounded from public on-demand list prices; a user's own figure goes under `machine:` in the price sheet.
PROCESSOR = MachinePrice(0.10, "assumed: a rented machine with 2 processor cores", "2026-01-31")
ACCELERATOR = MachinePrice(3.00, "assumed: a rented machine with one data-centre GPU", "2026-01-31")


def cost_of(
    records: Sequence[Record],
    model: Model,
    *,
    volume: int | None,
    sheet: Path | None = None,
    build_seconds: float = 0.0,
    examples: int = 0,
) -> Cost:
    """The cost of a rung, from what its answers took.

    Hosted: 1000 (P ((1 - h) c_in + h c_cached) + W (c_write - c_in) + O c_out), with P prompt and O answer tokens a
    request, h the share of prompt tokens in a cached prefix and W the tokens written to the cache, all as measured.
    Local: measured seconds times the price of the machine.

    Args:
        records: the measured cases, at least one.
        model: what answered.
        volume: requests a month; None leaves the monthly figure out.
        sheet: the user's price sheet, which may also hold `machine:`.
        build_seconds: what it took to build the rung on this machine (training).
        examples: how many labelled examples the rung draws on.

    Raises:
        EvidenceError: there are no records.
        ModelError: the price sheet cannot be used.
    """
    if not records:
        raise EvidenceError(f"nothing was measured with {model.name}", fix="run `luthier decide` first")
    n = len(records)
    prompt, answer = sum(r.prompt_tokens for r in records) / n, sum(r.completion_tokens for r in records) / n
    shared, mean_seconds = sum(r.shared_tokens for r in records) / n, sum(r.seconds for r in records) / n
    price, machine = price_of(model.name, sheet), machine_price(model, sheet)
    written = 0.0 if price is None or price.write is None else written_tokens(records)
    if price is not None:
        per_1000 = 1000 * tokens_cost(price, prompt, shared, answer, written)
        basis = f"tokens at the prices of {price.date} ({price.source})"
    else:
        per_1000 = 1000 * mean_seconds * machine.usd_per_hour / 3600
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
        mean_seconds=mean_seconds,
        written=written,
        price=price,
        machine=machine.usd_per_hour,
        machine_source=machine.source,
        build_seconds=build_seconds,
        examples=examples,
    )


def written_tokens(records: Sequence[Record]) -> float:
    """Tokens a request that are put into the provider's cache.

    The longest prefix that any request found there is taken to be what is kept; a request that found less of it wrote
    the rest. Where no request found anything, nothing was kept.
    """
    kept = max(r.shared_tokens for r in records)
    return sum(max(0, min(kept, r.prompt_tokens) - r.shared_tokens) for r in records) / len(records)


def tokens_cost(price: Price, prompt: float, shared: float, answer: float, written: float = 0.0) -> float:
    """US dollars of one request: `shared` of its `prompt` tokens are found in the cache, `written` are put there."""
    write = price.input if price.write is None else price.write
    fresh = (prompt - shared - written) * price.input + shared * price.cached + written * write
    return (fresh + answer * price.output) / 1e6


def machine_price(model: Model, sheet: Path | None) -> MachinePrice:
    """The price of the machine: the user's, or an assumed one for a processor or an accelerator.

    Raises:
        StoreError, ModelError: the price sheet cannot be used.
    """
    own = own_machine_price(sheet)
    if own is not None:
        return own
    device = str(getattr(getattr(model, "module", None), "device", "cpu"))
    return PROCESSOR if device == "cpu" else ACCELERATOR


def own_machine_price(sheet: Path | None) -> MachinePrice | None:
    """What the user's price sheet says an hour of the machine costs; None where it says nothing.

    Raises:
        StoreError, ModelError: the price sheet cannot be used.
    """
    found: Figure | None = inputs_of(sheet).machine
    return None if found is None else MachinePrice(found.value, found.source, found.date)
