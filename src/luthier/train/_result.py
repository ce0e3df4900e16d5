"""What training reports while it runs, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luthier.errors import TrainingError
from luthier.train._recipe import Recipe
from luthier.train._setting import Setting

RESULT_VERSION = 4  # 2 had no notes, 3 did not say what computes the loss
RESULT_FILE = "luthier-train.json"


@dataclass(frozen=True)
class TrainProgress:
    """Where a run stands, after a step or an evaluation.

    `tokens_per_second` counts tokens that were run, `effective_tokens_per_second` tokens of the rows; `saved_share` is
    the part of the rows' tokens that needed no work. `seconds_left` counts steps, not evaluations. `note` is what the
    user of a run that goes on should know about it; it is told once, in the first report.
    """

    step: int
    steps: int
    loss: float
    lr: float
    tokens_per_second: float
    effective_tokens_per_second: float
    saved_share: float
    seconds_left: float | None
    dev_score: float | None
    note: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """One optimizer step.

    `loss` is nats per label token; `drift` is the divergence from the base on the step's replay rows, nats per token
    (None without replay). `tokens` were run for `row_tokens` of the rows.
    """

    step: int
    loss: float
    lr: float
    gradient_norm: float
    tokens: int
    row_tokens: int
    label_tokens: int
    seconds: float
    dev_score: float | None = None
    drift: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    `folder` holds the PEFT adapter, or for method `full` the whole model; `adapter_hash` is the hash of that folder.
    `stopped` is "done", "no better score" (early stop) or "nothing left to learn". `replay_left_out` counts replay
    rows that could not be used. `notes` say what happened to the run: a damaged checkpoint, another memory setting.
    """

    folder: Path
    adapter_hash: str
    recipe: Recipe
    setting: Setting
    inputs: Mapping[str, Any]
    max_length: int
    steps: int
    best_step: int
    best_score: float
    stopped: str
    curve: tuple[CurvePoint, ...]
    replay_left_out: int
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def measured_on(self) -> str:
        """What the development scores were measured on, which is what has to be served."""
        if self.recipe.method == "qlora":
            return "the adapter on the base as it answers, not on the 4 bits it was trained on"
        return "the weights" if self.recipe.method == "full" else "the adapter on the base as it answers"

    @property
    def tokens(self) -> int:
        """Tokens that were run."""
        return sum(point.tokens for point in self.curve)

    @property
    def row_tokens(self) -> int:
        """Tokens of the rows, each row counted in full."""
        return sum(point.row_tokens for point in self.curve)

    @property
    def saved_share(self) -> float:
        """Share of the rows' tokens that sharing prefixes spared."""
        return 1 - self.tokens / self.row_tokens if self.row_tokens else 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the steps."""
        return sum(point.seconds for point in self.curve)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON; the folder by its name only."""
        return {
            "version": RESULT_VERSION,
            "folder": self.folder.name,
            "adapter_hash": self.adapter_hash,
            "recipe": self.recipe.as_dict(),
            "setting": self.setting.as_dict(),
            "inputs": dict(self.inputs),
            "max_length": self.max_length,
            "steps": self.steps,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "stopped": self.stopped,
            "measured_on": self.measured_on,
            "tokens": self.tokens,
            "row_tokens": self.row_tokens,
            "label_tokens": sum(point.label_tokens for point in self.curve),
            "saved_share": self.saved_share,
            "seconds": self.seconds,
            "replay_left_out": self.replay_left_out,
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "curve": [asdict(point) for point in self.curve],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], out: Path) -> TrainResult:
        """The result of a run that was written to `out`.

        Raises:
            TrainingError: written by a newer version.
        """
        check_version(value, RESULT_VERSION, out / RESULT_FILE)
        plain = ("adapter_hash", "inputs", "max_length", "steps", "best_step", "best_score", "stopped")
        return cls(
            folder=out / value["folder"],
            recipe=Recipe.from_dict(value["recipe"]),
            setting=Setting(**value["setting"]),
            curve=tuple(CurvePoint(**point) for point in value["curve"]),
            replay_left_out=value["replay_left_out"],
            versions=value["versions"],
            notes=tuple(value.get("notes", ())),
            **{name: value[name] for name in plain},
        )


def check_version(value: Mapping[str, Any], known: int, file: Path) -> None:
    """Refuse what a newer version wrote.

    Raises:
        TrainingError: the version is missing or newer than `known`.
    """
    version = value.get("version")
    if not isinstance(version, int) or version > known:
        raise TrainingError(
            f"{file} is of version {version!r}; this version of luthier knows up to {known}",
            fix="pip install --upgrade luthier",
        )
