"""Luthier from Python: `Project`, one method a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.api._checking import Checked
from luthier.api._project import Lived, Progress, Project
from luthier.api._start import init_example, init_task

if TYPE_CHECKING:
    from luthier.api._state import ReportState

__all__ = ["Checked", "Lived", "Progress", "Project", "ReportState", "init_example", "init_task"]


def __getattr__(name: str) -> Any:
    # the state's types are heavy to import: on first use only
    if name == "ReportState":
        from luthier.api._state import ReportState

        return ReportState
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
