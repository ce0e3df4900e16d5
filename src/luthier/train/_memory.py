"""The peak memory and the disk of a run, from its architecture: which parts are held in which phase.

Sources: the engine itself, whose micro-batch is simulated (`_simulate`), and counts of copies that each phase makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from luthier.models import Forecast, without_weights
from luthier.train._recipe import Recipe
from luthier.train._simulate import Footprint

MOMENTS = 8  # bytes of a trained number: two averages in fp32
SAVED = 4  # bytes of a trained number where it is kept or written
CHECKPOINTS = 2  # kept on disk
PARTS = ("runtime", "weights", "optimizer", "activations", "logits", "answers", "copies")


@dataclass(frozen=True)
class Memory:
    """What a run holds, in bytes, by phase and part (`PARTS`); `peak` is the largest phase."""

    phases: Mapping[str, Mapping[str, int]]

    @property
    def phase(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def parts(self) -> Mapping[str, int]:
        """What is held at the peak."""
        return self.phases[self.phase]

    @property
    def peak(self) -> int:
        """Bytes at the peak."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Disk:
    """What a run writes, in bytes.

    `result` stays. While it runs, the checkpoints that are kept, one that is being written and a `candidate` that is
    scored lie beside it. `model` is the base's copy in the cache, where it is still to be made.
    """

    result: int
    checkpoint: int
    candidate: int
    model: int

    @property
    def peak(self) -> int:
        """Bytes at the peak."""
        return self.result + (CHECKPOINTS + 1) * self.checkpoint + self.candidate + self.model


@dataclass(frozen=True)
class Ground:
    """What is there whatever is trained.

    Args:
        kind: "cpu" or "cuda".
        runtime: bytes of the process without any weights.
        base: bytes of the weights of the base that answers.
        largest: bytes of its largest tensor.
        itemsize: bytes of one of its weights.
        kernels: bytes of what is compiled for the sizes of micro-batches.
        rests: whether the base holds nothing between development scores.
        shared: whether the frozen weights of what is trained are the base's own.
    """

    kind: str
    runtime: int
    base: int
    largest: int
    itemsize: int
    kernels: int = 0
    rests: bool = False
    shared: bool = False


def predict_memory(ground: Ground, footprint: Footprint, recipe: Recipe, answers: Forecast, factor: float) -> Memory:
    """Memory by phase.

    Args:
        ground: process and base.
        footprint: the micro-batch that needs most.
        recipe: what is trained.
        answers: what a development score takes.
        factor: measured activations over simulated ones; 1 where nothing was measured.
    """
    n = footprint.trained
    asleep = 0 if ground.rests else ground.base
    copied = footprint.weights - (ground.base if ground.shared else 0)
    copy = copied + footprint.masters
    optimizer = footprint.gradients + MOMENTS * n
    host = ground.kind == "cpu"  # copies of weights are made on the processor
    best = SAVED * n if host else 0
    adapter = 0 if recipe.method == "full" else SAVED * n
    phases = {
        "loading": {"weights": ground.base + copied, "copies": ground.largest},
        "steps": {
            "weights": asleep + copy,
            "optimizer": optimizer,
            "activations": round(factor * footprint.activations),
            "logits": footprint.logits,
            "copies": best,
        },
        "scores": {
            "weights": ground.base + copy + adapter,
            "optimizer": optimizer,
            "answers": answers.bytes,
            "copies": best,
        },
    }
    if host:
        written = (SAVED + MOMENTS) * n
        phases["checkpoints"] = {
            "weights": asleep + copy,
            "optimizer": optimizer,
            "copies": best + written,
        }
    kernels = {name: 0 if name == "loading" else ground.kernels for name in phases}
    return Memory({name: {"runtime": ground.runtime + kernels[name]} | parts for name, parts in phases.items()})


def predict_disk(footprint: Footprint, recipe: Recipe, model: int) -> Disk:
    """Disk of a run; `model` are bytes of the base that its cache does not hold yet."""
    n = footprint.trained
    result = footprint.weights if recipe.method == "full" else SAVED * n
    checkpoint = (2 * SAVED + MOMENTS) * n  # weights, those of the best score, moments
    return Disk(result, checkpoint, 0 if recipe.method == "full" else SAVED * n, model)


def ground_of(config: Any, device: torch.device, runtime: int, kernels: int) -> Ground:
    """The base of a configuration as it would answer on a device: fp32 on a processor, bf16 on CUDA.

    `kernels` are bytes of what is compiled for micro-batches.
    """
    counts = [p.numel() for p in without_weights(config).parameters()]
    itemsize = 4 if device.type == "cpu" else 2
    return Ground(device.type, runtime, itemsize * sum(counts), itemsize * max(counts), itemsize, kernels)
