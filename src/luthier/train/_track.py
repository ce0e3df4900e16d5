"""A run's course in TensorBoard, MLflow, W&B or Trackio, each through its own library and only when it is asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from luthier.errors import TrainingError
from luthier.spec import TrackerName
from luthier.store import read_json, write_json
from luthier.train._recipe import Recipe

if TYPE_CHECKING:
    from luthier.train._result import CurvePoint

log = logging.getLogger(__name__)

FILE = "tracking.json"  # in the run's folder: what the trackers call this run
PACKAGES: Mapping[TrackerName, str] = {
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "trackio": "trackio",
}


@dataclass(frozen=True)
class Tracking:
    """Where to show a run: which library, under what name, and in which folder it keeps what it keeps here."""

    library: TrackerName
    name: str
    folder: Path


@dataclass(frozen=True)
class Opening:
    """What a library is told when a run begins or goes on.

    `known` is what it called the run when that began, None for a new one.
    """

    name: str
    folder: Path
    known: str | None
    parameters: Mapping[str, str | int | float]


class Tracker(Protocol):
    """A run in one library. `id` is its name there, `logged` the last step that it has, `failures` its own errors."""

    id: str
    logged: int
    failures: tuple[type[Exception], ...]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a step; steps come in order, each once."""

    def close(self, finished: bool) -> None:
        """The run is finished, or stopped and may go on."""


def require_tracker(library: TrackerName | None) -> None:
    """See that a tracker's package is there, before anything is spent.

    Raises:
        TrainingError: it is not installed.
    """
    if library is not None and find_spec(PACKAGES[library]) is None:
        raise _unusable(library, f"the Python package {PACKAGES[library]} is not installed")


class Tracked:
    """Shows the points of a curve in a tracker, each step once, also when the run was stopped and goes on.

    A step is shown when the next one is done: only then is it known whether it has a development score. A tracker that
    fails is given up with one warning; training goes on.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker
        self._logged = tracker.logged if tracker else 0
        self._finished = False

    def follow(self, curve: Sequence[CurvePoint]) -> None:
        """Show all but the last point, as far as they are not shown."""
        self._show(curve[self._logged : -1])

    def finish(self, curve: Sequence[CurvePoint]) -> None:
        """The run is at its end: show the rest."""
        self._show(curve[self._logged :])
        self._finished = True

    def close(self) -> None:
        """Take leave of the tracker."""
        if self._tracker is not None:
            with self._giving_up() as tracker:
                tracker.close(self._finished)

    def _show(self, points: Sequence[CurvePoint]) -> None:
        for point in points:
            if self._tracker is None:
                return
            with self._giving_up() as tracker:
                tracker.log(point.step, _values(point))
            self._logged = point.step

    @contextmanager
    def _giving_up(self) -> Iterator[Tracker]:
        assert self._tracker is not None
        try:
            yield self._tracker
        except self._tracker.failures as error:
            log.warning(
                "this run is no longer tracked (step %d on): %s: %s", self._logged + 1, type(error).__name__, error
            )
            self._tracker = None


@contextmanager
def tracked(tracking: Tracking | None, out: Path, recipe: Recipe) -> Iterator[Tracked]:
    """The run in `out`, shown as `tracking` says, if it does.

    Args:
        tracking: where; None shows nothing.
        out: the run's folder, which remembers what the tracker calls the run.
        recipe: shown as the run's parameters.

    Raises:
        TrainingError: the tracker cannot be used. Nothing is trained then.
    """
    shown = Tracked(None if tracking is None else _open(tracking, out, recipe))
    try:
        yield shown
    finally:
        shown.close()


def _open(tracking: Tracking, out: Path, recipe: Recipe) -> Tracker:
    library = tracking.library
    require_tracker(library)
    known: dict[str, str] = read_json(out / FILE) if (out / FILE).is_file() else {}
    opening = Opening(tracking.name, tracking.folder, known.get(library), _parameters(recipe))
    try:
        trackers = import_module("luthier.train._trackers")
        kind = trackers.TRACKERS[library]
        failures: tuple[type[Exception], ...] = kind.errors()
    except ImportError as error:
        raise _unusable(library, f"its package cannot be imported: {error}") from error
    try:
        tracking.folder.mkdir(parents=True, exist_ok=True)
        tracker: Tracker = kind(opening)
    except failures as error:
        raise _unusable(library, str(error)) from error
    if known.get(library) != tracker.id:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / FILE, known | {library: tracker.id})
    return tracker


def _unusable(library: TrackerName, what: str) -> TrainingError:
    return TrainingError(
        f"the run cannot be tracked in {library}: {what}",
        why="train: track in luthier.yaml asks for it",
        fix=f"pip install {PACKAGES[library]}, set {library} up as its own documentation says, or remove track:",
    )


def _values(point: CurvePoint) -> dict[str, float]:
    """What is shown of a step, by the names that the trackers get."""
    seconds = max(point.seconds, 1e-9)
    values = {
        "loss": point.loss,
        "learning_rate": point.lr,
        "gradient_norm": point.gradient_norm,
        "tokens_per_second": point.tokens / seconds,
        "effective_tokens_per_second": point.row_tokens / seconds,
        "saved_share": 1 - point.tokens / point.row_tokens,
        "drift": point.drift,
        "development_score": point.dev_score,
    }
    return {name: value for name, value in values.items() if value is not None}


def _parameters(recipe: Recipe) -> dict[str, str | int | float]:
    def plain(value: Any) -> str | int | float:
        return value if isinstance(value, str | int | float) else json.dumps(value)

    return {name: plain(value) for name, value in recipe.as_dict().items()}
