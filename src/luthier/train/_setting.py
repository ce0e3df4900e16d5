"""What the machine and the architecture allow: precision and packing, found out on real rows before training."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from luthier.errors import Problem, TrainingError
from luthier.models import LocalModel, without_weights
from luthier.train._attention import FLEX_DEVICES, NotATreeError, attending_to_trees, why_no_tree
from luthier.train._flex import compile_errors
from luthier.train._loss import (
    MicroBatch,
    batch_loss,
    flat_batch,
    held_logits,
    label_likelihoods,
    padded_batch,
    tree_batch,
)
from luthier.train._model import Trainee
from luthier.train._recipe import Recipe
from luthier.train._rest import give_back
from luthier.train._rows import EncodedRow

SAMPLE_ROWS, SAMPLE_TOKENS = 4, 768
LOSS_TOLERANCE = 0.02  # relative, bf16 against fp32
LAYOUT_TOLERANCE = 2e-3  # nats a label, packed against padded, in fp32
COARSE_TOLERANCE = 0.5  # the same in half precision, where a layout changes every rounding
NO_KERNEL: tuple[type[Exception], ...] = (RuntimeError, AssertionError)  # of torch, for these sizes on this device
GRADIENT_TOLERANCE, COARSE_GRADIENT_TOLERANCE = 1e-3, 0.2  # relative; of the same
SAID = 200  # characters of a library's error
MIXED = 0.25  # of what mixing rows changes, at most

Packing = Literal["tree", "padding-free", "padded"]
PACKED: tuple[Packing, ...] = ("tree", "padding-free")  # the most saving first
BUCKET = 128  # tokens: the tiles of a GPU's products
MAKERS: dict[Packing, Callable[..., MicroBatch]] = {
    "tree": tree_batch,
    "padding-free": flat_batch,
    "padded": padded_batch,
}
Precision = Literal["float64", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Setting:
    """Precision of the forward pass, packing of batches, and why. Part of a checkpoint: a resumed run keeps it.

    `recompute` says that only the inputs of decoder layers are kept for the backward pass, to fit into memory. `loss`
    says what computes the loss: our own closed form, chunk by chunk, or a kernel (see `_head`); the reason is empty
    where the device has no kernels. `compiled` layers (see `_compile`) take batches of a multiple of `BUCKET` tokens.
    """

    precision: Precision
    precision_reason: str
    packing: Packing
    packing_reason: str
    recompute: bool = False
    loss: Literal["chunked", "liger"] = "chunked"
    loss_reason: str = ""
    compiled: bool = False
    compile_reason: str = ""

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch knows it."""
        found: torch.dtype = getattr(torch, self.precision)
        return found

    def batch(self, rows: Sequence[EncodedRow], device: torch.device) -> MicroBatch:
        """Rows in this packing."""
        if self.compiled:
            return MAKERS[self.packing](rows, device, BUCKET)
        return MAKERS[self.packing](rows, device)

    def attention(self, model: PreTrainedModel) -> Any:
        """A context in which the model takes batches of this packing."""
        return attending_to_trees(model) if self.packing == "tree" else nullcontext()

    def reference(self, trainee: Trainee, base: LocalModel, rows: Sequence[EncodedRow]) -> torch.Tensor | None:
        """What the base says before the labels of held rows, [labels, vocabulary]; None without such rows."""
        held = [row for row in rows if row.held]
        if not held:
            return None
        with trainee.untrained(base) as (module, body), self.attention(body):
            return held_logits(module, self.batch(held, trainee.device))

    def as_dict(self) -> dict[str, str | bool]:
        """For saving."""
        return asdict(self)


def find_setting(
    base: LocalModel, rows: Sequence[EncodedRow], recipe: Recipe, load: Callable[[torch.dtype], PreTrainedModel]
) -> Setting:
    """Compare packings, then precisions, on a few of the shortest rows; forward passes only.

    Args:
        base: the untuned model.
        rows: what will be trained on.
        recipe: LoRA may run the frozen base in bf16; full fine-tuning on a CPU keeps fp32.
        load: gives a fresh copy of the base in a precision.

    Raises:
        TrainingError: the base itself gives no finite loss on the rows.
    """
    sample = sample_of(rows)
    device = base.device
    wanted = label_likelihoods(base.module, padded_batch(sample, device))
    if not torch.isfinite(wanted).all():
        raise TrainingError(
            "the base gives no finite loss on the rows",
            why="its weights or its numeric range are damaged: training can only make it worse",
            fix="download the base again, or choose another one (base: in luthier.yaml)",
            problems=[Problem(f"row {row.id}", row.source or None) for row in sample],
        )
    packing, packing_reason = _packing(base.module, sample, wanted)
    precision, precision_reason = _precision(base.module, sample, wanted, recipe, load)
    return Setting(precision, precision_reason, packing, packing_reason)


def assumed_setting(config: Any, device: torch.device, recipe: Recipe) -> Setting:
    """What `find_setting` would most likely find for a base whose weights are not here."""
    reason = why_no_tree(without_weights(config))
    packing: Packing = "tree" if reason is None else "padded"
    half = device.type != "cpu" or (recipe.method != "full" and multiplies_bf16())
    why = "assumed from the architecture: the weights are not here"
    return Setting("bfloat16" if half else "float32", why, packing, reason or why)


def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 faster than fp32."""
    features = torch.cpu.get_capabilities()
    return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def in_one_line(error: Exception) -> str:
    """What a library's error says, as a reason: its kind and its beginning."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:SAID]}{'…' * (len(text) > SAID)}"


def _packing(model: PreTrainedModel, sample: list[EncodedRow], wanted: torch.Tensor) -> tuple[Packing, str]:
    """The most saving packing that gives the likelihoods which padded rows give, and why none saves more."""
    reasons: list[str] = []
    for packing in PACKED:
        reason = why_no_tree(model) if packing == "tree" else None
        found = reason or _difference(model, packing, sample, wanted)
        if isinstance(found, float):
            return packing, "; ".join([*reasons, f"{packing}: equal to padded rows within {found:.1g} nats a label"])
        reasons.append(f"no {packing}: {found}")
    return "padded", "; ".join(reasons)


def _difference(
    model: PreTrainedModel, packing: Packing, sample: list[EncodedRow], wanted: torch.Tensor
) -> float | str:
    """Largest difference of a label's log-likelihood from that of padded rows, or why the packing cannot be used.

    It must be small in itself, and small against what a row does to the next one where nothing keeps them apart: a
    model that hardly looks at its context passes the first test with any packing.
    """
    name = type(model).__name__
    kernels = packing == "tree" and model.device.type in FLEX_DEVICES  # of their own for the backward pass
    try:
        with attending_to_trees(model) if packing == "tree" else nullcontext():
            batch = MAKERS[packing](sample, model.device)
            found = label_likelihoods(model, batch)
            gradient = _token_gradient(model, batch, sample) if kernels else None
    except torch.OutOfMemoryError:
        raise
    except (NotATreeError, TypeError) as error:  # TypeError: `forward` does not know the keywords
        return f"{name}: {error}"
    except NO_KERNEL + compile_errors() as error:
        return f"{name}: {in_one_line(error)}"
    difference = float((found - wanted).abs().max())
    if not difference <= (LAYOUT_TOLERANCE if model.dtype.itemsize > 2 else COARSE_TOLERANCE):
        return f"{name} differs from padded rows by {difference:.2g} nats a label"
    if gradient is not None:
        exact = _token_gradient(model, padded_batch(sample, model.device), sample)
        apart = float((gradient - exact).norm() / exact.norm())
        if not apart <= (GRADIENT_TOLERANCE if model.dtype.itemsize > 2 else COARSE_GRADIENT_TOLERANCE):
            return f"gradients of {name} differ from those of padded rows by {apart:.2g}, relative"
    if packing == "padding-free" and len(sample) > 1:
        batch = flat_batch(sample, model.device)
        together = {"input_ids": batch.inputs["input_ids"]}  # without positions nothing keeps the rows apart
        mixed = label_likelihoods(model, replace(batch, inputs=together))
        if difference > MIXED * float((mixed - wanted).abs().max()):
            return f"{name} does not keep rows apart"
    return difference


def _token_gradient(model: PreTrainedModel, batch: MicroBatch, sample: Sequence[EncodedRow]) -> torch.Tensor:
    """Gradient of the loss by what the first layer is given, summed over the places of each token, [tokens, width].

    So it can be compared between layouts, and no weight needs a gradient for it.
    """
    given: list[torch.Tensor] = []

    def begin(layer: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        given.append(output.detach().requires_grad_())
        return given[-1]

    embeddings: Any = model.get_input_embeddings()
    hook = embeddings.register_forward_hook(begin)
    try:
        (found,) = torch.autograd.grad(batch_loss(model, batch), given)
    finally:
        hook.remove()
    found = found.flatten(0, 1).to(torch.promote_types(found.dtype, torch.float32))
    known = torch.tensor(sorted({0, *(token for row in sample for token in row.ids)}), device=found.device)
    places = torch.searchsorted(known, batch.inputs["input_ids"].flatten())
    return found.new_zeros(len(known), found.shape[-1]).index_add_(0, places, found)


def _precision(
    model: PreTrainedModel,
    sample: list[EncodedRow],
    wanted: torch.Tensor,
    recipe: Recipe,
    load: Callable[[torch.dtype], PreTrainedModel],
) -> tuple[Precision, str]:
    """bf16 where the processor multiplies it faster and the loss stays what it is in fp32."""
    own: Precision = str(model.dtype).removeprefix("torch.")  # type: ignore[assignment]  # floating dtypes only
    said = ""
    if recipe.method == "qlora":
        exact = _tried(load, model.dtype, sample)
        said, wanted = f"4 bits change the loss by {_change(exact, wanted):.1%}; ", exact
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return own, f"{said}the precision of the base on {model.device.type}"
    if recipe.method == "full":
        return own, "all weights are trained, in full precision"
    if not multiplies_bf16():
        return own, f"{said}this processor does not multiply bf16"
    change = _change(_tried(load, torch.bfloat16, sample), wanted)
    if not change <= LOSS_TOLERANCE:
        return own, f"{said}bf16 changes the loss by {change:.1%}"
    return "bfloat16", f"{said}bf16 changes the loss by {change:.2%}"


def _tried(
    load: Callable[[torch.dtype], PreTrainedModel], dtype: torch.dtype, sample: Sequence[EncodedRow]
) -> torch.Tensor:
    """Likelihoods of a copy that holds no memory afterwards."""
    model = load(dtype)
    found = label_likelihoods(model, padded_batch(sample, model.device))
    del model
    gc.collect()  # it refers to itself
    give_back()
    return found


def _change(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative change of the mean loss."""
    return abs(float(found.mean() / wanted.mean()) - 1)


def sample_of(rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """A few short rows with a beginning in common where there is one: neighbours in sorted order."""
    short = sorted(sorted(rows, key=lambda r: len(r.ids))[: 4 * SAMPLE_ROWS], key=lambda r: r.ids)
    sample = short[:1]
    for row in short[1:SAMPLE_ROWS]:
        if sum(len(r.ids) for r in sample) + len(row.ids) <= SAMPLE_TOKENS:
            sample.append(row)
    return sample
