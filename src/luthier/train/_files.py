"""Tensors on disk: safetensors, with errors that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from luthier.errors import TrainingError
from luthier.store import writing


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """As `luthier.store.writing`, and safetensors' own errors are understood too.

    Raises:
        DiskFullError, StoreError: the operating system refused.
    """
    from safetensors import SafetensorError

    with writing(path):
        try:
            yield
        except SafetensorError as error:  # its Rust half hides the system's error number in the text
            full = f"os error {errno.ENOSPC}" in str(error) or "No space left" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors; equal tensors give equal bytes.

    Raises:
        DiskFullError, StoreError: as `saving`.
    """
    from safetensors.torch import save_file

    with saving(path):
        save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, path, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors to the CPU.

    Raises:
        TrainingError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise TrainingError(
            f"{path} cannot be read: {error}",
            why="it was changed or damaged after it was written",
            fix=f"bring it back from a copy, or remove its folder (rm -r {path.parent}) and run the same command again",
        ) from error
