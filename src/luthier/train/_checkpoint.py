"""Checkpoints: all that a run needs to go on as if it had never stopped. Safetensors and JSON, whole or not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from luthier.errors import TrainingError
from luthier.store import clean_folder, new_folder, read_json, write_json
from luthier.train._files import read_tensors, write_tensors
from luthier.train._group import placed, whole
from luthier.train._result import CurvePoint, check_version
from luthier.train._setting import Setting

CHECKPOINT_VERSION = 1
FOLDER = "checkpoint"
STATE, WEIGHTS, OPTIMIZER, BEST = "state.json", "weights.safetensors", "optimizer.safetensors", "best.safetensors"


@dataclass(frozen=True)
class RunState:
    """Where a run stands: `step` steps are done, the development score is known after `scored` of them.

    `stale` counts evaluations since the best one. `curve` has a point a step.
    """

    step: int = 0
    scored: int = 0
    best_step: int = 0
    best_score: float = float("-inf")
    stale: int = 0
    curve: tuple[CurvePoint, ...] = ()

    def after_step(self, point: CurvePoint) -> RunState:
        """The state after one more step."""
        return replace(self, step=point.step, curve=(*self.curve, point))

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


def save_checkpoint(out: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the one before, then put it in its place.

    Raises:
        DiskFullError, StoreError: it could not be written; the one before is untouched.
    """
    with new_folder(out / FOLDER) as folder:
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


def load_checkpoint(out: Path, inputs: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint of a run, None where there is none. Call it as the folder's one writer.

    Raises:
        TrainingError: it belongs to another run, is damaged, or was written by a newer version.
    """
    if out.is_dir():
        clean_folder(out)
    folder = out / FOLDER
    if not folder.is_dir():
        return None
    saved = read_json(folder / STATE)
    check_version(saved, CHECKPOINT_VERSION, folder / STATE)
    refuse_other_inputs(out, saved["inputs"], inputs)
    state = saved["state"]
    curve = tuple(CurvePoint(**point) for point in state.pop("curve"))
    return Checkpoint(
        inputs,
        Setting(**saved["setting"]),
        RunState(**state, curve=curve),
        read_tensors(folder / WEIGHTS),
        read_tensors(folder / OPTIMIZER),
        read_tensors(folder / BEST),
    )


def refuse_other_inputs(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A run goes on only with what it began with: other rows or another base would give a mixture of two runs.

    Raises:
        TrainingError: names what changed.
    """
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if changed:
        raise TrainingError(
            f"{out} holds a run that began with other inputs: {', '.join(changed)} changed",
            why="going on would mix two runs into one adapter",
            fix=f"train into another folder, or remove what is there (rm -r {out}) and run the same command again",
        )


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
