"""What `luthier check --curve` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from luthier.cli._tables import console, escape

if TYPE_CHECKING:
    from luthier.audit import LearningCurve
    from luthier.decide import CurveWork

BAR = 30  # characters of a score of 1


def print_work(work: CurveWork) -> None:
    """What is about to be spent, on standard error."""
    out = Console(stderr=True, highlight=False)
    time = "" if work.seconds is None else f", about {max(1, round(work.seconds / 60))} minutes"
    money = "" if work.usd is None else f", {work.usd:.2f} USD"
    known = work.points - work.missing
    out.print(
        f"learning curve ({work.method}): {work.points} points, {known} known; {work.answers} answers{time}{money}",
        soft_wrap=True,
    )


def print_curve(curve: LearningCurve) -> None:
    """The measured points and the forecast as a table with bars, then what it means."""
    out = console()
    title = f"learning curve ({curve.method}), {curve.cases} development cases; expected: 80 % band"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("rows", justify="right")
    for name in ("score", "from – to", ""):
        table.add_column(name)
    for point in curve.measured:
        between = "" if point.repeats == 1 else f"{point.low:.3f} – {point.high:.3f} in {point.repeats} draws"
        table.add_row(f"{point.size:,}", f"{point.score:.3f}", between, "█" * round(BAR * point.score))
    for place in curve.expected:
        low, high = round(BAR * place.low), round(BAR * place.high)
        bar = "█" * low + "░" * (high - low)
        table.add_row(f"{place.size:,}", f"{place.score:.3f}", f"{place.low:.3f} – {place.high:.3f}", bar, style="dim")
    out.print(table)
    out.print(f"[bold]{escape(curve.sentence)}[/bold]", soft_wrap=True)
