"""`refresh`: the whole recipe again, compared with the champion, promoted only if not worse."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from luthier.api._bench import open_bench
from luthier.api._data import read_data
from luthier.api._decisions import Decision, decision_of, keep_decision
from luthier.api._judging import Sheet, write_sheet
from luthier.api._releasing import (
    judged_against_champion,
    keep_validation,
    measured_records,
    put_to_gate,
    release_system,
)
from luthier.decide import Comparison, Evidence, Verdict
from luthier.release import GateReport, Release
from luthier.spec import JudgeScore
from luthier.upkeep import Champion, Refreshed, refresh

if TYPE_CHECKING:
    from luthier.api._project import Project


@dataclass(frozen=True)
class RefreshOutcome:
    """What a refresh found and did. `promoted` is the new champion, None when the old one stays.

    `sheet` is the table in which answers of both have to be labelled first; None unless a judge scores and labels lack.
    """

    base: str
    rung: str
    verdict: Verdict
    evidence: Evidence
    comparison: Comparison
    margin: float
    reason: str
    gate: GateReport | None
    promoted: Release | None
    sheet: Sheet | None = None

    def as_dict(self) -> dict[str, Any]:
        """For saving and for `--json`."""
        return {
            "base": self.base,
            "rung": self.rung,
            "verdict": self.verdict.as_dict(),
            "evidence": self.evidence.as_dict(),
            "comparison": asdict(self.comparison),
            "margin": self.margin,
            "reason": self.reason,
            "gate": None if self.gate is None else self.gate.as_dict(),
            "promoted": None if self.promoted is None else self.promoted.version,
            "sheet": None if self.sheet is None else self.sheet.as_dict(),
        }


def refresh_release(project: Project, base: str | None) -> RefreshOutcome:
    """Refresh on another base, or on the task's own with the data as they are now.

    Raises:
        ReleaseError: nothing has been released yet.
        EvidenceError: too few test cases are shared with the champion's.
    """
    champion = project.release()
    data = read_data(project.task, project.store)
    bench = open_bench(project.task, project.store, data, project.progress, base=base)
    lock = champion.lock
    own = lock["base"]["identity"] if base is None else None
    found = refresh(bench, Champion(measured_records(project.store, champion), lock["system"]["method"], own))
    decision: Decision = decision_of(bench, data, found.climbed, found.verdict)
    gate, promoted = None, None
    sheet = None if found.labels_wanted is None else _sheet_of(project, decision, found, found.labels_wanted)
    if found.not_worse:
        system = found.climbed.systems[found.rung]
        validated = put_to_gate(bench, system, found.rung, decision, quick=False)
        gate = judged_against_champion(validated.gate, True, found.reason, found.comparison.difference)
        if gate.passed:
            kept = keep_decision(decision, project.store)
            keep_validation(project.store, kept, replace(validated, gate=gate))
            promoted = release_system(bench, data, kept, replace(validated, gate=gate))
    outcome = RefreshOutcome(
        base=found.base,
        rung=found.rung,
        verdict=found.verdict,
        evidence=found.climbed.evidence,
        comparison=found.comparison,
        margin=found.margin,
        reason=found.reason,
        gate=gate,
        promoted=promoted,
        sheet=sheet,
    )
    project.store.put_document("refresh", f"{champion.name} {decision.created}", outcome.as_dict())
    return outcome


def _sheet_of(project: Project, decision: Decision, found: Refreshed, cases: int) -> Sheet:
    """The table with the candidate's and the champion's answers to the same cases, which people have to label."""
    settings = project.task.score
    assert isinstance(settings, JudgeScore)  # nothing else lacks labels
    pair = [found.records, found.champion]
    return write_sheet(project.task, settings, decision.cases, pair, decision.split, cases * len(pair))
