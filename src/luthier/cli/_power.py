"""What `luthier decide --power` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from luthier.cli._tables import console, escape

if TYPE_CHECKING:
    from luthier.decide import Power


def print_power(power: Power) -> None:
    """Chances by true score, differences between rungs, and all of it in sentences."""
    out = console()
    if power.outlooks:
        out.print(_outlooks(power))
    out.print(_pairs(power))
    for sentence in power.summary:
        out.print(f"  {escape(sentence)}", soft_wrap=True)
    for assumed in power.assumed:
        out.print(f"  [dim]assumed: {escape(assumed)}[/dim]", soft_wrap=True)


def _outlooks(power: Power) -> Table:
    table = Table(title=f"a rung against the bar of {power.bar:g} ({power.how})", title_justify="left")
    table.add_column("true score")
    for name in ("shown to meet", "shown to fall short", "open", f"{power.unit} for 80 %", "more"):
        table.add_column(name, justify="right")
    for outlook in power.outlooks:
        left = max(0.0, 1 - outlook.meets - outlook.falls_short)
        shares = (f"{share:.1%}" for share in (outlook.meets, outlook.falls_short, left))
        table.add_row(f"{outlook.truth:g}", *shares, *_numbers(power, outlook.total))
    return table


def _pairs(power: Power) -> Table:
    how = "" if power.outlooks else f" ({power.how})"
    table = Table(title=f"two rungs on the same cases{how}", title_justify="left")
    table.add_column("differ in answer on")
    table.add_column("seen from", justify="right")
    for difference in power.pairs[0].totals:
        table.add_column(f"{power.unit} for {difference}", justify="right")
    against_best = power.bar is None
    if against_best:
        table.add_column(f"as good as the best: shown within {power.margin:g}", justify="right")
        table.add_column(f"{power.unit} for 80 %", justify="right")
    for pair in power.pairs:
        seen = "never" if pair.detectable is None else f"{pair.detectable:.3f}"
        totals = [_count(total) for total in pair.totals.values()]
        best = [f"{pair.not_worse or 0:.1%}", _count(pair.not_worse_total)] if against_best else []
        table.add_row(f"{pair.discordant:.0%} of the cases", seen, *totals, *best)
    return table


def _numbers(power: Power, total: int | None) -> tuple[str, str]:
    return _count(total), "" if total is None else f"{max(0, total - power.have):,}"


def _count(total: int | None) -> str:
    return "" if total is None else f"{total:,}"
