"""Which sequences to run together: a pure function of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from luthier.models._trie import common_prefix

# Costs in units of one more token in a forward pass. A pass costs this much before its first token: the weights have
# to be read from memory (measured on 2 CPU cores, SmolLM2-135M: 0.075 s a pass, 0.0045 s a token).
PASS = 16
EXPECTED_STEPS = 64  # answers are rarely longer than this, whatever their limit
WORTH_SHARING = 16  # tokens: a common beginning shorter than this is not kept from batch to batch


@dataclass(frozen=True)
class Item:
    """A sequence to run.

    Args:
        ids: its tokens.
        own: tokens at its end that may not be shared (at least one: somebody has to see the last token's logits).
        room: most tokens that will be added to it.
    """

    ids: tuple[int, ...]
    own: int = 1
    room: int = 0


@dataclass(frozen=True)
class Limits:
    """What one pass may take: rows, tokens of one prefill, tokens in the key-value cache, nodes of a tree."""

    rows: int
    prefill: int
    cache: int
    nodes: int


@dataclass(frozen=True)
class Batch:
    """Sequences that run together (indices), and how many tokens at their beginning are computed once for all."""

    rows: tuple[int, ...]
    prefix: int


def shared_by_all(items: Sequence[Item]) -> int:
    """Length of the beginning that all sequences share, 0 where it is not worth keeping from batch to batch."""
    if len(items) < 2:
        return 0
    first = items[0].ids
    alike = min(common_prefix(first, other.ids) for other in items[1:])
    alike = min(alike, min(len(item.ids) - item.own for item in items))
    return alike if alike >= WORTH_SHARING else 0


def plan(items: Sequence[Item], shared: int, limits: Limits) -> list[Batch]:
    """Batches that together cost least, found among the runs of two orders.

    In the order of the tokens, sequences with a long common beginning stand together; in the order of length, little
    is padded. Which is better depends on the sequences, so both are cut in the best way and compared. A sequence that
    is too big for the limits runs alone. `shared` tokens at the beginning of all of them are already computed.
    """
    numbers = range(len(items))
    by_length = sorted(numbers, key=lambda i: (len(items[i].ids), items[i].ids, i))
    by_tokens = sorted(numbers, key=lambda i: (items[i].ids, i))
    return min((_cut(order, items, shared, limits) for order in (by_length, by_tokens)), key=lambda found: found[0])[1]


def _cut(order: Sequence[int], items: Sequence[Item], shared: int, limits: Limits) -> tuple[float, list[Batch]]:
    """Cheapest way to cut an order into runs, by dynamic programming over the end of the last run."""
    # What a run shares is the least of what its neighbours share.
    alike = [common_prefix(items[a].ids, items[b].ids) for a, b in pairwise(order)]
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]  # cost so far, start of the last run, its prefix
    for end in range(1, len(order) + 1):
        options: list[tuple[float, int, int]] = []
        run = _Run(items[order[end - 1]])
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                run.add(items[order[start]], alike[start])
            prefix = run.prefix(shared)
            if start < end - 1 and not run.fits(prefix, limits):
                break
            options.append((best[start][0] + run.cost(prefix, shared), start, prefix))
        best.append(min(options))
    batches: list[Batch] = []
    end = len(order)
    while end:
        _, start, prefix = best[end]
        batches.append(Batch(tuple(order[start:end]), prefix))
        end = start
    return best[-1][0], batches[::-1]


class _Run:
    """Neighbours in an order, and what running them together takes."""

    def __init__(self, item: Item) -> None:
        self.rows, self.alike = 1, len(item.ids) - item.own
        self.longest, self.room = len(item.ids), item.room

    def add(self, item: Item, alike: int) -> None:
        self.rows += 1
        self.alike = min(self.alike, alike, len(item.ids) - item.own)
        self.longest = max(self.longest, len(item.ids))
        self.room = max(self.room, item.room)

    def prefix(self, shared: int) -> int:
        """The common beginning, where computing it once saves more than its extra pass costs."""
        return self.alike if (self.alike - shared) * (self.rows - 1) > PASS else shared

    def fits(self, prefix: int, limits: Limits) -> bool:
        own = self.longest - prefix
        return (
            self.rows <= limits.rows
            and self.rows * own <= limits.prefill
            and prefix + self.rows * (own + self.room) <= limits.cache
        )

    def cost(self, prefix: int, shared: int) -> float:
        first = prefix - shared + PASS if prefix > shared else 0
        return first + self.rows * (self.longest - prefix) + PASS + min(self.room, EXPECTED_STEPS) * (PASS + self.rows)
