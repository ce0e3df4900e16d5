"""What a run will take, from one timed micro-batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from luthier.models import LocalModel
from luthier.train._course import Course
from luthier.train._loss import batch_losses
from luthier.train._model import Trainee, load_body
from luthier.train._recipe import Recipe
from luthier.train._rows import EncodedRow, TrainingRow, encode_rows, replay_rows
from luthier.train._setting import Setting, find_setting

OPTIMIZER_BYTES = 12  # a trained weight: gradient and two moments in fp32


@dataclass(frozen=True)
class Estimate:
    """What training takes, without its evaluations: `evaluations` of them, if it does not stop early.

    `tokens` will be run for `row_tokens` of the rows, in `steps` optimizer steps. `seconds` is for all of `epochs`
    without an early stop. `bytes` is the peak memory of the training copy: weights, optimizer and activations.
    """

    tokens: int
    row_tokens: int
    steps: int
    evaluations: int
    seconds: float
    bytes: int
    setting: Setting


def estimate(
    base: LocalModel, rows: Sequence[TrainingRow], recipe: Recipe, *, replay: Sequence[TrainingRow] = ()
) -> Estimate:
    """Tokens, time and memory of a run, from the rows and one timed micro-batch.

    Raises:
        TeachesNothingError, TrainingError: as `fine_tune` before its first step.
    """
    base = base.with_tokens(recipe.added_tokens) if recipe.added_tokens else base
    encoded = encode_rows(base, rows, recipe.max_length)
    again, _ = replay_rows(base, replay, recipe.max_length)
    course = Course(encoded, again, recipe)
    setting = find_setting(base, encoded, recipe, lambda dtype: load_body(base, dtype, recipe.method))
    trainee = Trainee(load_body(base, setting.dtype, recipe.method), recipe, base.added.ids)
    largest = _largest(course, setting)
    _run(base, trainee, setting, largest)  # the first pass pays for allocations and kernels
    seconds, activations, run = _run(base, trainee, setting, largest)
    tokens = course.tokens(setting.packing)
    return Estimate(
        tokens=tokens,
        row_tokens=course.row_tokens(),
        steps=course.steps,
        evaluations=sum(recipe.is_scored(step, course.steps) for step in range(1, course.steps + 1)),
        seconds=tokens * seconds / run,
        bytes=_fixed_bytes(trainee) + activations,
        setting=setting,
    )


def _largest(course: Course, setting: Setting) -> list[EncodedRow]:
    """The largest micro-batch of the first steps: what memory must hold."""
    parts = [part for step in range(min(course.steps, 5)) for part in course.micro_batches(step, setting.packing)]
    return max(parts, key=lambda part: sum(len(row.ids) for row in part))


def _run(base: LocalModel, trainee: Trainee, setting: Setting, rows: Sequence[EncodedRow]) -> tuple[float, int, int]:
    """Seconds of one forward and backward pass, bytes that it keeps for the backward pass, and tokens that it runs."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    began = time.perf_counter()
    batch = setting.batch(rows, trainee.device)
    reference = setting.reference(trainee, base, rows)
    with setting.attention(trainee.body), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learned, held = batch_losses(trainee.module, batch, reference)
    (learned + held).backward()  # type: ignore[no-untyped-call]  # torch's stubs
    trainee.collect_gradients()
    if trainee.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    weights = {parameter.untyped_storage().data_ptr() for parameter in trainee.module.parameters()}
    return seconds, sum(size for place, size in kept.items() if place not in weights), batch.tokens


def _fixed_bytes(trainee: Trainee) -> int:
    working = list(trainee.module.parameters())
    masters = list(trainee.masters.values())
    weights: dict[int, int] = {
        id(p): p.numel() * p.element_size() for p in (*working, *masters)
    }  # a master may be a working weight
    return sum(weights.values()) + OPTIMIZER_BYTES * sum(m.numel() for m in masters)
