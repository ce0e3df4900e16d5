"""Which prompts to run together: a pure function of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Costs in units of one more token in a forward pass. A pass costs this much before its first token: the weights have
# to be read from memory (measured on 2 CPU cores, SmolLM2-135M: 0.075 s a pass, 0.0045 s a token).
PASS = 16
EXPECTED_STEPS = 64  # answers are rarely longer than this, whatever their limit
WORTH_SHARING = 16  # tokens: a common beginning shorter than this is not kept from batch to batch


@dataclass(frozen=True)
class Limits:
    """What one batch may take: rows, tokens of one prefill, and tokens kept in the key-value cache."""

    rows: int
    prefill: int
    cache: int


@dataclass(frozen=True)
class Batch:
    """Prompts that run together (indices), and how many tokens at their beginning are computed once for all of them."""

    rows: tuple[int, ...]
    prefix: int


def common_prefix(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Number of equal tokens at the beginning."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def shared_by_all(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the beginning that all prompts share and that is worth keeping; at least one token of each is left."""
    if len(prompts) < 2:
        return 0
    arrays = [np.asarray(p, dtype=np.int64) for p in prompts]
    shared = min(common_prefix(arrays[0], other) for other in arrays[1:])
    shared = min(shared, min(len(a) for a in arrays) - 1)
    return shared if shared >= WORTH_SHARING else 0


def plan(prompts: Sequence[Sequence[int]], budgets: Sequence[int], shared: int, limits: Limits) -> list[Batch]:
    """Batches that together cost least, found among runs of two orders.

    In the order of the tokens, prompts with a long common beginning stand together; in the order of length, little is
    padded. Which is better depends on the prompts, so both are cut into batches in the best way and compared.

    Args:
        prompts: token ids of each prompt.
        budgets: most tokens that each answer may have.
        shared: tokens at the beginning of all prompts that are already computed.
        limits: what one batch may take; a prompt that is too big for them runs alone.
    """
    arrays = [np.asarray(p, dtype=np.int64) for p in prompts]
    orders = (
        sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i]), i)),
        sorted(range(len(prompts)), key=lambda i: (tuple(prompts[i]), i)),
    )
    plans = [_cut(order, arrays, budgets, shared, limits) for order in orders]
    return min(plans, key=lambda found: found[0])[1]


def _cut(
    order: Sequence[int], prompts: Sequence[NDArray[np.int64]], budgets: Sequence[int], shared: int, limits: Limits
) -> tuple[float, list[Batch]]:
    """Cheapest way to cut an order into runs (dynamic programming over the end of the last run)."""
    lengths = [len(prompts[i]) for i in order]
    common = [common_prefix(prompts[a], prompts[b]) for a, b in zip(order, order[1:], strict=False)]
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]  # cost so far, start of the last run, its prefix
    for end in range(1, len(order) + 1):
        options: list[tuple[float, int, int]] = []
        alike, shortest, longest, budget = len(prompts[order[end - 1]]), lengths[end - 1], 0, 0
        for start in range(end - 1, max(-1, end - 1 - limits.rows), -1):
            shortest, longest = min(shortest, lengths[start]), max(longest, lengths[start])
            budget = max(budget, budgets[order[start]])
            alike = alike if start == end - 1 else min(alike, common[start])
            rows = end - start
            prefix = _prefix(rows, min(alike, shortest - 1), shared)
            if rows > 1 and not _fits(rows, prefix, longest, budget, limits):
                break
            cost = _cost(rows, prefix - shared, longest - prefix, budget)
            options.append((best[start][0] + cost, start, prefix))
        best.append(min(options))
    return best[-1][0], _trace(order, best)


def _prefix(rows: int, alike: int, shared: int) -> int:
    """The common beginning, where computing it once saves more than the extra pass costs."""
    further = alike - shared
    return alike if further * (rows - 1) > PASS else shared


def _fits(rows: int, prefix: int, longest: int, budget: int, limits: Limits) -> bool:
    own = longest - prefix
    return rows * own <= limits.prefill and prefix + rows * (own + budget) <= limits.cache


def _cost(rows: int, further: int, own: int, budget: int) -> float:
    prefill = (further + PASS if further else 0) + rows * own + PASS
    return prefill + min(budget, EXPECTED_STEPS) * (PASS + rows)


def _trace(order: Sequence[int], best: Sequence[tuple[float, int, int]]) -> list[Batch]:
    batches: list[Batch] = []
    end = len(order)
    while end:
        _, start, prefix = best[end]
        batches.append(Batch(tuple(order[start:end]), prefix))
        end = start
    return batches[::-1]
