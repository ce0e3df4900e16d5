"""The losses of one micro-batch, in any packing: what is learned of it, and how far it left the base."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.train._attention import NAME, Tree
from luthier.train._rows import EncodedRow
from luthier.train._trie import pack

CHUNK = 16  # rows of logits that are in full precision at a time
CHUNK_OF_GPU = 256  # the same where few large operations are faster than many small ones


@dataclass(frozen=True)
class MicroBatch:
    """What the model is given and what it must predict.

    The i-th label says that token `targets[i]` follows kept position `nodes[i]`, in `weights[i]` rows. `kept` are the
    positions of the sequence(s) whose logits are needed. Before the labels of held rows, row by row, stand the kept
    positions `held`. `tokens` are run, for `row_tokens` of the rows.
    """

    inputs: dict[str, Any]
    kept: Tensor
    nodes: Tensor
    targets: Tensor
    weights: Tensor
    held: Tensor
    tokens: int
    row_tokens: int


def tree_batch(rows: Sequence[EncodedRow], device: torch.device, multiple: int = 1) -> MicroBatch:
    """Rows as one packed prefix tree: every distinct prefix once; filled up to a `multiple` of tokens."""
    packed = pack(rows).filled(multiple)
    learned = len(packed.nodes)
    kept, places = torch.unique(torch.from_numpy(np.concatenate([packed.nodes, packed.held])), return_inverse=True)
    inputs = {
        "input_ids": torch.from_numpy(packed.ids)[None].to(device),
        "position_ids": torch.from_numpy(packed.positions)[None].to(device),
        NAME: Tree(packed.segments),
    }
    targets, weights = torch.from_numpy(packed.targets), torch.from_numpy(packed.weights)
    nodes, held = places[:learned].to(device), places[learned:].to(device)
    kept, targets, weights = kept.to(device), targets.to(device), weights.to(device)
    return MicroBatch(inputs, kept, nodes, targets, weights, held, packed.tokens, packed.row_tokens)


def flat_batch(rows: Sequence[EncodedRow], device: torch.device, multiple: int = 1) -> MicroBatch:
    """Rows end to end in one sequence, each with positions from 0: the model's own attention keeps them apart.

    A row of zeros that nothing is learned of fills it up to a `multiple` of tokens.
    """
    lengths = [len(row.ids) - 1 for row in rows]
    filler = -sum(lengths) % multiple
    begins = np.cumsum([0, *lengths[:-1]]).tolist()
    nodes = [range(begin + row.start - 1, begin + n) for row, begin, n in zip(rows, begins, lengths, strict=True)]
    places = torch.tensor([place for part in nodes for place in part])
    learned = torch.tensor([not row.held for row in rows for _ in range(row.labels)], dtype=torch.bool)
    targets = torch.tensor([token for row in rows if not row.held for token in row.ids[row.start :]], dtype=torch.long)
    inputs = {
        "input_ids": torch.tensor([[*(token for row in rows for token in row.ids[:-1]), *[0] * filler]], device=device),
        "position_ids": torch.tensor(
            [[place for length in (*lengths, filler) for place in range(length)]], device=device
        ),
    }
    order = torch.arange(len(places))
    kept, targets = places.to(device), targets.to(device)
    first, second = order[learned].to(device), order[~learned].to(device)
    real = sum(lengths)
    return MicroBatch(inputs, kept, first, targets, torch.ones_like(targets), second, real + filler, real)


def padded_batch(rows: Sequence[EncodedRow], device: torch.device) -> MicroBatch:
    """Rows side by side, padded on the right: for architectures that no packing fits."""
    width = max(len(row.ids) for row in rows) - 1
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        length = len(row.ids) - 1
        ids[number, :length] = torch.tensor(row.ids[:-1])
        mask[number, :length] = 1
    places = [(n, p) for n, row in enumerate(rows) for p in range(row.start - 1, len(row.ids) - 1)]
    learned = torch.tensor([not rows[n].held for n, _ in places], dtype=torch.bool)
    kept, columns = torch.unique(torch.tensor([p for _, p in places]), return_inverse=True)
    nodes = torch.tensor([n for n, _ in places]) * len(kept) + columns
    targets = torch.tensor([token for row in rows if not row.held for token in row.ids[row.start :]], dtype=torch.long)
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    real = sum(len(row.ids) - 1 for row in rows)
    kept, nodes, targets, learned = (part.to(device) for part in (kept, nodes, targets, learned))
    weights = torch.ones_like(targets)
    return MicroBatch(inputs, kept, nodes[learned], targets, weights, nodes[~learned], ids.numel(), real)


def batch_loss(model: Any, batch: MicroBatch) -> Tensor:
    """Sum of negative log-likelihoods of all label tokens (a scalar, at least fp32), ready for `backward`."""
    return batch_losses(model, batch, None)[0]


def batch_losses(model: Any, batch: MicroBatch, reference: Tensor | None) -> tuple[Tensor, Tensor]:
    """Loss of the learned rows, and divergence from the base on the held rows: scalars, ready for one `backward`.

    The first is the sum of the negative log-likelihoods of all label tokens, the second the sum of KL(base || model) of
    the next-token distributions before every label of a held row.

    Args:
        model: what is trained.
        batch: rows.
        reference: `held_logits` of the base; None where no row is held.
    """
    logits = label_logits(model, batch)
    if reference is None:
        reference = logits.new_empty(0, logits.shape[-1])
    return losses_of_logits(logits, batch.nodes, batch.targets, batch.weights, batch.held, reference)


def losses_of_logits(
    logits: Tensor, nodes: Tensor, targets: Tensor, weights: Tensor, held: Tensor, reference: Tensor
) -> tuple[Tensor, Tensor]:
    """As `batch_losses`, from logits [positions, vocabulary]; the rest as in `MicroBatch`.

    `backward` leaves gradients in the place of the logits.
    """
    found: tuple[Tensor, Tensor] = _Losses.apply(  # type: ignore[no-untyped-call]  # torch's stubs
        logits, nodes, targets, weights, held, reference, needed_by_their_maker(logits)
    )
    return found


def needed_by_their_maker(logits: Tensor) -> bool:
    """Whether the operation that made logits keeps them for its own gradient, as a tanh does."""
    maker = logits.grad_fn
    while maker is not None and "View" in maker.name():
        maker = maker.next_functions[0][0]
    return hasattr(maker, "_saved_result")


def held_logits(model: Any, batch: MicroBatch) -> Tensor:
    """Logits before every label of the held rows, row by row, [held labels, vocabulary]."""
    return label_logits(model, batch)[batch.held]


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


class _Losses(torch.autograd.Function):
    """Likelihood and divergence with closed-form gradients, a chunk of rows in full precision at a time.

    Against `log_softmax` and autograd it spares the full-precision copies of the logits and of their gradients, and the
    gradients take the place of the logits unless these are `needed`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        nodes: Tensor,
        targets: Tensor,
        weights: Tensor,
        held: Tensor,
        reference: Tensor,
        needed: bool,
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(logits.dtype, torch.float32)
        # One piece of memory for all chunks: fresh memory of this size costs more than the arithmetic on a CPU.
        size = CHUNK if logits.device.type == "cpu" else CHUNK_OF_GPU
        room = torch.empty(2, size, logits.shape[-1], dtype=exact, device=logits.device)
        norms = torch.empty(len(logits), dtype=exact, device=logits.device)
        for part in _chunks(len(logits), room):
            norms[part] = _logsumexp(logits[part], room)
        wanted = torch.sum((norms[nodes] - logits[nodes, targets].to(exact)) * weights.to(exact))
        divergence = torch.zeros((), dtype=exact, device=logits.device)
        base_norms = torch.empty(len(held), dtype=exact, device=logits.device)
        for part in _chunks(len(held), room):
            base_norms[part] = _logsumexp(reference[part], room)
            likely, own = room[0, : len(held[part])], room[1, : len(held[part])]
            likely.copy_(reference[part]).sub_(base_norms[part, None])
            own.copy_(logits[held[part]]).sub_(norms[held[part], None])
            own.sub_(likely).mul_(likely.exp_())
            divergence -= own.sum()
        ctx.save_for_backward(logits, norms, nodes, targets, weights, held, reference, base_norms)
        ctx.room, ctx.needed = room, needed
        return wanted, divergence

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        logits, norms, nodes, targets, weights, held, reference, base_norms = ctx.saved_tensors
        scaled, pull = weights.to(norms.dtype) * gradients[0], gradients[1]
        mass = torch.zeros_like(norms).index_add_(0, nodes, scaled).index_add_(0, held, pull.expand(len(held)))
        gradient = torch.empty_like(logits) if ctx.needed else logits
        for part in _chunks(len(logits), ctx.room):
            chunk = ctx.room[0, : len(logits[part])]
            chunk.copy_(logits[part]).sub_(norms[part, None]).exp_().mul_(mass[part, None])
            here = (nodes >= part.start) & (nodes < part.stop)
            chunk[nodes[here] - part.start, targets[here]] -= scaled[here]  # (node, target) pairs are distinct
            places = ((held >= part.start) & (held < part.stop)).nonzero()[:, 0]
            for some in torch.split(places, ctx.room.shape[1]) if len(places) else ():
                likely = ctx.room[1, : len(some)].copy_(reference[some]).sub_(base_norms[some, None]).exp_()
                chunk.index_add_(0, held[some] - part.start, likely.mul_(-pull))
            gradient[part] = chunk
        return gradient, None, None, None, None, None, None


def _chunks(rows: int, room: Tensor) -> list[slice]:
    """Slices of as many rows as there is room for."""
    size = room.shape[1]
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _logsumexp(logits: Tensor, room: Tensor) -> Tensor:
    """Logsumexp of each row, computed in `room`."""
    here = room[0, : len(logits)].copy_(logits)
    largest = here.amax(-1, keepdim=True)
    return (here.sub_(largest).exp_().sum(-1, keepdim=True).log_() + largest)[:, 0]
