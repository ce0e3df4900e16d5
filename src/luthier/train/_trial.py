"""A few steps of real training and a few answers, timed: what the rest of a run is extrapolated from."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from luthier.models import LocalModel, Request, forecast_answers, render_prompt
from luthier.store import new_folder
from luthier.train._begin import optimizer_of
from luthier.train._files import write_tensors
from luthier.train._head import losses_of
from luthier.train._model import Trainee
from luthier.train._recipe import Recipe
from luthier.train._rest import give_back
from luthier.train._room import Highest, resident
from luthier.train._rows import EncodedRow
from luthier.train._setting import Setting
from luthier.train._shard import resting_base

ANSWERS, ANSWER_TOKENS = 4, 16  # of the trial
WRITTEN = 8 * 2**20  # numbers
ALIKE = 1.2  # micro-batches less different than this say nothing about what a pass costs before its first token

Clock = Callable[[], float]


@dataclass(frozen=True)
class MicroStep:
    """One micro-batch: seconds, and bytes that came and went with it (None where the system does not say)."""

    seconds: float
    bytes: int | None


class Trial:
    """A training copy that is run for a few steps and thrown away.

    Args:
        base: the untuned model; left as it is.
        trainee: its copy.
        recipe: how it would be trained.
        setting: precision, packing and loss.
        asked: whether steps look at the base.
        clock: gives seconds.
    """

    def __init__(
        self, base: LocalModel, trainee: Trainee, recipe: Recipe, setting: Setting, asked: bool, clock: Clock
    ) -> None:
        self.base, self.trainee, self.recipe, self.setting, self.clock = base, trainee, recipe, setting, clock
        self.optimizer, self.losses = optimizer_of(trainee, recipe), losses_of(trainee, setting)
        self.resting = resting_base(base, trainee, asked)

    def micro_step(self, rows: Sequence[EncodedRow]) -> MicroStep:
        """Forward and backward pass of rows as a micro-batch."""
        give_back()
        highest = _Highest(self.trainee.device)
        highest.reset()
        began = self.clock()
        batch = self.setting.batch(rows, self.trainee.device)
        reference = self.setting.reference(self.trainee, self.base, rows)
        with self.setting.attention(self.trainee.body):
            learned, held = self.losses(batch, reference)
        ((learned + held) / max(1, len(batch.kept))).backward()  # type: ignore[no-untyped-call]  # torch's stubs
        self._wait()
        return MicroStep(self.clock() - began, highest.bytes())

    def update(self) -> float:
        """Seconds of the optimizer's part of a step."""
        began = self.clock()
        torch.nn.utils.clip_grad_norm_(self.trainee.masters.values(), self.recipe.clip)
        self.optimizer.step()
        self.trainee.publish()
        self.trainee.forget_gradients()
        self._wait()
        return self.clock() - began

    def score(self, requests: Sequence[Request]) -> tuple[float, float]:
        """Seconds before the first answer of a development score, and for a token's worth of answering."""
        few = [replace(r, max_tokens=min(r.max_tokens, ANSWER_TOKENS)) for r in requests[:ANSWERS]]
        began = self.clock()
        with self.resting.awake(), self._candidate() as model:
            before = self.clock() - began
            began = self.clock()
            answers = dict(model.answer(few))
            self._wait()
            seconds = self.clock() - began
        prompts = [render_prompt(self.base.tokenizer, request.messages) for request in few]
        ends = [answers[i].completion_tokens for i in range(len(few))]
        core = self.base.module
        forecast = forecast_answers(
            core.config, prompts, ends, ANSWER_TOKENS, itemsize=core.dtype.itemsize, kind=self.base.device.type
        )
        return before, seconds / forecast.work

    @contextmanager
    def _candidate(self) -> Iterator[LocalModel]:
        if self.recipe.method == "full":
            yield LocalModel.wrap(self.trainee.body, self.base.tokenizer, name="trial", identity="trial")
            return
        with tempfile.TemporaryDirectory() as place:
            self.trainee.save(self.trainee.weights(), Path(place), self.base)
            yield self.base.with_adapter(Path(place))

    def _wait(self) -> None:
        if self.trainee.device.type == "cuda":
            torch.cuda.synchronize()


class _Highest:
    """What is held beyond the present, on the processor or the accelerator."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._host = Highest()

    def reset(self) -> None:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            self._host.reset()
            self._before = resident()

    def bytes(self) -> int | None:
        if self._cuda:
            return int(torch.cuda.max_memory_allocated() - self._before)
        most = self._host.bytes()
        return None if most is None else most - self._before


def line(works: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Seconds before a micro-batch's first token, and for a token's worth of work: neither below 0."""
    x, y = np.asarray(works), np.asarray(seconds)
    through_zero = float(y.sum() / x.sum())
    if x.max() < ALIKE * x.min():
        return 0.0, through_zero
    slope, fixed = (float(value) for value in np.polyfit(x, y, 1))
    if fixed < 0:
        return 0.0, through_zero
    return (float(y.mean()), 0.0) if slope < 0 else (fixed, slope)


def seconds_to_write(place: Path, clock: Clock) -> float:
    """Seconds a byte of a checkpoint takes on the disk of `place`."""
    folder = place
    while not folder.is_dir():
        folder = folder.parent
    trial = Path(tempfile.mkdtemp(dir=folder, prefix=".trial-"))
    try:
        began = clock()
        with new_folder(trial / "written") as unfinished:
            write_tensors(unfinished / "trial.safetensors", {"trial": torch.zeros(WRITTEN)})
        return (clock() - began) / (4 * WRITTEN)
    finally:
        shutil.rmtree(trial)
