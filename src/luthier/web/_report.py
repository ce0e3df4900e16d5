"""The report: one self-contained HTML file that an engineer believes and a budget holder can sign."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier import __version__
from luthier.data import visible
from luthier.web import _figures as figures

if TYPE_CHECKING:
    from jinja2 import Environment

    from luthier.api import Project, ReportState

SIDE_BY_SIDE = 12
SHORT = (320, 4)  # characters and lines of a text on the pages that are signed
SIGNED_LINES = 24  # of all texts of cases there, as paper breaks them
MOST_SHOWN = 12_000  # characters of a text that are looked at to show it


def write_report(project: Project) -> Path:
    """Write `.luthier/report.html`; gives its path."""
    return project.keep("report.html", render_report(project.state()))


def render_report(state: ReportState) -> str:
    """The report as one HTML text without any outside reference. Everything from data is escaped."""
    template = environment().get_template("report.html.jinja")
    pairs = side_by_side(state)
    return template.render(
        state=state,
        task=state.task,
        decision=state.decision,
        version=__version__,
        findings=_findings(state),
        ladder=_ladder(state),
        pairs=pairs,
        signed=_signed(pairs),
        short=SHORT,
        training=_training(state),
        figures=_drawn(state),
        untested=untested(state),
        lock=None if state.release is None else json.dumps(state.release["lock"], indent=2, ensure_ascii=False),
    )


def environment() -> Environment:
    """Templates of this package, everything escaped, and what cannot be seen spelled out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("luthier.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # Markup is of this package
    )
    environment.filters |= {"usd": _usd, "brief": _brief}
    return environment


def _findings(state: ReportState) -> Sequence[Mapping[str, Any]]:
    """What the last check found; where there was none, what the decision was told."""
    if state.check is not None:
        return list(state.check["findings"])
    found = [] if state.decision is None else state.decision.findings
    return [{"effect": "", "samples": []} | dict(finding) for finding in found]


def _ladder(state: ReportState) -> list[dict[str, Any]]:
    if state.decision is None:
        return []
    evidence, verdict = state.decision.evidence, state.decision.verdict
    looked_up = (evidence.knowledge or {}).get("passages", {})
    return [
        {
            "judged": judged,
            "measured": measured,
            "chosen": (measured.choices or {}).get("chosen", ""),
            "read": looked_up.get(judged.rung, {}).get("words", ""),
        }
        for judged, measured in zip(verdict.rungs, evidence.rungs, strict=True)
    ]


def _training(state: ReportState) -> Mapping[str, Any] | None:
    """The training of the last trained rung, None where nothing was trained."""
    if state.decision is None:
        return None
    found = [r.choices["training"] for r in state.decision.evidence.rungs if r.choices and "training" in r.choices]
    return found[-1] if found else None


def _drawn(state: ReportState) -> dict[str, Any]:
    drawn: dict[str, Any] = {"ladder": "", "cost": "", "tornado": "", "training": "", "capability": ""}
    drawn["curves"] = [figures.learning_curve(curve) for curve in state.curves]
    if state.decision is not None:
        verdict, evidence = state.decision.verdict, state.decision.evidence
        drawn |= {"ladder": figures.ladder(verdict), "cost": figures.score_against_cost(verdict, evidence)}
        if verdict.costs is not None:
            drawn["tornado"] = figures.tornado(verdict.costs)
    training = _training(state)
    if training is not None:
        drawn["training"] = figures.training_curve(training)
    if state.capability is not None:
        drawn["capability"] = figures.capability(state.capability["families"])
    return drawn


def side_by_side(state: ReportState) -> list[dict[str, Any]]:
    """Test cases on which the rungs differ most, with every rung's answer: the best rung against the next cheaper.

    Personal data are masked.
    """
    decision = state.decision
    if decision is None or not decision.records:
        return []
    rungs = list(decision.records)
    best = decision.verdict.rung or max(rungs, key=lambda r: _mean([x.score for x in decision.records[r]]))
    answers = {rung: {record.case: record for record in records} for rung, records in decision.records.items()}

    def gap(case: Mapping[str, str]) -> float:
        mine = answers[best].get(case["id"])
        others = [answers[r][case["id"]].score for r in rungs if r != best and case["id"] in answers[r]]
        return -1.0 if mine is None or not others else abs(mine.score - max(others))

    chosen = sorted(decision.cases, key=gap, reverse=True)[:SIDE_BY_SIDE]
    return [
        {
            "input": state.masked(case["input"][:MOST_SHOWN]),
            "wanted": state.masked(case["wanted"][:MOST_SHOWN]),
            "answers": [
                (rung, found.score, state.masked(found.answer[:MOST_SHOWN]))
                for rung in rungs
                if (found := answers[rung].get(case["id"]))
            ],
        }
        for case in chosen
    ]


def _signed(pairs: Sequence[Mapping[str, Any]]) -> int:
    """How many cases stand before the signature: two where that leaves it on the second page, else one."""
    texts = [text for p in pairs[:2] for text in (p["input"], p["wanted"], *(answer for *_, answer in p["answers"]))]
    lines = sum(1 + len(line) // 90 for text in texts for line in _brief(text, *SHORT).split("\n"))
    return 2 if lines <= SIGNED_LINES else 1


def untested(state: ReportState) -> list[str]:
    """What the reader might think was tested, and was not."""
    if state.decision is None:
        return []
    said = [f"{r.rung}: {r.skipped}" for r in state.decision.evidence.rungs if r.skipped]
    if state.gate is None:
        said.append("the gate (behaviour, capability, serving): luthier validate was not run")
    elif state.capability is None:
        said.append("general capability: not measured again, for no weights were changed")
    said.append("inputs unlike the examples: the test cases are drawn from them")
    if any(rung.trained and rung.scores for rung in state.decision.evidence.rungs):
        said.append("other runs of the training: one seed")
    return said


def _brief(text: str, characters: int, lines: int = 8) -> str:
    """The beginning of a text, so that no text takes more than its share of a page."""
    whole = visible(text)
    kept = "\n".join(whole.split("\n")[:lines])[:characters]
    return whole if kept == whole else f"{kept.rstrip()} …"


def _usd(value: float | None) -> str:
    if value is None:
        return "–"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.2f}" if size >= 0.1 or not size else f"{value:.4f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
