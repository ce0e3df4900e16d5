"""Checkpoints: all that a run needs to go on as if it had never stopped. Safetensors and JSON, whole or not there.

The last two are kept. Beside the files lie their SHA-256, as `sha256sum --check` reads them: what is not what was
written is never trained on, and the checkpoint before it is taken instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from luthier.store import hash_file, new_folder, write_json, write_text_atomic
from luthier.train._files import write_tensors
from luthier.train._group import placed, whole
from luthier.train._result import CurvePoint
from luthier.train._setting import Setting

CHECKPOINT_VERSION = 3  # 1 had no hashes, 2 did not say what computes the loss
FOLDER, BEFORE = "checkpoint", "checkpoint-before"
STATE, WEIGHTS, OPTIMIZER, BEST = "state.json", "weights.safetensors", "optimizer.safetensors", "best.safetensors"
FILES, HASHES = (STATE, WEIGHTS, OPTIMIZER, BEST), "SHA256SUMS"


@dataclass(frozen=True)
class RunState:
    """Where a run stands: `step` steps are done, the development score is known after `scored` of them.

    `stale` counts evaluations since the best one. `curve` has a point a step. `notes` say what happened to the run that
    its user should know.
    """

    step: int = 0
    scored: int = 0
    best_step: int = 0
    best_score: float = float("-inf")
    stale: int = 0
    curve: tuple[CurvePoint, ...] = ()
    notes: tuple[str, ...] = ()

    def after_step(self, point: CurvePoint) -> RunState:
        """The state after one more step."""
        return replace(self, step=point.step, curve=(*self.curve, point))

    def with_note(self, note: str) -> RunState:
        """The same, with something that the run's user should know."""
        return replace(self, notes=(*self.notes, f"after step {self.step}: {note}"))

    def after_score(self, score: float) -> RunState:
        """The state after the evaluation of the last step; of equal scores the earlier stays the best."""
        curve = (*self.curve[:-1], replace(self.curve[-1], dev_score=score))
        if score > self.best_score:
            return replace(self, scored=self.step, best_step=self.step, best_score=score, stale=0, curve=curve)
        return replace(self, scored=self.step, stale=self.stale + 1, curve=curve)


@dataclass(frozen=True)
class Checkpoint:
    """A run on disk. `weights` are the fp32 masters, `best` those of the best score so far."""

    inputs: Mapping[str, Any]
    setting: Setting
    state: RunState
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)

    def with_note(self, note: str) -> Checkpoint:
        """The same, with something that its user should know."""
        return replace(self, state=self.state.with_note(note))


def save_checkpoint(out: Path, checkpoint: Checkpoint, before: str | None = BEFORE) -> None:
    """Write a checkpoint, then put it in the place of the last one, which is kept as the one before.

    Args:
        out: the run's folder.
        checkpoint: what to write.
        before: the name under which the last one is kept; None where it is of no use any more.

    Raises:
        DiskFullError, StoreError: it could not be written; those before are untouched.
    """
    with new_folder(out / FOLDER, out / before if before else None) as folder:
        write_tensors(folder / WEIGHTS, checkpoint.weights)
        write_tensors(folder / OPTIMIZER, checkpoint.optimizer)
        write_tensors(folder / BEST, checkpoint.best)
        state = asdict(checkpoint.state)
        if not checkpoint.best:
            state.pop("best_score")  # minus infinity has no form in JSON
        write_json(
            folder / STATE,
            {
                "version": CHECKPOINT_VERSION,
                "inputs": dict(checkpoint.inputs),
                "setting": checkpoint.setting.as_dict(),
                "state": state,
            },
        )
        write_text_atomic(folder / HASHES, hashes_of(folder))


def hashes_of(folder: Path) -> str:
    """The SHA-256 of a checkpoint's files, as `sha256sum` prints them.

    Raises:
        StoreError: one is missing or cannot be read.
    """
    return "".join(f"{hash_file(folder / name)}  {name}\n" for name in FILES)


def optimizer_tensors(optimizer: torch.optim.Optimizer, masters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as named whole tensors on the CPU; with sharded masters called by all processes."""
    return {
        f"{name}:{key}": whole(value)
        for name, master in masters.items()
        for key, value in optimizer.state[master].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, masters: Mapping[str, Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer back what `optimizer_tensors` took from it."""
    for name, key in _split(tensors):
        master = masters[name]
        optimizer.state[master][key] = placed(tensors[f"{name}:{key}"], master)


def _split(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, key) for name, _, key in (text.rpartition(":") for text in names)]
