"""The learning curve of a task: priced, measured, fitted and kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from luthier.audit import LearningCurve, fit_curve
from luthier.decide import Bench, CurveMethod, CurveWork, forecast_curve, measure_curve
from luthier.errors import EvidenceError

CURVE = "curve"
CURVE_FORMAT = 1
LEAST_ROWS = 16  # gives four subsets of four rows and more


def learn_curve(bench: Bench, method: CurveMethod, told: Callable[[CurveWork], None]) -> LearningCurve:
    """Measure the points that are missing, fit, and keep the result as the document `curve` of this method.

    Args:
        bench: task, cases, scorer, base and store.
        method: how the points are measured.
        told: called with what it takes, before it is spent.

    Raises:
        EvidenceError: too few training rows.
        TooLongError: the demonstrations do not fit the base's context.
        ModelError, TrainingError: `lora`, and the base cannot be trained.
    """
    rows = len(bench.split.train)
    if rows < LEAST_ROWS:
        raise EvidenceError(
            f"{rows} training rows are too few for a learning curve",
            why="it is drawn through the scores with an eighth, a quarter, half and three quarters of them",
            fix=f"collect at least {LEAST_ROWS - rows} more examples",
        )
    told(forecast_curve(bench, method))
    points = measure_curve(bench, method)
    found = fit_curve(points, method=method, bar=bench.task.bar)
    about: dict[str, Any] = {
        "format": CURVE_FORMAT,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "base": bench.base.name,
        "split": bench.split.hash,
        "scorer": bench.scorer.name,
    }
    bench.store.put_document(CURVE, method, about | found.as_dict())
    return found
