"""The whole life of a task, from data to a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.api._project import Lived
from luthier.errors import GateError, Problem
from luthier.store import write_json

if TYPE_CHECKING:
    from luthier.api._project import Project


def live(project: Project, *, everything: bool, quick: bool) -> Lived:
    """Check, decide, validate and release. Each step is one that a user can also run alone.

    A verdict that adopts no rung ends the life there: there is nothing to validate. A failed gate ends it before the
    release.

    Raises:
        GateError: a data finding would ruin the run.
    """
    checked = project.check()
    blocking = [finding for finding in checked.findings if finding.severity == "blocks"]
    if blocking:
        raise GateError(
            f"{len(blocking)} findings in the data would ruin a run",
            fix="luthier check    (and: luthier check --fix)",
            problems=[
                Problem(f"{f.code}: {f.reason}", f.rows[0].file if f.rows else None, f.rows[0].line if f.rows else None)
                for f in blocking
            ],
        )
    verdict = project.decide(everything=everything)
    write_json(project.home / "verdict.json", verdict.as_dict())
    if verdict.rung is None:
        return Lived(verdict, None, None)
    gate = project.validate(quick=quick)
    if not gate.passed:
        return Lived(verdict, gate, None)
    return Lived(verdict, gate, project.promote())
