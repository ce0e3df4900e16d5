"""The base's full-precision weights, given up while training steps run on a smaller copy of them."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from luthier.errors import TrainingError
from luthier.train._recipe import Method


class RestingBase:
    """Holds no second copy of frozen weights that can be had again from elsewhere.

    A base answers on a CPU in fp32 from a file that mostly holds bf16, and LoRA trains on a bf16 copy of it. Where the
    copy holds exactly the base's values, the base is emptied between two evaluations and filled again from the copy.
    A copy in 4 bits does not hold them: then they come from the base's own files.

    Args:
        module: the base's model.
        body: the training copy, with adapters on it or not.
        folder: the base's files; None where they shall not be read again.
    """

    def __init__(self, module: Any, body: Any, folder: Path | None = None) -> None:
        copies = {
            name.replace(".base_layer.", "."): weight
            for name, weight in body.named_parameters()
            if not weight.requires_grad
        }
        stored = {} if folder is None else _stored(folder)
        self._sources: list[tuple[Tensor, Callable[[], Tensor]]] = []
        for name, weight in module.named_parameters():
            if name in copies and _is_the_same_in_less(weight, copies[name]):
                self._sources.append((weight, copies[name].detach))
            elif name in stored and torch.equal(weight.cpu(), stored[name]().to(weight.dtype)):
                self._sources.append((weight, stored[name]))
        self.bytes = sum(weight.numel() * weight.element_size() for weight, _ in self._sources)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within the block the base has no weights but those that the copy does not have."""
        self._empty()
        try:
            yield
        finally:
            self._fill()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Within a block of `resting`: the base is whole for a while."""
        self._fill()
        try:
            yield
        finally:
            self._empty()

    def _empty(self) -> None:
        for weight, _ in self._sources:
            weight.data = torch.empty(0, dtype=weight.dtype, device=weight.device)
        self._give_back()

    def _fill(self) -> None:
        self._give_back()  # what the steps before have left
        for weight, source in self._sources:
            weight.data = source().to(weight.device, weight.dtype, copy=True)

    def _give_back(self) -> None:
        gc.collect()  # models that were tried out and refer to themselves
        if self._sources:
            give_back()


class BaseAside:
    """The base on the CPU while what is trained fills a GPU, or several, which then need not hold it as well.

    Args:
        module: the base's model; where it is on a CPU it stays as it is.
    """

    def __init__(self, module: Any) -> None:
        self._module, self._device = module, module.device

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within the block the base is on the CPU."""
        self._module.to("cpu")
        try:
            yield
        finally:
            self._module.to(self._device)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Within a block of `resting`: the base is on its device for a while."""
        self._module.to(self._device)
        try:
            yield
        finally:
            self._module.to("cpu")


def goes_aside(method: Method, device: torch.device, asked: bool) -> bool:
    """Whether one GPU does without the base while all weights are trained on it and no step asks the base."""
    return method == "full" and device.type == "cuda" and not asked


def give_back() -> None:
    """Free memory back to the system, where the C library (glibc) would keep what lies between what is in use."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _stored(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """What reads each tensor of a folder."""
    found: dict[str, Callable[[], Tensor]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names = file.keys()  # it cannot be iterated itself
            found |= {name: partial(_read, path, path.stat().st_mtime_ns, name) for name in names}
    return found


def _read(path: Path, changed_at: int, name: str) -> Tensor:
    """A tensor as it lies in a file; opened each time, for an open one keeps in memory what was read of it."""
    if not path.is_file() or path.stat().st_mtime_ns != changed_at:
        raise TrainingError(
            f"{path} was changed while an adapter was trained on it",
            why="its weights are read again for every evaluation, to leave their memory to training",
            fix="put the base back as it was and run the same command again: it goes on from its checkpoint",
        )
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor


def _is_the_same_in_less(weight: Tensor, copy: Tensor) -> bool:
    smaller = copy.element_size() < weight.element_size() and weight.device == copy.device == torch.device("cpu")
    return smaller and weight.shape == copy.shape and torch.equal(weight, copy.to(weight.dtype))
