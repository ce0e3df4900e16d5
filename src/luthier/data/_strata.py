"""Fill a side of a split with components: as many rows as wanted, and of every label its part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from luthier.data._examples import Example

# A held-out side made of a few large groups has few independent cases: none may fill more than this part of it.
LARGEST_PART = 1 / 8

Parts = Sequence[list[Example]]
Taken = tuple[list[Example], list[list[Example]]]


def fill(parts: Parts, target: int, *, leave: int) -> Taken:
    """Take components until `target` rows are there, and leave at least `leave` components to the other sides.

    Components that fit come first; larger ones are taken while that brings the number nearer to the target.
    """
    return _divide(parts, _chosen(parts, target, leave, []))


def fill_in_proportion(parts: Parts, target: int, *, leave: int, label: Callable[[Example], str]) -> Taken:
    """As `fill`, with the labels of the rows in the proportions that they have in all `parts`.

    Components, in their order, are taken while they bring the counts of labels nearer to the quotas; what is missing
    then is filled as without labels.
    """
    counts = [Counter(map(label, part)) for part in parts]
    wanting = _quotas(sum(counts, Counter()), target)
    limit = max(1, int(target * LARGEST_PART))
    taken: list[int] = []
    for index, (part, labels) in enumerate(zip(parts, counts, strict=True)):
        missed = sum(min(wanting[name], count) for name, count in labels.items())
        if len(part) <= limit and 2 * missed > len(part) and len(parts) - len(taken) > leave:
            taken.append(index)
            wanting.subtract(labels)
    return _divide(parts, _chosen(parts, target, leave, taken))


def fill_newest(parts: Parts, target: int, *, leave: int) -> Taken:
    """Take components from the end of `parts` until `target` rows are there, or as near to it as whole ones come."""
    taken: list[int] = []
    room = target
    for index in reversed(range(len(parts))):
        if len(parts) - len(taken) <= leave or (taken and abs(room - len(parts[index])) >= room):
            break
        taken.append(index)
        room -= len(parts[index])
    return _divide(parts, taken)


def _quotas(counts: Counter[str], target: int) -> Counter[str]:
    """Rows of each label among `target`, by largest remainders; the last row of a label is left to training."""
    total = sum(counts.values())
    shares = {name: min(count - 1, target * count / total) for name, count in counts.items()}
    quotas = Counter({name: int(share) for name, share in shares.items()})
    order = sorted(shares, key=lambda name: (quotas[name] - shares[name], name))
    for name in order[: max(0, target - quotas.total())]:
        quotas[name] += int(quotas[name] < counts[name] - 1)
    return quotas


def _chosen(parts: Parts, target: int, leave: int, taken: list[int]) -> list[int]:
    """`taken`, and further components by their order until the target is reached."""
    limit = max(1, int(target * LARGEST_PART))
    chosen = set(taken)
    room = target - sum(len(parts[index]) for index in taken)
    for fits in (True, False):
        for index, part in enumerate(parts):
            if index in chosen or len(parts) - len(taken) <= leave:
                continue
            if (len(part) <= min(limit, room)) if fits else (abs(room - len(part)) < room):
                taken.append(index)
                chosen.add(index)
                room -= len(part)
    if not taken and len(parts) > leave:
        taken = [min(range(len(parts)), key=lambda index: len(parts[index]))]
    return taken


def _divide(parts: Parts, taken: Sequence[int]) -> Taken:
    chosen = set(taken)
    rows = [example for index in taken for example in parts[index]]
    return rows, [part for index, part in enumerate(parts) if index not in chosen]
