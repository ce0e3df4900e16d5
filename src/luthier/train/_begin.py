"""What a run begins with: the inputs that it is known by, what the machine allows, the optimizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier.models import LocalModel
from luthier.train._checkpoint import Checkpoint
from luthier.train._compile import while_compilable, with_compilation
from luthier.train._group import Group
from luthier.train._head import with_loss
from luthier.train._model import Trainee
from luthier.train._predict import Job
from luthier.train._recipe import Recipe
from luthier.train._remedies import fitting
from luthier.train._rows import EncodedRow, rows_hash
from luthier.train._setting import Setting

ENGINE_VERSION = 6  # raise it when the same inputs give other weights


def inputs_of(
    base: LocalModel, rows: Sequence[EncodedRow], replay: Sequence[EncodedRow], recipe: Recipe
) -> dict[str, Any]:
    """What the result is a function of, by names that a user can act on."""
    settings = {f"recipe.{name}": value for name, value in recipe.as_dict().items()}
    hashes = {"base": base.identity, "rows": rows_hash(rows), "replay": rows_hash(replay)}
    return hashes | settings | {"engine": ENGINE_VERSION}


def setting_for(job: Job, out: Path, group: Group) -> Setting:
    """What the first process's machine allows. Several processes may share the weights out: memory is not judged.

    Raises:
        TrainingError, DiskFullError: the run cannot fit; see `fitting`.
    """
    found = ""
    if group.first:
        recompute = fitting(job, None, out) if group.size == 1 else False
        found = json.dumps(replace(job.setting(), recompute=recompute).as_dict())
    return Setting(**json.loads(group.text_of_first(found)))


def settle(
    setting: Setting, checkpoint: Checkpoint | None, trainee: Trainee, job: Job, base: LocalModel, group: Group
) -> tuple[Setting, Checkpoint | None]:
    """Put the trainee under its setting, and add to this what computes loss and layers, as the first process finds it.

    A run that goes on keeps what it had; where that is not here any more, its notes say so.
    """
    job.bound_products()  # of a run that goes on nothing was tried out
    if setting.recompute:
        trainee.keep_only_layer_inputs()
    found = ""
    if group.first and checkpoint is None:
        loss = with_loss(setting, trainee, job.rows)
        found = json.dumps(with_compilation(loss, trainee, base, job.course, group.size).as_dict())
    elif group.first:
        loss = setting if setting.loss == "chunked" else with_loss(setting, trainee, job.rows)
        found = json.dumps(while_compilable(loss, trainee).as_dict())
    now = Setting(**json.loads(group.text_of_first(found)))
    for before, after, what, why in (
        (setting.loss, now.loss, f"the loss is computed without {setting.loss}", now.loss_reason),
        (setting.compiled, now.compiled, "layers run uncompiled", now.compile_reason),
    ):
        if checkpoint and before != after:
            why = why or f"it runs on {trainee.device.type} now"
            checkpoint = checkpoint.with_note(f"{what} ({why}); the result is the same within rounding")
    return now, checkpoint


def optimizer_of(trainee: Trainee, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW on the masters; norms and biases do not decay."""
    masters = list(trainee.masters.values())
    groups = [
        {"params": [m for m in masters if m.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [m for m in masters if m.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.learning_rate, betas=betas, fused=True)
