"""Make it: rows to tokens, batches to prefix trees, a base to an adapter.

Importing this loads neither torch nor transformers; what needs them is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.train._recipe import Recipe
from luthier.train._rows import TrainingRow, check_rows
from luthier.train._track import Tracking, require_tracker

if TYPE_CHECKING:
    from luthier.train._estimate import Estimate, estimate
    from luthier.train._group import Group, current_group, launched_group
    from luthier.train._loop import fine_tune
    from luthier.train._merge import Merged, merge
    from luthier.train._predict import Asked, Job, device_of
    from luthier.train._remedies import Change, changes
    from luthier.train._result import CurvePoint, TrainProgress, TrainResult
    from luthier.train._setting import Setting

__all__ = [
    "Asked",
    "Change",
    "CurvePoint",
    "Estimate",
    "Group",
    "Job",
    "Merged",
    "Recipe",
    "Setting",
    "Tracking",
    "TrainProgress",
    "TrainResult",
    "TrainingRow",
    "changes",
    "check_rows",
    "current_group",
    "device_of",
    "estimate",
    "fine_tune",
    "launched_group",
    "merge",
    "require_tracker",
]

_HEAVY = {
    "Asked": "_predict",
    "Change": "_remedies",
    "CurvePoint": "_result",
    "Estimate": "_estimate",
    "Group": "_group",
    "Job": "_predict",
    "Merged": "_merge",
    "Setting": "_setting",
    "TrainProgress": "_result",
    "TrainResult": "_result",
    "changes": "_remedies",
    "current_group": "_group",
    "device_of": "_predict",
    "estimate": "_estimate",
    "fine_tune": "_loop",
    "launched_group": "_group",
    "merge": "_merge",
}


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(import_module(f"luthier.train.{_HEAVY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
