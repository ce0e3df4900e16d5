"""One micro-batch run on tensors without content: what it would hold in memory, from the architecture alone.

The training code itself runs, forward and backward, under torch's fake tensors: they have shapes, types and lifetimes,
and no values. So no weight is read, nothing is multiplied, and what is counted is what the engine really keeps, for any
architecture and method.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface

from luthier.models import without_weights
from luthier.train._attention import NAME
from luthier.train._loss import MicroBatch, label_logits, needed_by_their_maker
from luthier.train._model import Trainee
from luthier.train._recipe import Recipe
from luthier.train._rows import EncodedRow
from luthier.train._setting import Setting

DEEP = 4  # layers; more are not run but extrapolated


@dataclass(frozen=True)
class Footprint:
    """Bytes of one micro-batch and of the model that runs it.

    `weights` are the working weights, adapters among them; `trained` counts the trained numbers and `masters` are the
    bytes of their precise copies where those are apart, `gradients` of the masters' gradients. `logits` are those at
    labels, with their gradient where it has a place of its own, and what the base says on held rows; `activations` the
    rest at the peak.
    """

    weights: int
    trained: int
    masters: int
    gradients: int
    activations: int
    logits: int

    @property
    def batch(self) -> int:
        """What comes and goes with the micro-batch."""
        return self.activations + self.logits


def simulate(
    config: Any, recipe: Recipe, setting: Setting, parts: Sequence[Sequence[EncodedRow]], kernels: bool = False
) -> list[Footprint]:
    """The footprint of each of some micro-batches.

    Of deep models whose layers are alike a few layers are run, and the rest follows on a line: exactly, as every layer
    keeps the same.

    Args:
        config: the base's configuration (transformers).
        recipe: what is trained, and how.
        setting: precision and packing.
        parts: the micro-batches.
        kernels: whether attention over a tree is one kernel (see `_flex`), which keeps what goes in and comes out.
    """
    depth = _layers_alike(config, recipe)
    if depth is None or depth <= DEEP:
        whole = Simulation(config, recipe, setting, kernels)
        return [whole.run(part) for part in parts]
    few, more = (Simulation(_cut(config, layers), recipe, setting, kernels) for layers in (DEEP // 2, DEEP))
    return [_extended(few.run(part), more.run(part), depth) for part in parts]


def _layers_alike(config: Any, recipe: Recipe) -> int | None:
    """Number of layers; None where they are not all alike, or the peak may be in the embeddings' gradients."""
    values = config.to_dict()
    depth = values.get("num_hidden_layers")
    by_layer = [v for v in values.values() if isinstance(v, list) and len(v) == depth]
    uneven = any(one != kinds[0] for kinds in by_layer for one in kinds)
    uneven = uneven or any(word in name for name in values for word in ("dense", "sparse"))
    whole = recipe.method == "full" or bool(getattr(recipe, "from_layer", 0))
    return None if depth is None or uneven or whole else int(depth)


def _cut(config: Any, layers: int) -> Any:
    values = config.to_dict()
    depth = values["num_hidden_layers"]
    short = {k: v[:layers] if isinstance(v, list) and len(v) == depth else v for k, v in values.items()}
    return type(config).from_dict(short | {"num_hidden_layers": layers})


def _extended(few: Footprint, more: Footprint, depth: int) -> Footprint:
    """On the line through two depths."""
    grown = (depth - DEEP) / (DEEP - DEEP // 2)
    return Footprint(*(round(b + (b - a) * grown) for a, b in zip(astuple(few), astuple(more), strict=True)))


class Simulation:
    """The training copy of a base that is not there.

    Args:
        config: the base's configuration (transformers).
        recipe: what is trained, and how.
        setting: precision and packing.
        kernels: as in `simulate`.
    """

    def __init__(self, config: Any, recipe: Recipe, setting: Setting, kernels: bool = False) -> None:
        dtype = setting.dtype
        body = without_weights(config, dtype).eval()
        with torch.device("meta"):
            trainee = Trainee(body, recipe)
        if setting.recompute:
            trainee.keep_only_layer_inputs()
        self._setting, self._kernels = setting, kernels
        self._body, self._module = body, trainee.module
        self._vocabulary = int(body.get_output_embeddings().weight.shape[0])
        # On the meta device PEFT leaves an adapter in fp32; elsewhere it has the precision of the body.
        trained = [p for p in trainee.module.parameters() if p.requires_grad]
        frozen = sum(p.nbytes for p in trainee.module.parameters() if not p.requires_grad)
        self._trained = sum(p.numel() for p in trained)
        self._weights = frozen + self._trained * dtype.itemsize
        self._apart = 4 * self._trained if dtype.itemsize <= 2 else 0
        self._gradients = (4 if self._apart else dtype.itemsize) * self._trained
        self._mode, self._live = FakeTensorMode(), _Live()
        with self._simulated():
            _as_on_the_processor(trainee.module, dtype, with_gradients=self._apart == 0)

    def run(self, rows: Sequence[EncodedRow]) -> Footprint:
        """The footprint of the rows as one micro-batch."""
        batch = self._setting.batch(rows, torch.device("cpu"))
        before = self._live.now
        with self._simulated(), self._setting.attention(self._body):
            if self._kernels:
                AttentionInterface.register(NAME, _attention_by_kernel)
            said = torch.empty(len(batch.held), self._vocabulary, dtype=self._body.dtype)
            self._live.most = self._live.now
            logits = label_logits(self._module, self._without_content(batch))
            apart = needed_by_their_maker(logits)
            gradient = torch.empty_like(logits) if apart else logits.detach()
            logits.backward(gradient)  # type: ignore[no-untyped-call]  # torch's stubs
            size = (1 + apart) * logits.nbytes + said.nbytes
            del logits, gradient, said
        held = self._live.most - before - size
        return Footprint(self._weights, self._trained, self._apart, self._gradients, max(0, held), size)

    @contextmanager
    def _simulated(self) -> Iterator[None]:
        with self._mode, self._live:
            yield

    def _without_content(self, batch: MicroBatch) -> MicroBatch:
        """The batch with empty tensors, without what has values that a model would look at (masks, positions)."""
        inputs: dict[str, Any] = {"input_ids": torch.zeros(batch.inputs["input_ids"].shape, dtype=torch.long)}
        if NAME in batch.inputs:
            inputs |= {"position_ids": torch.zeros_like(inputs["input_ids"]), NAME: batch.inputs[NAME]}
        kept = torch.zeros(batch.kept.shape, dtype=torch.long)
        return MicroBatch(inputs, kept, *(kept[:0],) * 4, batch.tokens, batch.row_tokens)


def _as_on_the_processor(module: torch.nn.Module, dtype: torch.dtype, *, with_gradients: bool) -> None:
    """Give a module on the meta device weights that seem to lie on the processor; tied ones stay tied."""
    made: dict[int, Any] = {}
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None and id(weight) not in made:
                precision = dtype if weight.requires_grad else weight.dtype
                fresh = torch.empty(weight.shape, dtype=precision, device="cpu")
                made[id(weight)] = torch.nn.Parameter(fresh, requires_grad=weight.requires_grad)
                if with_gradients and weight.requires_grad:
                    made[id(weight)].grad = torch.zeros_like(fresh)
                elif weight.requires_grad:
                    made[id(weight)].register_post_accumulate_grad_hook(_give_up)
            if weight is not None:
                part._parameters[name] = made[id(weight)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")


class _Kernel(torch.autograd.Function):
    """What an attention kernel keeps for its backward pass: what it is given, what it gives, a number a query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = torch.empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _attention_by_kernel(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **others: Any
) -> tuple[Tensor, None]:
    output: Tensor = _Kernel.apply(query, key, value)  # type: ignore[no-untyped-call]  # torch's stubs
    return output.transpose(1, 2), None


def _give_up(weight: Tensor) -> None:
    """Where masters are apart, a gradient is added to its master's at once (see `Trainee`)."""
    weight.grad = None


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's stubs
    """Adds up the bytes of the storages that are alive, and remembers the most there ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stubs
        self.now = self.most = 0
        self._known: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in tree_iter(found):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return found

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.now -= size
