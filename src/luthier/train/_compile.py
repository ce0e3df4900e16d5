"""Decoder layers compiled by torch, where that was measured to pay on this device.

A block is compiled once and serves for all blocks of its kind and for all sizes. Micro-batches are filled up to a
multiple of `BUCKET` tokens, with a tree of its own that nothing looks at: products on a GPU go by tiles of that size
anyway, and sizes that are alike need no new kernels. Attention stays outside: over a tree it is a kernel already.

On a CPU it gains nothing (`benchmarks/RESULTS.md`), so it is not tried there.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from luthier.models import LocalModel
from luthier.train._attention import NAME, tree_attention
from luthier.train._course import Course
from luthier.train._head import Losses, losses_of
from luthier.train._loss import MicroBatch
from luthier.train._model import Trainee
from luthier.train._setting import Setting, in_one_line
from luthier.train._shard import blocks_of

DEVICES = frozenset({"cuda"})  # where it may pay
BACKEND = "inductor"
LONG = 1200.0  # seconds of training; the trial takes about one of its minutes
GAIN = 0.03  # of the time of a micro-batch, at least: less is within what timing varies by
TRIED, ROUNDS = 3, 3  # micro-batches of the first steps, and how often each is timed
TOLERANCE = 1e-4  # relative difference of loss and gradients from eager layers, in fp32
COARSE_TOLERANCE = 3e-2  # the same in half precision, where fused steps round less often
# What torch 2.13 warns of as it traces: its own ways with gradients and with autograd functions.
TRACING = ("The .grad attribute of a Tensor that is not a leaf", ".*autograd.function.Function.* should not be inst")


@dataclass(frozen=True)
class Timing:
    """Seconds of the same micro-batches with eager and with compiled layers, and what compiling took."""

    eager: float
    compiled: float
    building: float

    def verdict(self, left: float) -> tuple[bool, str]:
        """Whether to compile a run that takes so many seconds eager, and why."""
        share = self.compiled / self.eager
        said = f"a micro-batch takes {share:.2f} of the time that it takes eager"
        if share > 1 - GAIN:
            return False, said
        saved = left * (1 - share)
        return saved > self.building, f"{said}: it saves {saved:.0f} s for {self.building:.0f} s of compiling"


def losses_under(trainee: Trainee, setting: Setting) -> Losses:
    """What computes the losses of a micro-batch under a setting; of compiled layers it raises `compile_errors`."""
    losses = losses_of(trainee, setting)
    return _through(_Layers(trainee.body), losses) if setting.compiled else losses


def with_compilation(
    setting: Setting,
    trainee: Trainee,
    base: LocalModel,
    course: Course,
    processes: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Setting:
    """The setting, with compiled layers where a trial on the first micro-batches says that they pay.

    Args:
        setting: all but this.
        trainee: what is trained; it comes back as it was, its gradients forgotten.
        base: the untuned model.
        course: the order of training.
        processes: that share the work.
        clock: gives seconds.
    """
    if trainee.device.type not in DEVICES:
        return setting
    reason = _why_not(setting, trainee)
    if reason is None:
        try:
            found, reason = _Trial(setting, trainee, base, course, clock).verdict(processes)
        except Exception as error:  # a layer that torch cannot compile, or a missing compiler, fails in any way
            found, reason = False, in_one_line(error)
        finally:
            trainee.forget_gradients()
        if found:
            return replace(setting, compiled=True, compile_reason=f"compiled: {reason}")
    return replace(setting, compile_reason=f"not compiled: {reason}")


def while_compilable(setting: Setting, trainee: Trainee) -> Setting:
    """The setting of a run that goes on: layers that were compiled stay so unless this device or sharding forbids."""
    if not setting.compiled:
        return setting
    if trainee.device.type not in DEVICES:
        return replace(setting, compiled=False, compile_reason="")
    reason = _why_not(setting, trainee)
    return setting if reason is None else replace(setting, compiled=False, compile_reason=f"not compiled: {reason}")


def _why_not(setting: Setting, trainee: Trainee) -> str | None:
    if trainee.sharded:
        return "weights are shared out over several processes"
    if setting.packing == "padded":
        return "padded rows come in too many sizes"
    if setting.recompute:
        return "layers are computed again for the backward pass"
    return None if blocks_of(trainee.body) else f"{type(trainee.body).__name__} does not name its layers"


class _Trial:
    """A few micro-batches of the first steps, forward and backward, with eager and with compiled layers."""

    def __init__(
        self, setting: Setting, trainee: Trainee, base: LocalModel, course: Course, clock: Callable[[], float]
    ) -> None:
        self._setting, self._trainee, self._base = setting, trainee, base
        self._course, self._clock = course, clock
        losses = losses_of(trainee, setting)
        self._eager = (setting, losses)
        self._compiled = (replace(setting, compiled=True), _through(_Layers(trainee.body), losses))
        first = range(min(TRIED, course.steps))
        self._steps = [course.micro_batches(step, setting.packing) for step in first]
        self._parts = [part for parts in self._steps for part in parts][:TRIED]

    def verdict(self, processes: int) -> tuple[bool, str]:
        """Whether compiled layers pay in the rest of the run, and why."""
        for part in self._parts:
            self._pass(self._eager, part)  # the first pass pays for allocations and kernels
        eager = sum(self._pass(self._eager, part)[0] for part in self._parts)
        passes = self._course.steps * sum(map(len, self._steps)) / len(self._steps)
        left = eager / len(self._parts) * passes / processes
        if left < LONG:
            return False, f"the run is too short for a trial (about {left / 60:.0f} minutes)"
        difference = self._difference(self._parts[0])
        if not difference <= (TOLERANCE if self._setting.dtype.itemsize > 2 else COARSE_TOLERANCE):
            return False, f"loss or gradients differ by {difference:.2g}, relative"
        building = sum(self._pass(self._compiled, part)[0] for part in self._parts) + self._building
        times = [[self._pass(way, part)[0] for part in self._parts for way in self._both] for _ in range(ROUNDS)]
        medians = [median(column) for column in zip(*times, strict=True)]
        timing = Timing(sum(medians[::2]), sum(medians[1::2]), building)
        found, reason = timing.verdict(left)
        return found, f"{reason}; loss and gradients equal within {difference:.1g}, relative"

    @property
    def _both(self) -> tuple[tuple[Setting, Losses], tuple[Setting, Losses]]:
        return self._eager, self._compiled

    def _difference(self, part: Sequence[Any]) -> float:
        """The larger relative difference, of the losses and of the gradients; no second copy of these is held."""
        masters = list(self._trainee.masters.values())
        self._trainee.forget_gradients()
        _, wanted = self._pass(self._eager, part)
        gradients = [master.grad for master in masters if master.grad is not None]
        size = torch.nn.utils.get_total_norm(gradients)
        for gradient in gradients:
            gradient.neg_()
        self._building, found = self._pass(self._compiled, part)
        apart = float(torch.nn.utils.get_total_norm(gradients) / size)
        self._trainee.forget_gradients()
        return max(apart, abs(found / wanted - 1))

    def _pass(self, way: tuple[Setting, Losses], part: Sequence[Any]) -> tuple[float, float]:
        """Seconds of a forward and backward pass, and its loss; its gradients are added to the masters'."""
        setting, losses = way
        batch = setting.batch(part, self._trainee.device)
        reference = setting.reference(self._trainee, self._base, part)
        self._wait()
        began = self._clock()
        with setting.attention(self._trainee.body):
            learned, held = losses(batch, reference)
            ((learned + held) / len(batch.kept)).backward()  # type: ignore[no-untyped-call]  # torch's stubs
        self._wait()
        return self._clock() - began, float((learned + held).detach())

    def _wait(self) -> None:
        if self._trainee.device.type == "cuda":
            torch.cuda.synchronize()


class _Layers:
    """The decoder layers of a model with a compiled `forward` beside their own."""

    def __init__(self, body: PreTrainedModel) -> None:
        compile_: Any = torch.compile
        self._compiled = [(layer, compile_(layer.forward, dynamic=True, backend=BACKEND)) for layer in blocks_of(body)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block the layers run compiled; afterwards they are as before."""
        AttentionInterface.register(NAME, _opaque())
        for layer, forward in self._compiled:
            layer.forward = forward
        try:
            with warnings.catch_warnings():
                for said in TRACING:
                    warnings.filterwarnings("ignore", message=said)
                yield
        finally:
            for layer, _ in self._compiled:
                del layer.forward  # the class's own is there again
            AttentionInterface.register(NAME, tree_attention)


def _through(layers: _Layers, losses: Losses) -> Losses:
    def run(batch: MicroBatch, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        with layers.running():
            return losses(batch, reference)

    return run


@cache
def _opaque() -> Any:
    """Attention over a tree as the compiler sees it: a call that it does not look into."""
    return torch.compiler.disable(tree_attention)  # type: ignore[no-untyped-call]  # torch's stubs
