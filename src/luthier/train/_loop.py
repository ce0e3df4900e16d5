"""Supervised fine-tuning: from rows to an adapter.

Deterministic on a CPU: the same rows, recipe, base and machine (with the same number of threads) give the same bytes,
also when the run was killed and resumed. Batches are a function of the seed and the step, there is no dropout, and the
only random numbers (LoRA's first weights) come from the seed.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from luthier.errors import StoreError, TrainingError
from luthier.models import LocalModel
from luthier.store import hash_folder, new_folder, write_json
from luthier.train._begin import inputs_of, optimizer_of, setting_for, settle
from luthier.train._checkpoint import (
    BEFORE,
    BEST,
    FOLDER,
    Checkpoint,
    RunState,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from luthier.train._compile import losses_under
from luthier.train._course import Course
from luthier.train._files import saving
from luthier.train._flex import compile_errors
from luthier.train._group import Group, current_group
from luthier.train._health import out_of_memory, stopped_by, trouble
from luthier.train._interrupt import Interruption
from luthier.train._kept import KeptRows
from luthier.train._model import Trainee
from luthier.train._predict import Job
from luthier.train._recipe import Recipe
from luthier.train._result import RESULT_FILE, CurvePoint, TrainProgress, TrainResult
from luthier.train._resume import finished_run, load_together
from luthier.train._rows import EncodedRow, TrainingRow, replay_rows, rounded_length
from luthier.train._setting import Setting, in_one_line
from luthier.train._shard import make_trainee, resting_base
from luthier.train._track import Tracked, Tracking, require_tracker, tracked

CANDIDATES, RESCUED = "candidates", "best-so-far"
LIVE, LIVE_SECONDS = "progress.json", 2.0  # what a running run tells any process, and how often
LIBRARIES = ("torch", "transformers", "peft", "safetensors")  # that decide what comes out
RECENT = 20  # steps that speeds are averaged over

Score = Callable[[LocalModel], float]


def fine_tune(
    base: LocalModel,
    rows: Sequence[TrainingRow],
    recipe: Recipe,
    out: Path,
    *,
    score: Score,
    replay: Sequence[TrainingRow] = (),
    progress: Callable[[TrainProgress], None] | None = None,
    checkpoint_seconds: float = 60.0,
    track: Tracking | None = None,
    shard: bool = False,
) -> TrainResult:
    """Fine-tune a base on rows; the weights with the best development score are kept.

    Where torch.distributed is initialised, all its processes call this with the same arguments and share the work of
    every step; `score` and `progress` are called in the first one, which alone writes to `out`. The result is that of
    one process within rounding, and a run goes on with another number of them.

    `out/progress.json` says how far it is, as `TrainProgress`; it is replaced as a whole every two seconds.

    A run that was stopped goes on from `out/checkpoint`, or from the one before it where that is damaged, which its
    notes say; one that is finished is read from `out`. On Ctrl-C or SIGTERM the running step is finished and saved
    before `KeyboardInterrupt` is raised. A run that goes wrong leaves the best weights so far in `out/best-so-far`.

    Args:
        base: the untuned model; it is left as it is.
        rows: what to learn.
        recipe: how.
        out: the run's own folder; no other process may train into it at the same time.
        score: development score of a model, higher is better; called every `recipe.evaluate_every` steps.
        replay: the base's own answers to general prompts. They are not learned: on `recipe.replay_share` of them beside
            the rows of a step, divergence from the base is held down. What cannot be rendered is left out and counted.
        progress: told about every step and evaluation.
        checkpoint_seconds: at most so much work is lost when the process is killed.
        track: a tracker to show the run in; a run that goes on goes on there. If it fails on the way, training goes on.
        shard: have each of several processes keep a part of every weight (FSDP2). It is done unasked where a whole
            copy would fill the memory of a device.

    Raises:
        TeachesNothingError: rows without label tokens, without an end, or too long; every one is named.
        TrainingError: memory cannot hold it; the loss is zero at once, or loss or gradient are not finite or exploded
            (the rows are named); `out` holds another run, or only damaged checkpoints; the tracker cannot be used.
        DiskFullError, StoreError: `out` cannot be written.
    """
    require_tracker(track.library if track else None)
    base = base.with_tokens(recipe.added_tokens) if recipe.added_tokens else base
    kept = KeptRows(base, rows, recipe.max_length, out)
    encoded = kept.encoded
    held, left_out = replay_rows(base, replay, recipe.max_length)
    inputs = inputs_of(base, encoded, held, recipe)
    finished = finished_run(out, inputs)
    if finished is not None:
        return finished
    group = current_group()
    checkpoint = load_together(out, inputs, group)
    if group.first:
        kept.keep()
    job = Job(base, recipe, tuple(encoded), tuple(held))
    setting = checkpoint.setting if checkpoint else setting_for(job, out, group)
    trainee = make_trainee(base, recipe, setting.dtype, group, shard)
    setting, checkpoint = settle(setting, checkpoint, trainee, job, base, group)
    hooks = _Hooks(score, progress or (lambda _: None), checkpoint_seconds)
    run = _Run(base, job.course, recipe, setting, trainee, out, inputs, hooks, group)
    if checkpoint:
        run.restore(checkpoint)
    with (
        tracked(track if group.first else None, out, recipe) as shown,
        Interruption(group.any if group.size > 1 else None) as interruption,
        run.resting.resting(),
    ):
        stopped = run.to_the_end(interruption, shown)
        shown.finish(run.state.curve)
    if group.first:
        run.publish(stopped, rounded_length(encoded), len(left_out))
    group.wait()
    result = finished_run(out, inputs)
    assert result is not None  # just published
    return result


@dataclass(frozen=True)
class _Hooks:
    """What the caller wants to do while it runs."""

    score: Score
    progress: Callable[[TrainProgress], None]
    checkpoint_seconds: float


class _Run:
    """A run between its first and its last step."""

    def __init__(
        self,
        base: LocalModel,
        course: Course,
        recipe: Recipe,
        setting: Setting,
        trainee: Trainee,
        out: Path,
        inputs: Mapping[str, Any],
        hooks: _Hooks,
        group: Group,
    ) -> None:
        self.base, self.course, self.recipe, self.setting = base, course, recipe, setting
        self.trainee, self.out, self.inputs, self.hooks, self.group = trainee, out, inputs, hooks, group
        self.optimizer, self.losses = optimizer_of(trainee, recipe), losses_under(trainee, setting)
        self.state = RunState()
        self.best: dict[str, torch.Tensor] = {}
        self.resting = resting_base(base, trainee, asked=bool(course.replay(0)))
        self._saved_at = time.monotonic()
        self._told_at = -math.inf
        self._torn = False
        self._saved: RunState | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint stands."""
        self.state, self.best, self._saved = checkpoint.state, checkpoint.best, checkpoint.state
        self.trainee.load(checkpoint.weights)
        restore_optimizer(self.optimizer, self.trainee.masters, checkpoint.optimizer)
        if self.state.notes:
            self._report("; ".join(self.state.notes))

    def to_the_end(self, interruption: Interruption, shown: Tracked) -> str:
        """Train until done or until nothing gets better; gives the reason to stop."""
        try:
            while (stopped := self._stopped()) is None:
                if self._score_is_due():
                    value = self._score()
                    with interruption.finishing():
                        self._take_score(value)
                else:
                    with interruption.finishing():
                        self._step_or_eager()
                shown.follow(self.state.curve)
                self._report()
                due = time.monotonic() - self._saved_at >= self.hooks.checkpoint_seconds
                if self.group.number_of_first(float(due)):
                    self._save()
        except KeyboardInterrupt:
            if interruption.orderly or self.group.size == 1:  # else the processes stand at different places
                self._save()
            raise
        except torch.OutOfMemoryError as error:
            if not self.trainee.sharded:  # the other processes do not hand over their parts now
                self._save()
            step, device = self.state.step, str(self.trainee.device)
            raise out_of_memory(step + 1, device, self.recipe, self.course.batch(step)) from error
        return stopped

    def publish(self, stopped: str, max_length: int, left_out: int) -> None:
        """Write the best weights and the record of the run; the checkpoint has served its purpose."""
        folder = self.out / ("model" if self.recipe.method == "full" else "adapter")
        with new_folder(folder) as unfinished:
            self.trainee.save(self.best, unfinished, self.base)
        result = TrainResult(
            folder=folder,
            adapter_hash=hash_folder(folder),
            recipe=self.recipe,
            setting=self.setting,
            inputs=self.inputs,
            max_length=max_length,
            steps=self.state.step,
            best_step=self.state.best_step,
            best_score=self.state.best_score,
            stopped=stopped,
            curve=self.state.curve,
            replay_left_out=left_out,
            versions={name: version(name) for name in self._libraries},
            notes=self.state.notes,
        )
        write_json(self.out / RESULT_FILE, result.as_dict())
        for leftover in (FOLDER, BEFORE, CANDIDATES, RESCUED):
            shutil.rmtree(self.out / leftover, ignore_errors=True)  # only room on the disk depends on it
        (self.out / LIVE).unlink(missing_ok=True)

    @property
    def _libraries(self) -> list[str]:
        four_bits, kernel = self.recipe.method == "qlora", self.setting.loss == "liger"
        return [*LIBRARIES, *["bitsandbytes"] * four_bits, *["liger-kernel"] * kernel]

    def _step_or_eager(self) -> None:
        """A step; where a layer cannot be compiled after all, the same one with eager layers, which is noted."""
        try:
            self._step()
        except compile_errors() as error:
            if not self.setting.compiled:
                raise
            reason = f"not compiled: {in_one_line(error)}"
            self.setting = replace(self.setting, compiled=False, compile_reason=reason)
            self.losses = losses_under(self.trainee, self.setting)
            self.state = self.state.with_note(f"layers run eager from here on, equal within rounding ({reason})")
            self._step()

    def _step(self) -> None:
        """One optimizer step: the mean loss over the label tokens of the whole batch, and the drift held down."""
        began = time.perf_counter()
        step, trainee = self.state.step, self.trainee
        learned, replayed = self.course.batch(step), self.course.replay(step)
        labels, held = (sum(row.labels for row in rows) for rows in (learned, replayed))
        trainee.forget_gradients()
        loss, drift, tokens, row_tokens = 0.0, 0.0, 0, 0
        parts = self.course.micro_batches(step, self.setting.packing, self.group.rank, self.group.size)
        for part in trainee.passes(parts, [*learned, *replayed], self.group):
            batch = self.setting.batch(part.rows, trainee.device)
            reference = self.setting.reference(trainee, self.base, part.rows)
            with self.setting.attention(trainee.body):  # layers may be computed again for the backward pass
                wanted, away = self.losses(batch, reference)
                wanted, away = part.learn * wanted / labels, part.hold * away / max(held, 1)
                (wanted + self.recipe.replay_weight * away).backward()  # type: ignore[no-untyped-call]  # torch's stubs
            loss, drift = loss + wanted.item(), drift + away.item()
            tokens, row_tokens = tokens + batch.tokens, row_tokens + batch.row_tokens
        trainee.sum_gradients(self.group)
        loss, drift, *counts = self.group.total([loss, drift, tokens, row_tokens])
        tokens, row_tokens = map(int, counts)
        norm = trainee.clip_gradients(self.recipe.clip)
        self._check(loss, norm, learned)
        rate = self.recipe.rate(step, self.course.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self._changing():
            self.optimizer.step()
            trainee.publish()
            seconds = time.perf_counter() - began
            kept = drift if held else None
            point = CurvePoint(step + 1, loss, rate, norm, tokens, row_tokens, labels, seconds, drift=kept)
            self.state = self.state.after_step(point)

    def _check(self, loss: float, norm: float, rows: Sequence[EncodedRow]) -> None:
        vocabulary = self.trainee.body.config.get_text_config().vocab_size
        what = trouble(self.state.curve, loss, norm, self.recipe.clip, vocabulary)
        if what is not None:
            raise stopped_by(what, self.state.step + 1, rows, self.recipe, self._rescue())

    def _rescue(self) -> str:
        """Put the best weights so far where they can be used; says where, or nothing where none were scored."""
        if not self.best:
            return ""
        folder = self.out / RESCUED
        try:
            with new_folder(folder) as unfinished:
                self.trainee.save(self.best, unfinished, self.base)
        except StoreError:  # no room is no reason to hide what went wrong
            folder = self.out / FOLDER / BEST
        score = f"development score {self.state.best_score:.3f} after step {self.state.best_step}"
        return f"The best weights so far ({score}) are in {folder}"

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A block after which weights and state fit together again; cut short, they are not saved."""
        self._torn = True
        yield
        self._torn = False

    def _stopped(self) -> str | None:
        if self.state.scored < self.state.step or not self.state.curve:
            return None
        if self.state.step >= self.course.steps:
            return "done"
        if self.state.stale >= self.recipe.patience:
            return "no better score"
        return "nothing left to learn" if self.state.curve[-1].loss == 0 else None

    def _score_is_due(self) -> bool:
        step = self.state.step
        if self.state.scored == step:
            return False
        return self.recipe.is_scored(step, self.course.steps) or self.state.curve[-1].loss == 0

    def _score(self) -> float:
        value = 0.0
        with self.trainee.in_one_piece(self.base) as body:
            if self.group.first:
                with self._candidate(body) as model:
                    value = float(self.hooks.score(model))
        value = self.group.number_of_first(value)
        if not math.isfinite(value):
            raise TrainingError(
                f"the development score after step {self.state.step} is {value}",
                why="checkpoints are compared by it",
                fix="correct the scorer (score: in luthier.yaml): it must give a finite number",
            )
        return value

    def _take_score(self, value: float) -> None:
        with self._changing():
            self.state = self.state.after_score(value)
            if self.state.best_step == self.state.step and self._takes_part_in_saving:
                self.best = self.trainee.weights()
        self._save()

    @property
    def _takes_part_in_saving(self) -> bool:
        """The first process writes; where the weights are sharded, the others hand it their parts."""
        return self.group.first or self.trainee.sharded

    @contextmanager
    def _candidate(self, body: PreTrainedModel) -> Iterator[LocalModel]:
        """The model as it is now, as it would be served: an adapter on the base as it answers."""
        name = f"{self.base.name} after {self.state.step} steps"
        if self.recipe.method == "full":
            identity = f"{self.inputs['base']} {self.inputs['rows']} {name}"
            yield LocalModel.wrap(body, self.base.tokenizer, name=name, identity=identity)
            return
        shutil.rmtree(self.out / CANDIDATES, ignore_errors=True)  # of a run that was killed while it was scored
        folder = self.out / CANDIDATES / f"step-{self.state.step}"
        with saving(folder):
            folder.mkdir(parents=True)
        self.trainee.save(self.trainee.weights(), folder, self.base)
        with self.resting.awake():
            yield self.base.with_adapter(folder)

    def _save(self) -> None:
        known = self.state.step == 0 or self.state is self._saved
        if known or self._torn or not self._takes_part_in_saving:
            return
        weights, tensors = self.trainee.weights(), optimizer_tensors(self.optimizer, self.trainee.masters)
        if self.group.first:
            save_checkpoint(self.out, Checkpoint(self.inputs, self.setting, self.state, weights, tensors, self.best))
        self._saved, self._saved_at = self.state, time.monotonic()

    def _report(self, note: str = "") -> None:
        if not self.group.first:
            return
        point, recent = self.state.curve[-1], self.state.curve[-RECENT:]
        seconds = max(sum(p.seconds for p in recent), 1e-9)
        tokens, row_tokens = sum(p.tokens for p in recent), sum(p.row_tokens for p in recent)
        steps = self.course.steps
        left = (steps - point.step) * seconds / len(recent)
        speeds = (tokens / seconds, row_tokens / seconds, 1 - tokens / row_tokens)
        now = TrainProgress(point.step, steps, point.loss, point.lr, *speeds, left, point.dev_score, note)
        self.hooks.progress(now)
        if time.monotonic() - self._told_at >= LIVE_SECONDS:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / LIVE, asdict(now))
            self._told_at = time.monotonic()
