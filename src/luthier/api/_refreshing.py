"""`refresh`: the whole recipe again, compared with the champion, promoted only if not worse."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from luthier.api._bench import open_bench
from luthier.api._data import read_data
from luthier.api._decisions import Decision, decision_of, keep_decision
from luthier.api._releasing import (
    judged_against_champion,
    keep_validation,
    measured_scores,
    put_to_gate,
    release_system,
)
from luthier.decide import Comparison, Evidence, Verdict
from luthier.errors import EvidenceError
from luthier.release import GateReport, Release
from luthier.upkeep import refresh

if TYPE_CHECKING:
    from luthier.api._project import Project


@dataclass(frozen=True)
class RefreshOutcome:
    """What a refresh found and did. `promoted` is the new champion, None when the old one stays."""

    base: str
    rung: str
    verdict: Verdict
    evidence: Evidence
    comparison: Comparison
    margin: float
    reason: str
    gate: GateReport | None
    promoted: Release | None

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
        }


def refresh_release(project: Project, base: str | None) -> RefreshOutcome:
    """Refresh on another base, or on the task's own with the data as they are now.

    Raises:
        ReleaseError: nothing has been released yet.
        EvidenceError: too few test cases are shared with the champion's, or a judge scores.
    """
    champion = project.release()
    if project.task.score.kind == "judge":
        raise EvidenceError(
            "a refresh compares the scores of two systems, and a judge's decide nothing before labels correct them",
            fix="name the new base: in luthier.yaml, then: luthier decide, luthier judge --sample 60, luthier judge",
        )
    data = read_data(project.task, project.store)
    bench = open_bench(project.task, project.store, data, project.progress, base=base)
    scores, lock = measured_scores(project.store, champion), champion.lock
    found = refresh(bench, scores, lock["system"]["method"], lock["base"]["identity"] if base is None else None)
    decision: Decision = decision_of(bench, data, found.climbed, found.verdict)
    gate, promoted = None, None
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
    )
    project.store.put_document("refresh", f"{champion.name} {decision.created}", outcome.as_dict())
    return outcome
