"""The loss from hidden states, by a kernel that never holds all logits: Liger's, on CUDA where it is installed.

The kernel goes through the vocabulary's logits a few rows at a time and keeps the gradient of the hidden states alone
(Hsu et al. 2024, arXiv 2410.10989). Before it is used, its loss and gradients are compared with those of `_loss` on
rows of the run; where they differ, or the head is more than a product, a scale and a cap, `_loss` stays.

Cut cross-entropy (Wijmans et al. 2024) is not used: its published version (25.1.1) adds up gradients in the weights'
own half precision, in an order that changes from run to run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.train._loss import MicroBatch, batch_losses, label_logits, losses_of_logits
from luthier.train._model import Trainee
from luthier.train._rows import EncodedRow
from luthier.train._setting import Setting, in_one_line, sample_of

DEVICES = frozenset({"cuda"})  # where the kernel is compiled
SAMPLED = 64  # positions that the kernel is tried on
TOLERANCE = 1e-4  # relative difference of loss and gradients, in fp32
COARSE_TOLERANCE = 1e-2  # the same in half precision: 2.5 units in the last place of bf16

Losses = Callable[[MicroBatch, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Head:
    """An output head as a formula: logits = scale · h Wᵀ, and with a cap, cap · tanh(logits / cap) of them."""

    layer: torch.nn.Linear
    scale: float
    cap: float | None

    @classmethod
    def of(cls, body: PreTrainedModel) -> Head | str:
        """The head of a model, as its configuration describes it; or why it is not such a formula."""
        layer = body.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it without types
        if type(layer) is not torch.nn.Linear:
            return f"the output head is {type(layer).__name__}, not a plain linear layer"
        if layer.bias is not None:
            return "the output head has a bias"
        if body.base_model is body:
            return f"{type(body).__name__} does not keep its layers apart from its head"
        config = body.config.get_text_config()
        scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
        divisor = getattr(config, "logits_scaling", None) or 1.0  # Granite
        return cls(layer, scale / divisor, getattr(config, "final_logit_softcapping", None))  # Gemma 2

    def logits(self, states: Tensor) -> Tensor:
        """Logits [positions, vocabulary] of hidden states [positions, width]."""
        found: Tensor = self.layer(self.scaled(states))
        return found if self.cap is None else torch.tanh(found / self.cap) * self.cap

    def scaled(self, states: Tensor) -> Tensor:
        """Hidden states whose product with the head has the right scale."""
        return states if self.scale == 1 else states * self.scale


class FusedLosses:
    """As `batch_losses`, without logits of the learned rows.

    Args:
        body: the transformers model, adapters in it.
        head: its head.
    """

    def __init__(self, body: PreTrainedModel, head: Head) -> None:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        self._layers, self._head = body.base_model, head
        self._kernel = LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=head.cap, accum_dtype=torch.float32)

    def __call__(self, batch: MicroBatch, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss of the learned rows and divergence of the held ones, as `batch_losses` gives them."""
        states = self.states(batch)
        wanted = self.learned(states, batch.nodes, batch.targets, batch.weights)
        if reference is None:
            return wanted, wanted.new_zeros(())
        places, held = torch.unique(batch.held, return_inverse=True)
        none = held[:0]
        return wanted, losses_of_logits(self._head.logits(states[places]), none, none, none, held, reference)[1]

    def states(self, batch: MicroBatch) -> Tensor:
        """What the head is given at the kept positions, [positions, width]."""
        found: Tensor = self._layers(**batch.inputs, use_cache=False).last_hidden_state
        return found[:, batch.kept].flatten(0, 1)

    def learned(self, states: Tensor, nodes: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods of label tokens; one that stands in two rows is given twice."""
        if not len(nodes):
            return torch.zeros((), device=states.device)
        rows = self._head.scaled(states[nodes.repeat_interleave(weights)])
        found: Tensor = self._kernel(self._head.layer.weight, rows, targets.repeat_interleave(weights))
        return found


def losses_of(trainee: Trainee, setting: Setting) -> Losses:
    """What computes the losses of a micro-batch under a setting."""
    if setting.loss == "chunked":
        return partial(batch_losses, trainee.module)
    head = Head.of(trainee.body)
    assert isinstance(head, Head)  # `with_loss` has seen to it
    return FusedLosses(trainee.body, head)


def with_loss(setting: Setting, trainee: Trainee, rows: Sequence[EncodedRow]) -> Setting:
    """The setting with the loss that this device and this model allow, and why.

    Args:
        setting: precision and packing.
        trainee: what is trained, untrained yet; its gradients stay as they are.
        rows: what it is trained on.
    """
    if trainee.device.type not in DEVICES:
        return replace(setting, loss="chunked", loss_reason="")
    found = _why_not(trainee, setting) or _tried(trainee, setting, rows)
    if isinstance(found, str):
        return replace(setting, loss="chunked", loss_reason=f"no liger: {found}")
    return replace(setting, loss="liger", loss_reason=f"liger: equal to the chunked loss within {found:.1g}, relative")


def _why_not(trainee: Trainee, setting: Setting) -> str | None:
    if importlib.util.find_spec("liger_kernel") is None:
        return 'liger-kernel is not installed (pip install "luthier[cuda]")'
    if trainee.sharded:
        return "the head's weight is shared out over several processes"
    if setting.dtype.itemsize > 4:
        return f"it adds up in fp32, and the model is in {setting.precision}"
    head = Head.of(trainee.body)
    return head if isinstance(head, str) else None


def _tried(trainee: Trainee, setting: Setting, rows: Sequence[EncodedRow]) -> float | str:
    """The largest relative difference from the chunked loss, or why the kernel cannot be used."""
    head = Head.of(trainee.body)
    assert isinstance(head, Head)
    allowed = TOLERANCE if setting.dtype.itemsize > 2 else COARSE_TOLERANCE
    try:
        differences = _differences(trainee, FusedLosses(trainee.body, head), head, setting, sample_of(rows))
    except Exception as error:  # a kernel that does not compile here, or has another interface, fails in any way
        return in_one_line(error)
    for what, difference in differences.items():
        if not difference <= allowed:
            return f"{what} differs from that of the chunked loss by {difference:.2g}, relative"
    return max(differences.values())


def _differences(
    trainee: Trainee, fused: FusedLosses, head: Head, setting: Setting, rows: Sequence[EncodedRow]
) -> dict[str, float]:
    """Relative differences on a few positions: of the head's formula from the model, and of the kernel from `_loss`."""
    batch = setting.batch(rows, trainee.device)
    with torch.no_grad(), setting.attention(trainee.body):
        said = label_logits(trainee.module, batch)[:SAMPLED]
        states = fused.states(batch)[:SAMPLED]
    some = batch.nodes < SAMPLED
    nodes, targets = batch.nodes[some], batch.targets[some]
    weights = 1 + torch.arange(len(nodes), device=nodes.device) % 2  # as where some labels stand in two rows
    states = states.requires_grad_()
    trained = [states, *([head.layer.weight] if head.layer.weight.requires_grad else [])]
    logits = head.logits(states)
    differences = {"the model's own head": _relative(said, logits)}
    none = nodes[:0]
    chunked = losses_of_logits(logits, nodes, targets, weights, none, logits.new_empty(0, logits.shape[-1]))[0]
    kernel = fused.learned(states, nodes, targets, weights)
    names = ("the gradient of the hidden states", "the gradient of the head")
    wanted, found = ([loss, *torch.autograd.grad(loss / len(nodes), trained)] for loss in (chunked, kernel))
    pairs = zip(wanted, found, strict=True)
    return differences | {what: _relative(*pair) for what, pair in zip(("the loss", *names), pairs, strict=False)}


def _relative(wanted: Tensor, found: Tensor) -> float:
    wanted, found = wanted.detach().float(), found.detach().float()
    return float((found - wanted).norm() / wanted.norm())
