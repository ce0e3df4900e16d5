"""How far the judge agrees with people, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from luthier.cli._tables import console, escape

if TYPE_CHECKING:
    from luthier.api._judging import Calibration, Sheet


def print_calibration(found: Calibration) -> None:
    """Sensitivity, specificity, J and kappa by rung and over all."""
    out = console()
    table = Table(title="the judge against labels of people [95 %]".replace("[", "\\["), title_justify="left")
    for name in ("rung", "labels", "sensitivity", "specificity", "J", "agreement", "kappa"):
        table.add_column(name)
    for rung, agreed in (*found.rungs.items(), ("all", found.overall)):
        table.add_row(
            escape(rung),
            str(agreed.labels),
            _rate(agreed.sensitivity),
            _rate(agreed.specificity),
            _with_interval(agreed.j, agreed.j_low, agreed.j_high),
            _number(agreed.agreement),
            _number(agreed.kappa),
        )
    out.print(table)
    if found.behind_gaps:
        told = "labels do not count yet, for an answer above them has none: label from the top, without gaps"
        out.print(f"{found.behind_gaps} {told}")
    if found.stale:
        out.print(f"{found.stale} labels are of answers that no rung gives any more; they are not used")


def print_sheet(sheet: Sheet, then: str) -> None:
    """Where the table to label lies, what to write into it, and the command that reads it."""
    out = console()
    counts = f"{sheet.rows} answers, {sheet.labelled} labelled, {sheet.added} new"
    out.print(f"{escape(sheet.file)}: {counts}", soft_wrap=True)
    words = f"{', '.join(sheet.words[:-1])} or {sheet.words[-1]}"
    out.print(escape(f"write {words} into the column `label`, then: {then}"), soft_wrap=True)
    if not sheet.named:
        named = f"and name it in luthier.yaml: score: {{..., calibration: {sheet.file.name}}}"
        out.print(escape(named), soft_wrap=True)


def _rate(rate: Any) -> str:
    return _with_interval(rate.value, rate.low, rate.high)


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return "unknown" if value is None else escape(f"{value:.2f} [{low:.2f}, {high:.2f}]")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
