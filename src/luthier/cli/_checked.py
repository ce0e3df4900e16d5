"""What `luthier check` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from luthier.cli._tables import console
from luthier.data import visible

if TYPE_CHECKING:
    from luthier.api import Checked
    from luthier.audit import Finding, Fixed, ShownRow

ROWS = 3  # that are named
SAMPLES = 3

_STYLE = {"blocks": "bold red", "harms": "bold yellow", "note": "bold"}


def print_checked(checked: Checked, fixed: Fixed | None) -> None:
    """The counts, every finding, worst first, and the rows that were asked for."""
    out = console()
    out.print(
        f"{checked.rows:,} rows: {checked.train:,} train, {checked.development:,} development, {checked.test:,} test"
    )
    for finding in checked.findings:
        out.print(_finding(finding))
    for row in checked.shown:
        out.print(_shown(row), soft_wrap=True)
    if checked.unseen:
        out.print(Text(f"not looked at: {checked.unseen}", "dim"))
    _print_summary(out, checked)
    if fixed is not None:
        if fixed.masked or fixed.unmasked:
            left = f"; {fixed.unmasked:,} rows left as they are, see the log" if fixed.unmasked else ""
            out.print(f"placeholders in place of {fixed.masked:,} values{left}")
        counts = f"({fixed.kept:,} kept, {fixed.changed:,} changed, {fixed.dropped:,} dropped)"
        out.print(Text(f"corrected copy: {fixed.file} {counts}\nlog of every change: {fixed.log}"), soft_wrap=True)


def _print_summary(out: Console, checked: Checked) -> None:
    blocking = [finding.code for finding in checked.findings if finding.severity == "blocks"]
    if blocking:
        out.print(Text(f"this would ruin a run: {', '.join(blocking)}", "bold red"))
    else:
        out.print(Text("nothing blocks", "green"))


def _finding(finding: Finding) -> Group:
    """A head line with code and rows; below it, indented, reason, effect, fix and samples."""
    head = Text.assemble((f"{finding.severity:<7}", _STYLE[finding.severity]), (finding.code, "bold"))
    head.append(f"  {finding.count:,} {'row' if finding.count == 1 else 'rows'}", style="dim")
    if finding.rows:
        named = ", ".join(str(source) for source in finding.rows[:ROWS])
        head.append(f": {named}{' …' if finding.count > ROWS else ''}", style="dim")
    body = Text(finding.reason)
    body.append(f"\nif left: {finding.effect}", style="dim")
    body.append("\nfix: ", style="bold").append(finding.fix)
    for sample in finding.samples[:SAMPLES]:
        body.append(f"\n{sample.source}  ", style="dim").append(" ".join(sample.text.split()))
        if sample.remark:
            body.append(f"  {sample.remark}", style="italic")
    return Group(head, Padding(body, (0, 0, 1, 7)))


def _shown(row: ShownRow) -> Text:
    """A row token by token: what is read is dim, what is learned green; every other token is underlined."""
    learned = sum(learned for _, learned in row.tokens)
    text = Text.assemble((f"{row.source}: {learned} of {len(row.tokens)} tokens are learned\n", "bold"))
    for place, (token, is_label) in enumerate(row.tokens):
        style = ("bold green" if is_label else "dim") + (" underline" if place % 2 else "")
        text.append(visible(token).replace("\n", "⏎\n"), style=style)
    return text
