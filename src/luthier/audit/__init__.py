"""What would ruin a run: findings about the data, each with its rows, its reason, its fix and its effect."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.audit._catalogue import EFFECTS
from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding, sample
from luthier.audit._fix import Fixed, write_fixed
from luthier.audit._neighbours import telling
from luthier.audit._points import Point, Subset, nested_subsets
from luthier.audit._run import audit, worst_first
from luthier.audit.knowledge import AnswerFacts, Passages, StatedFacts, stated_facts
from luthier.audit.labels import Suspected, columns, one_slip, suspected_labels
from luthier.audit.personal import veiled

if TYPE_CHECKING:
    from luthier.audit._curve import LearningCurve, fit_curve
    from luthier.audit._deep import Instruments, audit_deeply
    from luthier.audit._taught import ShownRow, check_taught, show_rows

__all__ = [
    "EFFECTS",
    "AnswerFacts",
    "Dataset",
    "Finding",
    "Fixed",
    "Instruments",
    "LearningCurve",
    "Passages",
    "Point",
    "Sample",
    "Severity",
    "ShownRow",
    "StatedFacts",
    "Subset",
    "Suspected",
    "audit",
    "audit_deeply",
    "check_taught",
    "columns",
    "finding",
    "fit_curve",
    "nested_subsets",
    "one_slip",
    "sample",
    "show_rows",
    "stated_facts",
    "suspected_labels",
    "telling",
    "veiled",
    "worst_first",
    "write_fixed",
]

_LATE = {
    "Instruments": "_deep",
    "LearningCurve": "_curve",
    "ShownRow": "_taught",
    "audit_deeply": "_deep",
    "check_taught": "_taught",
    "fit_curve": "_curve",
    "show_rows": "_taught",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"luthier.audit.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
