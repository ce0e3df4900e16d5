"""Supervised fine-tuning: from rows to an adapter.

Deterministic on a CPU: the same rows, recipe, base and machine (with the same number of threads) give the same bytes,
also when the run was killed and resumed. Batches are a function of the seed and the step, there is no dropout, and the
only random numbers (LoRA's first weights) come from the seed.
"""

from __future__ import annotations

import json
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

from luthier.errors import Problem, TrainingError
from luthier.models import LocalModel
from luthier.store import hash_folder, new_folder, read_json, write_json
from luthier.train._checkpoint import (
    FOLDER,
    Checkpoint,
    RunState,
    load_checkpoint,
    optimizer_tensors,
    refuse_other_inputs,
    restore_optimizer,
    save_checkpoint,
)
from luthier.train._course import Course
from luthier.train._files import saving
from luthier.train._group import Group, current_group
from luthier.train._interrupt import Interruption
from luthier.train._loss import batch_losses
from luthier.train._model import Trainee, load_body
from luthier.train._predict import Job
from luthier.train._recipe import Recipe
from luthier.train._remedies import fitting
from luthier.train._rest import RestingBase
from luthier.train._result import RESULT_FILE, CurvePoint, TrainProgress, TrainResult
from luthier.train._rows import EncodedRow, TrainingRow, encode_rows, replay_rows, rounded_length, rows_hash
from luthier.train._setting import Setting

ENGINE_VERSION = 4  # raise it when the same inputs give other weights
CANDIDATES = "candidates"
EXPLODED = 1.5  # times the loss of guessing at random, and times the first loss
LIVE, LIVE_SECONDS = "progress.json", 2.0  # what a running run tells any process, and how often
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
) -> TrainResult:
    """Fine-tune a base on rows; the weights with the best development score are kept.

    Where torch.distributed is initialised, all its processes call this with the same arguments and share the work of
    every step; `score` and `progress` are called in the first one, which alone writes to `out`.

    `out/progress.json` says how far it is, as `TrainProgress`; it is replaced as a whole every two seconds.

    A run that was stopped goes on from `out/checkpoint`; one that is finished is read from `out`. On Ctrl-C or SIGTERM
    the running step is finished and saved before `KeyboardInterrupt` is raised.

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

    Raises:
        TeachesNothingError: rows without label tokens, without an end, or too long; every one is named.
        TrainingError: the machine's memory cannot hold it (what to change is said); the loss is zero at once, not
            finite or exploded (the rows are named); `out` holds another run.
        DiskFullError, StoreError: `out` cannot be written.
    """
    encoded = encode_rows(base, rows, recipe.max_length)
    held, left_out = replay_rows(base, replay, recipe.max_length)
    inputs = _inputs(base, encoded, held, recipe)
    finished = _finished(out, inputs)
    if finished is not None:
        return finished
    group = current_group()
    checkpoint = _checkpoint(out, inputs, group)
    job = Job(base, recipe, tuple(encoded), tuple(held))
    setting = checkpoint.setting if checkpoint else _setting(job, out, group)
    trainee = Trainee(load_body(base, setting.dtype), recipe)
    if setting.recompute:
        trainee.keep_only_layer_inputs()
    hooks = _Hooks(score, progress or (lambda _: None), checkpoint_seconds)
    run = _Run(base, Course(encoded, held, recipe), recipe, setting, trainee, out, inputs, hooks, group)
    if checkpoint:
        run.restore(checkpoint)
    with Interruption(group.any if group.size > 1 else None) as interruption, run.resting.resting():
        stopped = run.to_the_end(interruption)
    if group.first:
        run.publish(stopped, rounded_length(encoded), len(left_out))
    group.wait()
    result = _finished(out, inputs)
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
        self.optimizer = _optimizer(trainee, recipe)
        self.state = RunState()
        self.best: dict[str, torch.Tensor] = {}
        self.resting = RestingBase(base.module, trainee.body)
        self._saved_at = time.monotonic()
        self._told_at = -math.inf

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint stands."""
        self.state, self.best = checkpoint.state, checkpoint.best
        self.trainee.load(checkpoint.weights)
        restore_optimizer(self.optimizer, self.trainee.masters, checkpoint.optimizer)

    def to_the_end(self, interruption: Interruption) -> str:
        """Train until done or until nothing gets better; gives the reason to stop."""
        try:
            while (stopped := self._stopped()) is None:
                if self._score_is_due():
                    value = self._score()
                    with interruption.finishing():
                        self._take_score(value)
                else:
                    with interruption.finishing():
                        self._step()
                self._report()
                if time.monotonic() - self._saved_at >= self.hooks.checkpoint_seconds:
                    self._save()
        except KeyboardInterrupt:
            self._save()
            raise
        return stopped

    def publish(self, stopped: str, max_length: int, left_out: int) -> None:
        """Write the best weights and the record of the run; the checkpoint has served its purpose."""
        folder = self.out / ("adapter" if self.recipe.method == "lora" else "model")
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
            versions={name: version(name) for name in ("torch", "transformers", "peft", "safetensors")},
        )
        write_json(self.out / RESULT_FILE, result.as_dict())
        for leftover in (FOLDER, CANDIDATES):
            shutil.rmtree(self.out / leftover, ignore_errors=True)  # only room on the disk depends on it
        (self.out / LIVE).unlink(missing_ok=True)

    def _step(self) -> None:
        """One optimizer step: the mean loss over the label tokens of the whole batch, and the drift held down."""
        began = time.perf_counter()
        step, trainee = self.state.step, self.trainee
        learned, replayed = self.course.batch(step), self.course.replay(step)
        labels, held = (sum(row.labels for row in rows) for rows in (learned, replayed))
        trainee.forget_gradients()
        loss, drift, tokens, row_tokens = 0.0, 0.0, 0, 0
        for part in self.course.micro_batches(step, self.setting.packing, self.group.rank, self.group.size):
            batch = self.setting.batch(part, trainee.device)
            reference = self.setting.reference(trainee, self.base, part)
            with self.setting.attention(trainee.body):
                wanted, away = batch_losses(trainee.module, batch, reference)
            wanted, away = wanted / labels, away / max(held, 1)
            (wanted + self.recipe.replay_weight * away).backward()  # type: ignore[no-untyped-call]  # torch's stubs
            trainee.collect_gradients()
            loss, drift = loss + wanted.item(), drift + away.item()
            tokens, row_tokens = tokens + batch.tokens, row_tokens + batch.row_tokens
        self.group.add([master.grad for master in trainee.masters.values() if master.grad is not None])
        loss, drift, *counts = self.group.total([loss, drift, tokens, row_tokens])
        tokens, row_tokens = map(int, counts)
        norm = float(torch.nn.utils.clip_grad_norm_(trainee.masters.values(), self.recipe.clip))
        self._check(loss, norm, learned)
        rate = self.recipe.rate(step, self.course.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        trainee.publish()
        seconds = time.perf_counter() - began
        kept = drift if held else None
        point = CurvePoint(step + 1, loss, rate, norm, tokens, row_tokens, labels, seconds, drift=kept)
        self.state = self.state.after_step(point)

    def _check(self, loss: float, norm: float, rows: Sequence[EncodedRow]) -> None:
        first = not self.state.curve
        guessing = math.log(self.trainee.body.config.get_text_config().vocab_size)
        limit = math.inf if first else EXPLODED * max(guessing, self.state.curve[0].loss)
        if math.isfinite(loss) and math.isfinite(norm) and loss <= limit and not (first and loss == 0):
            return
        what = "is zero: there is nothing to learn" if loss == 0 else f"is {loss:.3g} with a gradient of {norm:.3g}"
        raise TrainingError(
            f"the loss of step {self.state.step + 1} {what}",
            why="the weights of such a step are of no use; what was saved before it is untouched",
            fix=f"lower the learning rate (train: {{learning_rate: {self.recipe.learning_rate / 3:.1g}}} in "
            "luthier.yaml); if that does not help, look at the rows named above",
            problems=[Problem(f"row {row.id}", row.source or None) for row in rows],
        )

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
        if self.group.first:
            with self.resting.awake(), self._candidate() as model:
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
        self.state = self.state.after_score(value)
        if self.state.best_step == self.state.step and self.group.first:
            self.best = self.trainee.weights()
        self._save()

    @contextmanager
    def _candidate(self) -> Iterator[LocalModel]:
        """The model as it is now, as it would be served: an adapter on the base as it answers."""
        name = f"{self.base.name} after {self.state.step} steps"
        if self.recipe.method == "full":
            identity = f"{self.inputs['base']} {self.inputs['rows']} {name}"
            yield LocalModel.wrap(self.trainee.body, self.base.tokenizer, name=name, identity=identity)
            return
        shutil.rmtree(self.out / CANDIDATES, ignore_errors=True)  # of a run that was killed while it was scored
        folder = self.out / CANDIDATES / f"step-{self.state.step}"
        with saving(folder):
            folder.mkdir(parents=True)
        self.trainee.save(self.trainee.weights(), folder, self.base)
        yield self.base.with_adapter(folder)

    def _save(self) -> None:
        if self.state.step == 0 or not self.group.first:
            return
        tensors = optimizer_tensors(self.optimizer, self.trainee.masters)
        saved = Checkpoint(self.inputs, self.setting, self.state, self.trainee.weights(), tensors, self.best)
        save_checkpoint(self.out, saved)
        self._saved_at = time.monotonic()

    def _report(self) -> None:
        if not self.group.first:
            return
        point, recent = self.state.curve[-1], self.state.curve[-RECENT:]
        seconds = max(sum(p.seconds for p in recent), 1e-9)
        tokens, row_tokens = sum(p.tokens for p in recent), sum(p.row_tokens for p in recent)
        steps = self.course.steps
        left = (steps - point.step) * seconds / len(recent)
        speeds = (tokens / seconds, row_tokens / seconds, 1 - tokens / row_tokens)
        now = TrainProgress(point.step, steps, point.loss, point.lr, *speeds, left, point.dev_score)
        self.hooks.progress(now)
        if time.monotonic() - self._told_at >= LIVE_SECONDS:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / LIVE, asdict(now))
            self._told_at = time.monotonic()


def _checkpoint(out: Path, inputs: Mapping[str, Any], group: Group) -> Checkpoint | None:
    """The checkpoint in `out`, for every process; the first one cleans up what a killed run left there."""
    found = load_checkpoint(out, inputs) if group.first else None
    group.wait()
    found = found if group.first else load_checkpoint(out, inputs)
    group.wait()
    return found


def _setting(job: Job, out: Path, group: Group) -> Setting:
    """What the first process's machine allows."""
    found = ""
    if group.first:
        recompute = fitting(job, None, out, group.size)
        found = json.dumps(replace(job.setting(), recompute=recompute).as_dict())
    return Setting(**json.loads(group.text_of_first(found)))


def _optimizer(trainee: Trainee, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW on the masters; norms and biases do not decay."""
    masters = list(trainee.masters.values())
    groups = [
        {"params": [m for m in masters if m.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [m for m in masters if m.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.learning_rate, betas=betas, fused=True)


def _inputs(
    base: LocalModel, rows: Sequence[EncodedRow], replay: Sequence[EncodedRow], recipe: Recipe
) -> dict[str, Any]:
    """What the result is a function of, by names that a user can act on."""
    settings = {f"recipe.{name}": value for name, value in recipe.as_dict().items()}
    hashes = {"base": base.identity, "rows": rows_hash(rows), "replay": rows_hash(replay)}
    return hashes | settings | {"engine": ENGINE_VERSION}


def _finished(out: Path, inputs: Mapping[str, Any]) -> TrainResult | None:
    """The result that lies in `out`, if a run with these inputs is finished there."""
    if not (out / RESULT_FILE).is_file():
        return None
    result = TrainResult.from_dict(read_json(out / RESULT_FILE), out)
    refuse_other_inputs(out, result.inputs, inputs)
    if not result.folder.is_dir() or hash_folder(result.folder) != result.adapter_hash:
        raise TrainingError(
            f"{result.folder} is not what was trained",
            why=f"its files no longer have the hash that {RESULT_FILE} records",
            fix=f"remove the run (rm -r {out}) and run the same command again",
        )
    return result
