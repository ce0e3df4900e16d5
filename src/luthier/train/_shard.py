"""Weights shared out: each of several processes keeps a part of every weight, and has a whole block only while it runs.

torch's `fully_shard` (FSDP2) gathers a block before its forward and backward pass and adds its gradients up part by
part. So every process must run the same number of passes: one with fewer rows runs a token that counts nothing.

With all weights in training, the fp32 masters, their gradients and the optimizer are shared out. With an adapter, the
frozen weights are, in 4 bits as they are packed; the adapter, a hundredth of them, is whole in every process, as
without sharding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn import Module, ModuleList, Parameter
from transformers import PreTrainedModel

from luthier.errors import TrainingError
from luthier.models import LocalModel
from luthier.train._course import Pass
from luthier.train._group import Group
from luthier.train._model import Trainee, load_body, shares, training_copy
from luthier.train._predict import NF4
from luthier.train._recipe import Recipe
from luthier.train._rest import BaseAside, RestingBase, goes_aside
from luthier.train._room import memory_limit
from luthier.train._rows import EncodedRow
from luthier.train._work import Arithmetic

MASTER_BYTES = 16  # a trained weight in fp32: itself, its gradient and two moments
ROOM = 0.6  # share of a device's memory that weights may fill; activations and gathered blocks need the rest


def make_trainee(base: LocalModel, recipe: Recipe, dtype: torch.dtype, group: Group, shard: bool) -> Trainee:
    """The base in training, sharded where that is asked for or where a whole copy would fill the device.

    Raises:
        TrainingError: sharding is asked of one process alone, or with added tokens.
    """
    if shard:
        group.refuse_alone()
    if shard and recipe.added_tokens:
        raise TrainingError(
            "train: added_tokens cannot be sharded",
            why="a few rows of the embeddings are trained, and no part of a table holds them all",
            fix="leave --shard out: each process has the whole base and runs its share of the rows",
        )
    if group.size > 1 and group.any(shard or not (recipe.added_tokens or _fits(base, recipe, dtype, group))):
        return ShardedTrainee(base, recipe, dtype)
    return Trainee(training_copy(base, dtype, recipe.method), recipe, base.added.ids)


def resting_base(base: LocalModel, trainee: Trainee, asked: bool) -> RestingBase | BaseAside:
    """What becomes of the base between two evaluations; `asked` says that steps themselves look at it."""
    if trainee.sharded or goes_aside(trainee.method, trainee.device, asked):
        return BaseAside(base.module)
    return RestingBase(base.module, trainee.body, base.folder if trainee.method == "qlora" else None)


class ShardedTrainee(Trainee):
    """A model in training of which each process has a part; every method is called by all of them, in the same order.

    Args:
        base: the untuned model; its weights are read from its folder once more.
        recipe: how to train.
        dtype: precision of forward and backward pass.
    """

    sharded = True

    def __init__(self, base: LocalModel, recipe: Recipe, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._mesh = init_device_mesh("cuda" if dist.get_backend() == "nccl" else "cpu", (dist.get_world_size(),))
        self._base_in_parts: PreTrainedModel | None = None
        body = load_body(base, dtype, recipe.method, torch.device("cpu"))
        if recipe.method == "full":
            # The shards are the masters, and begin as what the base is in `dtype`; blocks are gathered in `dtype`.
            body.to(torch.promote_types(dtype, torch.float32))  # type: ignore[arg-type]  # its stubs know strings only
        super().__init__(body, recipe)

    def _settle(self) -> None:
        adapter = [] if self.method == "full" else [p for p in self.module.parameters() if p.requires_grad]
        for parameter in adapter:
            parameter.data = parameter.data.to(self.device)
        if self.method == "qlora":
            from luthier.train._nf4 import make_divisible

            make_divisible(self.body, self.device)
        policy = MixedPrecisionPolicy()
        if self.method == "full":
            exact = torch.promote_types(self._dtype, torch.float32)
            policy = MixedPrecisionPolicy(param_dtype=self._dtype, reduce_dtype=exact, cast_forward_inputs=False)
        _share_out(self.body, self._mesh, policy, adapter)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        if self._mesh.device_type == "cpu":
            return torch.device("cpu")
        return torch.device(self._mesh.device_type, torch.cuda.current_device())

    @contextmanager
    def untrained(self, base: LocalModel) -> Iterator[tuple[Any, PreTrainedModel]]:
        """As `Trainee.untrained`; with all weights in training it is a second copy of the base, shared out too."""
        if self.method != "full":
            with super().untrained(base) as found:
                yield found
            return
        if self._base_in_parts is None:
            body = load_body(base, self._dtype, device=torch.device("cpu")).requires_grad_(False)
            _share_out(body, self._mesh, MixedPrecisionPolicy(), [], reshard=True)
            self._base_in_parts = body
        with torch.no_grad():
            yield self._base_in_parts, self._base_in_parts

    def passes(self, parts: Sequence[Sequence[EncodedRow]], rows: Sequence[EncodedRow], group: Group) -> list[Pass]:
        """As many passes in every process, and the base asked in the same ones."""
        there = [float(i < len(parts)) for i in range(len(rows))]
        held = [float(i < len(parts) and any(row.held for row in parts[i])) for i in range(len(rows))]
        found = group.total([*there, *held])
        token = replace(rows[0], ids=rows[0].ids[:2], start=1, held=False)  # one to run and one to predict
        passes = []
        for number in range(sum(count > 0 for count in found[: len(rows)])):
            own = list(parts[number]) if there[number] else [token]
            company = [replace(token, held=True)] if found[len(rows) + number] and not held[number] else []
            passes.append(Pass([*own, *company], learn=there[number], hold=held[number]))
        return passes

    def sum_gradients(self, group: Group) -> None:
        """Give the masters the sum of all processes' gradients; those of sharded masters are summed already."""
        if self.method != "full":
            super().sum_gradients(group)

    def clip_gradients(self, limit: float) -> float:
        """As `Trainee.clip_gradients`: the norm is that of all parts together."""
        if self.method != "full":
            return super().clip_gradients(limit)
        norm: Any = torch.nn.utils.clip_grad_norm_(self.masters.values(), limit)
        return float(norm.full_tensor())

    @contextmanager
    def in_one_piece(self, base: LocalModel) -> Iterator[PreTrainedModel]:
        """As `Trainee.in_one_piece`: the first process gets a whole copy where one is asked, the others the parts."""
        if self.method != "full":
            yield self.body
            return
        weights = self.weights()
        yield self._filled(weights, base) if dist.get_rank() == 0 else self.body

    def _filled(self, weights: dict[str, Tensor], base: LocalModel) -> PreTrainedModel:
        body = load_body(base, self._dtype, device=self.device)
        with torch.no_grad():
            for name, weight in body.named_parameters():
                weight.copy_(weights[name])
        return body.requires_grad_(False)


def _share_out(
    body: PreTrainedModel,
    mesh: DeviceMesh,
    policy: MixedPrecisionPolicy,
    whole: Sequence[Parameter],
    reshard: bool | None = None,
) -> None:
    """Shard every block and then what is around them, but for the `whole` parameters; gradients are sums, not means.

    Blocks are moved to the mesh's device one by one, so a device never holds more than a block and its parts.
    """
    how: dict[str, Any] = {"mesh": mesh, "mp_policy": policy, "ignored_params": set(whole)}
    for block in blocks_of(body):
        fully_shard(block, **how)
    # What is around the blocks stays gathered between forward and backward pass, unless `reshard` says otherwise.
    root: Any = fully_shard(body, **how, reshard_after_forward=reshard)
    root.set_reduce_scatter_unused_params(True)  # a process's rows may leave out an expert that another's take
    for part in body.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo adds and nothing else


def blocks_of(body: PreTrainedModel) -> list[Module]:
    """The layers of the model, as its class names them; else the members of its longest list of modules."""
    names = set(body._no_split_modules or ())
    named = [module for module in body.modules() if type(module).__name__ in names]
    if named:
        return named
    lists = [list(module) for module in body.modules() if isinstance(module, ModuleList)]
    return max(lists, key=len, default=[])


def _fits(base: LocalModel, recipe: Recipe, dtype: torch.dtype, group: Group) -> bool:
    """Whether a process's device holds base, training copy and optimizer and has room left for the work."""
    apart = recipe.method != "full" or dtype.itemsize < 4
    apart = apart and not shares(base.module.dtype, dtype, recipe.method)
    copy: float = base.n_parameters * dtype.itemsize * apart
    if recipe.method == "qlora":
        copy -= (dtype.itemsize - NF4) * Arithmetic.of(base.module.config, recipe, 0).layers
    trained = base.n_parameters * (MASTER_BYTES if recipe.method == "full" else 0)
    own = sum(weight.numel() * weight.element_size() for weight in base.module.parameters())
    needed: float = copy + trained + own
    return needed <= ROOM * _memory(base.device, group)


def _memory(device: torch.device, group: Group) -> float:
    """Bytes that a process may hold on its device; the processes of one machine share its main memory."""
    beside = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", group.size))
    return memory_limit(device) / beside
