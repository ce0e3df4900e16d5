"""Which sequences to run together, and in which order: a pure function of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from luthier.models._trie import common_prefix

WORTH_SHARING = 16  # tokens: a common beginning shorter than this is not kept apart
# A group of prompts leaves its stream when its deeper beginning times its size is this many tokens for each row of a
# batch. What it saves is reading that beginning once a row in every step (an estimate: 32 times 500 tokens are
# worth 16 more rows); what it costs is a batch of its own that runs empty at its end (half of its passes).
_APART = 256


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
    """What one pass may take.

    Args:
        rows: sequences that are continued at the same time.
        prefill: tokens of one tree of prompts.
        cache: tokens in the key-value cache.
        nodes: tokens of one tree whose logits are all wanted.
        overhead: what a pass costs before its first token (the weights have to be read), in tokens.
    """

    rows: int
    prefill: int
    cache: int
    nodes: int
    overhead: int


@dataclass(frozen=True)
class Stream:
    """Sequences (indices, in the order in which they are taken up) behind one beginning that is computed once."""

    rows: tuple[int, ...]
    prefix: int


def shared_by_all(items: Sequence[Item]) -> int:
    """Length of the beginning that all sequences share, 0 where it is not worth keeping apart."""
    if len(items) < 2:
        return 0
    first = items[0].ids
    alike = min(common_prefix(first, other.ids) for other in items[1:])
    alike = min(alike, min(len(item.ids) - item.own for item in items))
    return alike if alike >= WORTH_SHARING else 0


def plan(items: Sequence[Item], limits: Limits) -> list[Stream]:
    """Streams in an order in which each finds as much as possible of its beginning computed by those before it.

    All sequences are one stream behind what they all share, except groups that share so much more, and are so many,
    that a batch of their own is cheaper. Inside a stream, sequences that begin alike follow one another, and shorter
    ones come first.
    """
    order = sorted(range(len(items)), key=lambda i: (items[i].ids, i))
    alike = [common_prefix(items[a].ids, items[b].ids) for a, b in pairwise(order)]
    streams: list[tuple[int, Stream]] = []  # with the place of its first row in the order
    groups = [(0, len(order))] if order else []
    while groups:
        start, end = groups.pop()
        prefix = _beginning([items[i] for i in order[start:end]], alike[start : end - 1])
        left: list[tuple[int, int]] = []
        for first, last in _runs(alike, start, end, prefix):
            deeper = _beginning([items[i] for i in order[first:last]], alike[first : last - 1]) - prefix
            apart = deeper >= WORTH_SHARING and deeper * (last - first) >= _APART * limits.rows
            (groups if apart and last - first < end - start else left).append((first, last))
        if left:
            families = sorted(left, key=lambda run: max(len(items[i].ids) for i in order[run[0] : run[1]]))
            rows = tuple(i for first, last in families for i in order[first:last])
            streams.append((min(first for first, _ in left), Stream(rows, prefix)))
    return [stream for _, stream in sorted(streams, key=lambda found: found[0])]


def trees(sequences: Sequence[tuple[int, ...]], budget: int) -> list[list[int]]:
    """Indices of sequences, in their order, divided into trees of at most `budget` nodes.

    A longer sequence makes a bigger tree; so does one that adds little to what it shares with the one before it.
    """
    divided: list[list[int]] = []
    size = 0
    before: tuple[int, ...] = ()
    for i, sequence in enumerate(sequences):
        new = len(sequence) - (common_prefix(before, sequence) if divided else 0)
        if not divided or (size + new > budget and 4 * new > len(sequence)):
            divided.append([])
            size, new = 0, len(sequence)
        divided[-1].append(i)
        size, before = size + new, sequence
    return divided


def _beginning(items: Sequence[Item], alike: Sequence[int]) -> int:
    """What a run of neighbours shares; 0 where it is one sequence, or not worth it."""
    shared = min([*alike, *(len(item.ids) - item.own for item in items)]) if alike else 0
    return shared if shared >= WORTH_SHARING else 0


def _runs(alike: Sequence[int], start: int, end: int, prefix: int) -> Iterator[tuple[int, int]]:
    """The runs of neighbours in [start, end) that share something worth it beyond the prefix."""
    first = start
    for place in range(start, end - 1):
        if alike[place] < prefix + WORTH_SHARING:
            yield first, place + 1
            first = place + 1
    yield first, end
