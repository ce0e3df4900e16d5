"""What a hosted model costs by the price sheet: the user's own, which is read first, and the one that ships."""

from __future__ import annotations

from pathlib import Path

from luthier.models._base import Answer, Price
from luthier.models._sheet import PriceSheet, TokenPrices, load_sheet, shipped_sheet


def price_of(name: str, sheet: Path | None = None) -> Price | None:
    """The price of a model by its name, or by the part after `#` of an endpoint; None where no sheet has it.

    The user's sheet is read first, then the one that ships. Where both the whole name and the part after `#` stand
    in a sheet, the whole name wins.

    Raises:
        StoreError: the user's sheet cannot be read.
        ModelError: it is not a price sheet; every problem is named.
    """
    own = None if sheet is None else price_in(load_sheet(sheet), name)
    return own if own is not None else price_in(shipped_sheet(), name)


def price_in(sheet: PriceSheet, name: str) -> Price | None:
    """The price of a model in one sheet; None where it has none."""
    for key in (name, name.rpartition("#")[2]):
        if key in sheet.models:
            return _price(sheet, sheet.models[key])
    return None


def cost_of(answer: Answer, price: Price) -> float:
    """US dollars of one answer; the tokens that a prefix cache spared cost the cached price."""
    fresh = answer.prompt_tokens - answer.shared_tokens
    dollars = fresh * price.input + answer.shared_tokens * price.cached + answer.completion_tokens * price.output
    return dollars / 1e6


def _price(sheet: PriceSheet, entry: TokenPrices) -> Price:
    source, date = sheet.where_from(entry)
    return Price(
        input=entry.input,
        output=entry.output,
        cached=entry.input if entry.cached is None else entry.cached,
        source=source,
        date=date,
        write=entry.write,
    )
