"""How likely a model finds given tokens: many sequences at once, common beginnings computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from luthier.models._engine import Batching, Engine
from luthier.models._plan import Item, shared_by_all
from luthier.models._prefix import Prefix
from luthier.models._rows import run_tree
from luthier.models._trie import divide, lay_down

_CHUNK = 512  # tokens of a long sequence that run at once


def token_logprobs(
    engine: Engine, sequences: Sequence[Sequence[int]], starts: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Natural log-probabilities from `start` on, given all before it; one array float32 [tokens, 2] per sequence.

    The first column is that of the token itself, the second that of the likeliest one.
    """
    found = [np.zeros((0, 2), dtype=np.float32) for _ in sequences]
    wanted = [i for i, ids in enumerate(sequences) if starts[i] < len(ids)]
    most = engine.limits().nodes
    near = [i for i in wanted if engine.may_share(len(sequences[i])) and len(sequences[i]) - starts[i] <= most]
    items = [Item(tuple(sequences[i]), own=len(sequences[i]) - starts[i] + 1) for i in near]
    shared = shared_by_all(items)
    prefix, _ = engine.beginning(items[0].ids[:shared] if shared else ())
    runs = [item.ids[shared:-1] for item in items]  # nothing is predicted from the last token
    for part in divide(runs, most):
        firsts = [starts[near[place]] - 1 - shared for place in part]
        targets = [items[place].ids[shared + first + 1 :] for place, first in zip(part, firsts, strict=True)]
        parts = _of_tree(engine, prefix, [runs[place] for place in part], firsts, targets)
        for place, logprobs in zip(part, parts, strict=True):
            found[near[place]] = logprobs
    for i in sorted(set(wanted) - set(near)):
        found[i] = _of_long(engine, sequences[i], starts[i])
    engine.finish()
    return found


def next_token_logprobs(engine: Engine, sequence: Sequence[int]) -> NDArray[np.float32]:
    """Natural log-probabilities of the whole vocabulary after each token of the sequence, [tokens, vocabulary]."""
    with engine.running(shared=False):
        return np.concatenate([logits.log_softmax(dim=-1).cpu().numpy() for logits in _walk(engine, sequence)])


def _of_tree(
    engine: Engine,
    prefix: Prefix | None,
    runs: Sequence[tuple[int, ...]],
    firsts: Sequence[int],
    targets: Sequence[Sequence[int]],
) -> list[NDArray[np.float32]]:
    """As `token_logprobs` for each run's targets; the first of them follows token `first` of the run."""
    trie = lay_down(runs)
    nodes = [path[first:] for path, first in zip(trie.paths, firsts, strict=True)]
    kept, places = np.unique(np.concatenate(nodes), return_inverse=True)
    with engine.running(shared=True):
        logits = run_tree(engine.core, prefix, trie, kept, engine.device)[0].log_softmax(dim=-1)
        at = torch.from_numpy(places).to(engine.device), torch.tensor(np.concatenate(targets), device=engine.device)
        flat: NDArray[np.float32] = torch.stack([logits[at], logits.amax(dim=-1)[at[0]]], dim=-1).cpu().numpy()
    return np.split(flat, np.cumsum([len(part) for part in nodes])[:-1])


def _of_long(engine: Engine, ids: Sequence[int], start: int) -> NDArray[np.float32]:
    """For sequences that cannot share, or whose logits would fill the memory: piece by piece."""
    parts: list[NDArray[np.float32]] = []
    position = 1  # the first logits of a sequence speak about its second token
    with engine.running(shared=False):
        for logits in _walk(engine, ids):
            wanted = ids[position : position + len(logits)]
            parts.append(_of_tokens(logits[: len(wanted)], wanted))
            position += len(logits)
    return np.concatenate(parts)[start - 1 :]


def _walk(engine: Engine, ids: Sequence[int]) -> Iterator[Tensor]:
    """Logits [tokens, vocabulary] float32 of one sequence, in pieces where the model's cache allows pieces."""
    if engine.batching is Batching.SINGLE:
        yield engine.core(input_ids=torch.tensor([list(ids)], device=engine.device)).logits[0].float()
        return
    cache = DynamicCache(config=engine.core.config)
    for begin in range(0, len(ids), _CHUNK):
        piece = torch.tensor([list(ids[begin : begin + _CHUNK])], device=engine.device)
        yield engine.core(input_ids=piece, past_key_values=cache, use_cache=True).logits[0].float()


def _of_tokens(logits: Tensor, tokens: Sequence[int]) -> NDArray[np.float32]:
    if not tokens:
        return np.zeros((0, 2), dtype=np.float32)
    chosen = logits.gather(-1, torch.tensor(list(tokens), device=logits.device)[:, None])[:, 0]
    both = torch.stack([chosen, logits.amax(dim=-1)], dim=-1) - logits.logsumexp(dim=-1)[:, None]
    found: NDArray[np.float32] = both.cpu().numpy()
    return found
