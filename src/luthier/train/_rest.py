"""The base's full-precision weights, given up while training steps run on a half-precision copy of them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class RestingBase:
    """Holds no second copy of frozen weights that the training copy has already.

    A base answers on a CPU in fp32 from a file that mostly holds bf16, and LoRA trains on a bf16 copy of it. Where the
    copy holds exactly the base's values, the base is emptied between two evaluations and filled again from the copy.

    Args:
        module: the base's model.
        body: the training copy, with adapters on it or not.
    """

    def __init__(self, module: Any, body: Any) -> None:
        copies = {
            name.replace(".base_layer.", "."): weight
            for name, weight in body.named_parameters()
            if not weight.requires_grad
        }
        self._pairs = [
            (weight, copies[name])
            for name, weight in module.named_parameters()
            if name in copies and _is_the_same_in_less(weight, copies[name])
        ]

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

    @property
    def bytes(self) -> int:
        """What is given up."""
        return sum(copy.numel() * weight.element_size() for weight, copy in self._pairs)

    def _empty(self) -> None:
        for weight, _ in self._pairs:
            weight.data = torch.empty(0, dtype=weight.dtype)
        if self._pairs:
            give_back()

    def _fill(self) -> None:
        if self._pairs:
            give_back()  # what the steps before have left
        for weight, copy in self._pairs:
            weight.data = copy.detach().to(weight.dtype)


def give_back() -> None:
    """Free memory back to the system, where the C library (glibc) would keep what lies between what is in use."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _is_the_same_in_less(weight: torch.Tensor, copy: torch.Tensor) -> bool:
    smaller = copy.element_size() < weight.element_size() and weight.device == copy.device == torch.device("cpu")
    return smaller and weight.shape == copy.shape and torch.equal(weight, copy.to(weight.dtype))
