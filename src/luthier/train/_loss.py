"""The loss of one micro-batch: negative log-likelihood of its label tokens, as a tree or as padded rows."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from luthier.train._attention import NAME, Tree
from luthier.train._rows import EncodedRow
from luthier.train._trie import pack

CHUNK = 256  # rows of logits that are in full precision at a time


@dataclass(frozen=True)
class MicroBatch:
    """What the model is given and what it must predict.

    The i-th label says that token `targets[i]` follows kept position `nodes[i]`, in `weights[i]` rows. `kept` are the
    positions of the sequence(s) whose logits are needed. `tokens` are run, for `row_tokens` of the rows.
    """

    inputs: dict[str, Any]
    kept: Tensor
    nodes: Tensor
    targets: Tensor
    weights: Tensor
    tokens: int
    row_tokens: int


def tree_batch(rows: Sequence[EncodedRow], device: torch.device) -> MicroBatch:
    """Rows as one packed prefix tree: every distinct prefix once."""
    packed = pack(rows)
    kept, nodes = torch.unique(torch.from_numpy(packed.nodes), return_inverse=True)
    inputs = {
        "input_ids": torch.from_numpy(packed.ids)[None].to(device),
        "position_ids": torch.from_numpy(packed.positions)[None].to(device),
        NAME: Tree(packed.segments),
    }
    targets, weights = torch.from_numpy(packed.targets), torch.from_numpy(packed.weights)
    kept, nodes, targets, weights = (part.to(device) for part in (kept, nodes, targets, weights))
    return MicroBatch(inputs, kept, nodes, targets, weights, packed.tokens, packed.row_tokens)


def padded_batch(rows: Sequence[EncodedRow], device: torch.device) -> MicroBatch:
    """Rows side by side, padded on the right: for architectures that the tree does not fit."""
    width = max(len(row.ids) for row in rows) - 1
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        length = len(row.ids) - 1
        ids[number, :length] = torch.tensor(row.ids[:-1])
        mask[number, :length] = 1
    places = [(n, p) for n, row in enumerate(rows) for p in range(row.start - 1, len(row.ids) - 1)]
    targets = torch.tensor([token for row in rows for token in row.ids[row.start :]])
    kept, columns = torch.unique(torch.tensor([p for _, p in places]), return_inverse=True)
    nodes = torch.tensor([n for n, _ in places]) * len(kept) + columns
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    real = sum(len(row.ids) - 1 for row in rows)
    kept, nodes, targets, weights = (part.to(device) for part in (kept, nodes, targets, torch.ones_like(targets)))
    return MicroBatch(inputs, kept, nodes, targets, weights, ids.numel(), real)


def batch_loss(model: Any, batch: MicroBatch) -> Tensor:
    """Sum of negative log-likelihoods of all label tokens (a scalar, at least fp32), ready for `backward`."""
    logits = label_logits(model, batch)
    loss: Tensor = _LabelLoss.apply(logits, batch.nodes, batch.targets, batch.weights)  # type: ignore[no-untyped-call]  # torch's stubs
    return loss


def divergence(model: Any, reference: Tensor, batch: MicroBatch) -> Tensor:
    """Sum of KL(reference || model) of the next-token distributions before every label (a scalar in fp32).

    Args:
        model: what is trained.
        reference: `label_logits` of the model it shall stay close to, [positions, vocabulary].
        batch: rows whose labels are the places to compare.
    """
    wanted = reference.detach().float().log_softmax(-1)[batch.nodes]
    found = label_logits(model, batch).float().log_softmax(-1)[batch.nodes]
    return torch.nn.functional.kl_div(found, wanted, reduction="sum", log_target=True)


def label_likelihoods(model: Any, batch: MicroBatch) -> Tensor:
    """Log-probability of every label token, [labels], without gradients; sorted, so that layouts can be compared."""
    with torch.no_grad():
        logits = label_logits(model, batch)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        found = logits[batch.nodes, batch.targets] - logits.logsumexp(-1)[batch.nodes]
        return found.repeat_interleave(batch.weights).sort().values


def label_logits(model: Any, batch: MicroBatch) -> Tensor:
    """Logits at the positions after which a label comes, [positions, vocabulary].

    The model's own `forward` makes them, so each architecture's scaling and capping of logits stays in place.
    """
    if takes_kept_positions(model):
        logits = model(**batch.inputs, use_cache=False, logits_to_keep=batch.kept).logits
    else:
        logits = model(**batch.inputs, use_cache=False).logits[:, batch.kept]
    flat: Tensor = logits.flatten(0, 1)
    return flat


def takes_kept_positions(model: Any) -> bool:
    """Whether the architecture can leave out the logits that nobody needs."""
    body = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(body.forward).parameters


class _LabelLoss(torch.autograd.Function):
    """Weighted negative log-likelihood with a closed-form gradient, a chunk of rows in full precision at a time.

    Against `log_softmax` and autograd it spares the full-precision copy of the logits and of their gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, nodes: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        exact = torch.promote_types(logits.dtype, torch.float32)
        norms = torch.cat([part.to(exact).logsumexp(-1) for part in torch.split(logits, CHUNK)])
        ctx.save_for_backward(logits, norms, nodes, targets, weights)
        return torch.sum((norms[nodes] - logits[nodes, targets].to(exact)) * weights.to(exact))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        logits, norms, nodes, targets, weights = ctx.saved_tensors
        scaled = weights.to(norms.dtype) * gradients[0]
        mass = torch.zeros_like(norms).index_add_(0, nodes, scaled)
        gradient = torch.empty_like(logits)
        for start in range(0, len(logits), CHUNK):
            part = slice(start, start + CHUNK)
            chunk = logits[part].to(norms.dtype, copy=True).sub_(norms[part, None]).exp_().mul_(mass[part, None])
            here = (nodes >= start) & (nodes < start + CHUNK)
            chunk[nodes[here] - start, targets[here]] -= scaled[here]  # (node, target) pairs are distinct
            gradient[part] = chunk
        return gradient, None, None, None
