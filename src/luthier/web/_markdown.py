"""The verdict as Markdown, for a pull request, a wiki or the summary of a CI run."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier import __version__
from luthier.data import visible
from luthier.web._report import untested

if TYPE_CHECKING:
    from luthier.api import ReportState

_MARKS = re.compile(r"([\\`*_\[\]|~#])")
_BEGINS = re.compile(r"^(\d*)([-+.)])(?=[\s-]|$)")  # a list or a rule


def render_markdown(state: ReportState) -> str:
    """Verdict, ladder, reasons, gate and what was not tested. What comes from data is text there, never markup."""
    decision = state.decision
    assert decision is not None  # asked for by the caller, who says what to do where there is none
    verdict = decision.verdict
    bar = "the best rung less the margin" if verdict.bar is None else f"{verdict.bar:g}"
    parts = [
        f"# {plain(state.task.task)}: {plain(verdict.kind)}",
        plain(verdict.sentence),
        f"{len(decision.evidence.cases):,} test cases, score {plain(decision.evidence.scorer)}, bar {bar}, "
        f"error budget of each rung {verdict.alpha_each:.3g}.",
        _ladder(decision),
        *(_list(head, lines) for head, lines in _said(state) if lines),
    ]
    if state.gate is not None:
        parts.append(_gate(state.gate))
    parts.append(_list("Not tested", untested(state)))
    parts.append(f"Decision {plain(decision.key)} of {plain(decision.created)}, written by luthier {__version__}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(value: Any) -> str:
    """A value in one line, in which nothing is read as HTML or Markdown."""
    text = html.escape(visible(" ".join(str(value).split())), quote=False)
    return _BEGINS.sub(r"\1\\\2", _MARKS.sub(r"\\\1", text))


def _ladder(decision: Any) -> str:
    rows: list[tuple[str, ...]] = [("rung", "score [95 %]", "cases", "state", "USD / 1,000", "s / answer", "note")]
    for judged, measured in zip(decision.verdict.rungs, decision.evidence.rungs, strict=True):
        score = "–"
        if judged.mean is not None:
            score = f"{judged.mean:.3f} [{judged.display_low:.3f}, {judged.display_high:.3f}]"
        cost = measured.cost
        price = "–" if cost is None or cost.per_1000 is None else f"{cost.per_1000:.4g}"
        seconds = "–" if cost is None else f"{cost.seconds:.2f}"
        name = f"**{plain(judged.rung)}**" if judged.rung == decision.verdict.rung else plain(judged.rung)
        cells = (f"{judged.answered} of {judged.planned}", str(judged.state), price, seconds, judged.note)
        rows.append((name, plain(score), *map(plain, cells)))
    return _table(rows)


def _said(state: ReportState) -> list[tuple[str, Sequence[str]]]:
    assert state.decision is not None
    verdict = state.decision.verdict
    granted = "granted" if verdict.warrant.granted else "refused"
    return [
        ("Because", verdict.reasons),
        ("Next", verdict.advice),
        ("Would change it", verdict.flips),
        ("Warrant to fine-tune", [f"{granted}: {verdict.warrant.reason}"]),
    ]


def _gate(gate: Mapping[str, Any]) -> str:
    rows = [("check", "passed", "reason")]
    rows += [(plain(c["name"]), "yes" if c["passed"] else "**no**", plain(c["reason"])) for c in gate["checks"]]
    verdict = "passed" if gate["passed"] else "not passed"
    return f"## Gate of {plain(gate['rung'])}: {verdict}\n\n{_table(rows)}"


def _list(head: str, lines: Sequence[str]) -> str:
    return f"## {head}\n\n" + "\n".join(f"- {plain(line)}" for line in lines) if lines else ""


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
