"""Where a folder stands, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.api._decisions import last_decision
from luthier.release import champion

if TYPE_CHECKING:
    from luthier.api._project import Project


def next_step(project: Project) -> tuple[str, str]:
    """Where this folder stands, and the one command that comes next."""
    if not project.home.is_dir():
        return f"{project.task.task}: nothing has been done yet", "luthier check"
    decision = last_decision(project.store)
    if decision is None:
        return f"{project.task.task}: nothing has been decided yet", "luthier decide"
    verdict = decision.verdict
    if verdict.rung is None:
        return f"{project.task.task}: {verdict.kind}. {verdict.sentence}", (*verdict.advice, "luthier report")[0]
    serving = champion(project.store, project.task.task)
    if serving is not None and serving.lock["system"]["identity"] == decision.systems[verdict.rung]:
        return f"{project.task.task}: release {serving.version} ({verdict.rung}) is in service", "luthier watch"
    validation = project.store.get_document("validation", decision.key)
    if validation is None:
        return f"{project.task.task}: {verdict.sentence}", "luthier validate"
    if not validation["gate"]["passed"]:
        return f"{project.task.task}: {validation['rung']} did not pass the gate", "luthier report"
    return f"{project.task.task}: {validation['rung']} passed the gate", "luthier release promote"
