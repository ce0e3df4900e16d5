"""How likely a model finds given tokens: many sequences at once, common beginnings computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from luthier.models._engine import Batching, Engine
from luthier.models._plan import Item, plan, shared_by_all
from luthier.models._prefix import Prefix, Rows, extend

_CHUNK = 512  # tokens of a long sequence that run at once


def token_logprobs(
    engine: Engine, sequences: Sequence[Sequence[int]], starts: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Natural log-probability of each token from `start` on, given all before it; one array per sequence."""
    items = [
        Item(tuple(s), own=len(s) - start + 1, logits=len(s) - start + 1)
        for s, start in zip(sequences, starts, strict=True)
    ]
    limits = engine.limits()
    found: dict[int, NDArray[np.float32]] = {}
    near = [i for i, item in enumerate(items) if engine.may_share(len(item.ids)) and item.logits <= limits.logits]
    shared = shared_by_all([items[i] for i in near])
    common: Prefix | None = None
    for batch in plan([items[i] for i in near], shared, limits):
        rows = [near[place] for place in batch.rows]
        ids = items[rows[0]].ids
        with engine.running(shared=False):
            if common is None and shared:
                common = extend(engine.core, None, ids[:shared], engine.device)
            further = ids[shared : batch.prefix]
            prefix = extend(engine.core, common, further, engine.device) if further else common
        with engine.running(shared=True):
            own = [items[i].ids[batch.prefix :] for i in rows]
            keep = max(items[i].logits for i in rows)
            logits = Rows(engine.core, prefix, own, 0, engine.device).prefill(keep)
            for row, i in enumerate(rows):
                wanted = items[i].ids[starts[i] :]
                found[i] = _of_tokens(logits[row, keep - len(wanted) - 1 : -1], wanted)
    for i in sorted(set(range(len(items))) - set(found)):
        found[i] = _of_long(engine, items[i].ids, starts[i])
    return [found[i] for i in range(len(items))]


def next_token_logprobs(engine: Engine, sequence: Sequence[int]) -> NDArray[np.float32]:
    """Natural log-probabilities of the whole vocabulary after each token of the sequence, [tokens, vocabulary]."""
    with engine.running(shared=False):
        return np.concatenate([logits.log_softmax(dim=-1).cpu().numpy() for logits in _walk(engine, sequence)])


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
        return np.zeros(0, dtype=np.float32)
    chosen = logits.gather(-1, torch.tensor(list(tokens), device=logits.device)[:, None])[:, 0]
    found: NDArray[np.float32] = (chosen - logits.logsumexp(dim=-1)).cpu().numpy()
    return found
