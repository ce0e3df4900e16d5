"""What would ruin a run: findings about the data, each with its rows, its reason, its fix and its effect."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.audit._catalogue import EFFECTS
from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding, sample
from luthier.audit._fix import Fixed, write_fixed
from luthier.audit._points import Point, Subset, nested_subsets
from luthier.audit._run import audit, worst_first

if TYPE_CHECKING:
    from luthier.audit._deep import Instruments, audit_deeply
    from luthier.audit._taught import ShownRow, check_taught, show_rows

__all__ = [
    "EFFECTS",
    "Dataset",
    "Finding",
    "Fixed",
    "Instruments",
    "Point",
    "Sample",
    "Severity",
    "ShownRow",
    "Subset",
    "audit",
    "audit_deeply",
    "check_taught",
    "finding",
    "nested_subsets",
    "sample",
    "show_rows",
    "worst_first",
    "write_fixed",
]

_MODELS = {
    "Instruments": "_deep",
    "ShownRow": "_taught",
    "audit_deeply": "_deep",
    "check_taught": "_taught",
    "show_rows": "_taught",
}


def __getattr__(name: str) -> Any:
    if name in _MODELS:
        return getattr(import_module(f"luthier.audit.{_MODELS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
