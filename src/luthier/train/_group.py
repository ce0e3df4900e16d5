"""Several processes that train one model: each runs a share of every step's rows, and their gradients are added.

The group is torch.distributed's, as `torchrun` makes it; without one a run is a group of one. Every process computes
the same course, so all of them know how many labels a step has, and the loss is normalised over all of them. Weights
and optimizer are the same everywhere after every step, or each process holds its part of them (`_shard`); a checkpoint
holds them in one piece either way and goes on with any number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from luthier.errors import TrainingError

MESSAGE = 2**25  # numbers added up in one message: it needs room for as many


@dataclass(frozen=True)
class Group:
    """The processes of a run; every method but the properties is called by all of them, in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes, scores and reports."""
        return self.rank == 0

    def refuse_alone(self) -> None:
        """Sharding takes several processes.

        Raises:
            TrainingError: this is the only one.
        """
        if self.size == 1:
            raise TrainingError(
                "one process cannot share its weights out",
                why="each of several processes would keep a part of them",
                fix="luthier tune --launch 2 --shard (or another number of processes)",
            )

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            dist.barrier()

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over the processes into each tensor (one dtype and device), in few messages."""
        if self.size == 1:
            return
        for some in _portions(tensors):
            buffer = torch.cat([tensor.flatten() for tensor in some])
            dist.all_reduce(buffer)
            for tensor, part in zip(some, torch.split(buffer, [t.numel() for t in some]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sum over the processes of each number."""
        if self.size == 1:
            return list(numbers)
        summed = torch.tensor(numbers, dtype=torch.float64, device=_message_device())
        dist.all_reduce(summed)
        found: list[float] = summed.tolist()
        return found

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.total([float(flag)])[0] > 0

    def number_of_first(self, number: float) -> float:
        """The first process's number."""
        return self.total([number if self.first else 0.0])[0]

    def text_of_first(self, text: str) -> str:
        """The first process's text."""
        if self.size == 1:
            return text
        data = text.encode()
        length = int(self.number_of_first(len(data)))
        message = torch.zeros(length, dtype=torch.uint8, device=_message_device())
        if self.first:
            message.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(message, 0)
        return bytes(message.tolist()).decode()


GONE = ("closed by peer", "reset by peer", "Broken pipe")  # gloo has no error of its own
PATIENCE = timedelta(days=1)  # the others wait while the first process loads, asks or scores


@contextmanager
def launched_group() -> Iterator[Group]:
    """The group of a launcher (`torchrun` names it in the environment), left at the end; one process without one.

    Raises:
        TrainingError: another process has ended while this one was waiting for it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield current_group()
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(_own_gpu(int(os.environ.get("LOCAL_RANK", "0"))))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield current_group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(words in str(error) for words in GONE):
            raise
        raise TrainingError(
            "another process that trains along has ended",
            why="every step needs all of them",
            fix="read what that process says above; then run the same command to go on from the last checkpoint",
        ) from error
    finally:
        dist.destroy_process_group()


def current_group() -> Group:
    """The processes that torch.distributed has brought together; this one alone where it has not."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return Group()


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """A copy on the CPU. A shared-out tensor is put together by all processes, and only the first one gets it.

    The others get an empty tensor: nobody but the first writes, and the copies of one machine would add up.
    """
    if not isinstance(tensor, DTensor):
        return tensor.detach().to("cpu", copy=True)
    found = tensor.full_tensor().detach()
    return found.to("cpu", copy=True) if dist.get_rank() == 0 else torch.empty(0, dtype=tensor.dtype)


@torch.no_grad()
def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy of a whole tensor where `like` is; shared out as `like` is, if it has the same shape."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor.to(like.device, copy=True)
    # Every process has the whole tensor, so none is sent; the copy lets go of it.
    own = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(own)


def _portions(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours together as long as they fit into one message (a larger tensor stands alone)."""
    some: list[Tensor] = []
    for tensor in tensors:
        if some and sum(t.numel() for t in some) + tensor.numel() > MESSAGE:
            yield some
            some = []
        some.append(tensor)
    if some:
        yield some


def _own_gpu(number: int) -> int:
    count = torch.cuda.device_count()
    if number >= count:
        raise TrainingError(
            f"process {number + 1} of this machine has no GPU of its own: there are {count}",
            why="two processes on one GPU would each need the memory of all",
            fix=f"start as many processes as there are GPUs: luthier tune --launch {count}"
            if count > 1
            else "start one process: luthier tune",
        )
    return number


def _message_device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
