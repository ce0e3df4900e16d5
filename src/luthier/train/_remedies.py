"""What to change when a run does not fit, and the refusal of a run that cannot."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.errors import DiskFullError, Problem, TrainingError
from luthier.train._memory import Memory, predict_disk
from luthier.train._predict import NOTHING, Asked, Job, predict
from luthier.train._room import free_disk, memory_limit
from luthier.train._setting import Setting

log = logging.getLogger(__name__)

# Predictions aim at this share of what then happens (benchmarks/plan.py): a run is refused when even the
# least of that is too much, and warned of when the most is.
MARGIN = 0.15
SHORTEST = 128  # tokens at once; fewer save next to nothing
LOW_RANK = 8
GIGA = 1e9


@dataclass(frozen=True)
class Change:
    """What to write in `luthier.yaml`, and the peak memory it leads to."""

    write: str
    bytes: int


def changes(job: Job, asked: Asked, limit: int) -> list[Change]:
    """What would lower the peak, in order of least harm; the micro-batch in one step that fits, or in the smallest.

    Args:
        job: what does not fit.
        asked: what each development score asks.
        limit: bytes that there are.
    """
    before = predict(job, job.assumed_setting(), asked, limit).memory(1.0).peak
    found = []
    for write, changed in _candidates(job, asked, limit):
        peak = predict(changed, changed.assumed_setting(), asked, limit).memory(1.0).peak
        if peak < before:
            found.append(Change(write, peak))
    return [*found, *_smaller_base(job, asked, limit)]


def fitting(job: Job, setting: Setting | None, out: Path) -> bool:
    """Whether layers must be computed again for a run to fit into memory; a run that cannot fit is refused.

    Where it is not certain that it fits, a warning is logged.

    Args:
        job: what will be trained.
        setting: precision and packing; None where it is not found out yet.
        out: where it will write.

    Raises:
        TrainingError: the memory is too little; it says what to change.
        DiskFullError: the disk is.
    """
    limit = memory_limit(job.device)
    predicted = predict(job, setting or job.assumed_setting(), NOTHING, limit)
    memory = predicted.memory(1.0)
    if memory.peak * (1 - MARGIN) > limit:
        raise _too_large(job, memory, limit)
    if memory.peak * (1 + MARGIN) > limit:
        log.warning("training takes about %s of %s of memory: it may not fit", _gb(memory.peak), _gb(limit))
    disk, free = predict_disk(predicted.footprint, job.recipe, 0), free_disk(out)
    if disk.peak > free:
        raise DiskFullError(
            f"training writes about {_gb(disk.peak)} to {out}, and {_gb(free)} are free there",
            why=f"checkpoints of {_gb(disk.checkpoint)} each are kept while it runs; nothing was written yet",
            fix="free some space (df -h)"
            + (", or train: {method: lora} in luthier.yaml, which writes far less" * (job.recipe.method == "full")),
        )
    return predicted.setting.recompute


def _too_large(job: Job, memory: Memory, limit: int) -> TrainingError:
    parts = ", ".join(f"{name} {_gb(size)}" for name, size in memory.parts.items() if size)
    listed = changes(job, NOTHING, limit)
    return TrainingError(
        f"training {job.base.name} takes about {_gb(memory.peak)} of memory, and there are {_gb(limit)}",
        why=f"the most is held in its {memory.phase}: {parts}; without enough, the system would end the run",
        fix="change luthier.yaml as one of these lines says, or give it more memory; `luthier plan` shows the table"
        if listed
        else "train on a machine with more memory, or on a smaller base (base: in luthier.yaml)",
        problems=[Problem(f"{change.write}: {_gb(change.bytes)}{_verdict(change, limit)}") for change in listed],
    )


def _verdict(change: Change, limit: int) -> str:
    return "" if change.bytes <= limit else ", not enough by itself"


def _candidates(job: Job, asked: Asked, limit: int) -> Iterator[tuple[str, Job]]:
    recipe = job.recipe
    smaller = _smaller_batch(job, asked, limit)
    if smaller is not None:
        yield f"train: {{micro_batch_tokens: {smaller.recipe.tokens_per_micro_batch}}}", smaller
    if recipe.method == "full":
        yield "train: {method: lora}", job.with_recipe(replace(recipe, method="lora"))
    elif recipe.variant == "dora":
        yield "train: {variant: plain}", job.with_recipe(replace(recipe, variant="plain"))
    if recipe.method != "full" and recipe.rank > LOW_RANK:
        yield f"train: {{rank: {LOW_RANK}}}", job.with_recipe(replace(recipe, rank=LOW_RANK))


def _smaller_batch(job: Job, asked: Asked, limit: int) -> Job | None:
    """The largest half, quarter, ... of the micro-batch that fits; the smallest where none does."""
    found, tokens = None, job.recipe.tokens_per_micro_batch // 2
    while tokens >= SHORTEST:
        found = job.with_recipe(replace(job.recipe, tokens_per_micro_batch=tokens))
        if predict(found, found.assumed_setting(), asked, limit).memory(1.0).peak <= limit:
            return found
        tokens //= 2
    return found


def _smaller_base(job: Job, asked: Asked, limit: int) -> list[Change]:
    """A base of so many parameters that all that grows with them fits."""
    predicted = predict(job, job.assumed_setting(), asked, limit)
    peak, fixed = predicted.memory(1.0).peak, predicted.ground.runtime
    if limit <= fixed:
        return []
    most = job.base.n_parameters * (limit - fixed) / (peak - fixed)
    return [Change(f"base: a model of at most {most / 1e6:,.0f} million parameters", limit)]


def _gb(size: int) -> str:
    return f"{size / GIGA:.2f} GB" if size < 100 * GIGA else f"{size / GIGA:.0f} GB"
