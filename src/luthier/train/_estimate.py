"""What a run will take: memory and disk from the architecture alone, time from a few steps of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.models import LocalModel
from luthier.train._head import with_loss
from luthier.train._memory import Disk, Memory, predict_disk
from luthier.train._model import Trainee, training_copy
from luthier.train._predict import NOTHING, SAMPLED, Asked, Job, Prediction, predict
from luthier.train._room import free_disk, memory_limit
from luthier.train._rows import EncodedRow
from luthier.train._setting import Setting
from luthier.train._trial import Trial, line, seconds_to_write

SAVE_SECONDS = 60.0  # between two checkpoints (see `fine_tune`)


@dataclass(frozen=True)
class Estimate:
    """What training takes, if it does not stop early.

    `tokens` will be run for `row_tokens` of the rows, in `steps` optimizer steps with `evaluations` development scores.
    `parts` are seconds: loading, steps, scores, checkpoints; None where the weights are not here or do not fit. `limit`
    and `free_disk` are the bytes that there are. `answer_seconds` are for a token's worth of answering.
    """

    tokens: int
    row_tokens: int
    steps: int
    evaluations: int
    parts: Mapping[str, float] | None
    memory: Memory
    disk: Disk
    limit: int
    free_disk: int
    setting: Setting
    answer_seconds: float | None = None

    @property
    def seconds(self) -> float | None:
        """All of it."""
        return None if self.parts is None else sum(self.parts.values())

    @property
    def bytes(self) -> int:
        """Peak memory."""
        return self.memory.peak

    @property
    def fits(self) -> bool:
        """Whether the peak is within the limit."""
        return self.memory.peak <= self.limit


def estimate(
    job: Job,
    *,
    asked: Asked = NOTHING,
    place: Path = Path(),
    model_bytes: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Tokens, memory, disk and time of a run.

    Args:
        job: what would be trained. Of an outline, and of a base in 4 bits, the time stays unknown.
        asked: what each development score would ask.
        place: where the run would write.
        model_bytes: bytes of the base that are still to be written to its cache.
        clock: gives seconds.

    Raises:
        TrainingError: as `fine_tune` before its first step.
    """
    base = job.base
    began = clock()
    setting = job.setting()
    limit = memory_limit(job.device)
    predicted = predict(job, setting, asked, limit)
    setting = predicted.setting
    memory, parts, speed = predicted.memory(1.0), None, None
    found = clock() - began
    if isinstance(base, LocalModel) and memory.peak <= limit and not job.four_bits:
        factor, parts, speed = _calibrate(predicted, base, place, clock)
        parts["loading"] += found  # training looks at the setting and at the memory as well
        memory = predicted.memory(factor)
    return Estimate(
        tokens=job.course.tokens(setting.packing),
        row_tokens=job.course.row_tokens(),
        steps=job.course.steps,
        evaluations=job.evaluations,
        parts=parts,
        memory=memory,
        disk=predict_disk(predicted.footprint, job.recipe, model_bytes),
        limit=limit,
        free_disk=free_disk(place),
        setting=setting,
        answer_seconds=speed,
    )


def _calibrate(
    predicted: Prediction, base: LocalModel, place: Path, clock: Callable[[], float]
) -> tuple[float, dict[str, float], float | None]:
    """Measured over simulated activations, seconds by part, and seconds for a token's worth of answering."""
    job = predicted.job
    works = [predicted.work(part) for part in predicted.parts]
    began = clock()
    body = training_copy(base, predicted.setting.dtype, job.recipe.method)
    load = clock() - began
    trainee = Trainee(body, job.recipe, base.added.ids)
    if predicted.setting.recompute:
        trainee.keep_only_layer_inputs()
    setting = with_loss(predicted.setting, trainee, job.rows)
    trial = Trial(base, trainee, job.recipe, setting, bool(job.course.replay(0)), clock)
    load_all = clock() - began
    order = np.argsort(works)
    chosen = [predicted.parts[order[math.floor(share * (len(order) - 1))]] for share in (0.5, 0.95)]
    with trial.resting.resting():
        trial.micro_step(chosen[0])  # the first pass pays for allocations and kernels
        trial.update()
        steps = [trial.micro_step(part) for part in (*chosen, predicted.largest)]
        updates = sorted(trial.update() for _ in range(3))
        before, answer = trial.score(predicted.asked.requests) if predicted.asked.requests else (0.0, None)
    fixed, a_token = line([predicted.work(part) for part in (*chosen, predicted.largest)], [s.seconds for s in steps])
    sampled = min(SAMPLED, job.course.steps)
    in_steps = (fixed * len(works) + a_token * sum(works)) / sampled + updates[1]
    a_byte = seconds_to_write(place, clock)
    seconds = {"loading": load + load_all, "steps": job.course.steps * in_steps}
    seconds["scores"] = job.evaluations * (before + (answer or 0.0) * predicted.answers.work)
    disk = predict_disk(predicted.footprint, job.recipe, 0)
    saves = job.evaluations + int((seconds["steps"] + seconds["scores"]) / SAVE_SECONDS)
    seconds["checkpoints"] = a_byte * (saves * disk.checkpoint + disk.result)
    return _factor(predicted, steps[-1].bytes, chosen), seconds, answer


def _factor(predicted: Prediction, measured: int | None, before: Sequence[Sequence[EncodedRow]]) -> float:
    """Activations of the largest micro-batch as measured after those `before` it, over simulated ones."""
    footprint = predicted.footprint
    if measured is None or footprint.activations == 0:
        return 1.0
    kernels = predicted.compiled([*before, predicted.largest]) - predicted.compiled(before)
    return min(max((measured - footprint.logits - kernels) / footprint.activations, 0.8), 1.25)
