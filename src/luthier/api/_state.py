"""Everything that the report and the dashboard show, gathered from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.api._checking import last_check
from luthier.api._decisions import Decision, last_decision
from luthier.spec import Task

if TYPE_CHECKING:
    from luthier.api._project import Project


@dataclass(frozen=True)
class ReportState:
    """What is known about a task now; None where a verb has not been run yet.

    `gate` and `capability` are the last validation (plain JSON values), `release` the champion's version and
    lock, `refresh` the last comparison with a champion, `check` what the last audit of the data kept,
    `curves` the last learning curve of each method.
    """

    task: Task
    decision: Decision | None
    gate: Mapping[str, Any] | None
    capability: Mapping[str, Any] | None
    release: Mapping[str, Any] | None
    refresh: Mapping[str, Any] | None
    check: Mapping[str, Any] | None = None
    curves: tuple[Mapping[str, Any], ...] = ()

    @staticmethod
    def masked(text: str) -> str:
        """A text of the data or an answer as it is shown: personal data and secrets in it are masked."""
        from luthier.audit import veiled

        return veiled(text)


def report_state(project: Project) -> ReportState:
    """Read the state of a project from its store."""
    from luthier.release import champion

    store = project.store
    validation = store.latest_document("validation")
    refreshed = store.latest_document("refresh")
    released = champion(store, project.task.task)
    return ReportState(
        task=project.task,
        decision=last_decision(store),
        gate=None if validation is None else validation[1]["gate"],
        capability=None if validation is None else validation[1]["capability"],
        release=None if released is None else {"version": released.version, "lock": dict(released.lock)},
        refresh=None if refreshed is None else refreshed[1],
        check=last_check(store),
        curves=tuple({key: value for key, _, value in store.documents("curve")}.values()),
    )
