"""Single labels that are probably wrong, for who wants to know about certain rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from luthier.audit._finding import Dataset
from luthier.audit.labels._doubted import SKILL, labelled_fields


@dataclass(frozen=True)
class Suspected:
    """What classifiers that have not seen a row say of its label.

    `field` is empty where the whole output is the label. `wrong` is the posterior probability that the label was drawn
    at random, `confident` an error by confident learning, `likely` what the row looks like otherwise.
    """

    field: str
    label: str
    likely: str
    wrong: float
    confident: bool


def suspected_labels(data: Dataset) -> dict[str, tuple[Suspected, ...]]:
    """For each row (by id), what is said of its labels. Empty where there are none, or inputs do not tell them."""
    from luthier.audit.labels._noise import doubts

    found: defaultdict[str, list[Suspected]] = defaultdict(list)
    for labelled in labelled_fields(data):
        names = sorted(set(labelled.labels))
        number = {name: i for i, name in enumerate(names)}
        told = doubts([e.input_text for e in labelled.rows], [number[v] for v in labelled.labels], labelled.families)
        if told.skill < SKILL:
            continue
        for i, (row, label) in enumerate(zip(labelled.rows, labelled.labels, strict=True)):
            likely = names[int(told.likely[i])]
            some = Suspected(labelled.name, label, likely, float(told.wrong[i]), bool(told.confident[i]))
            found[row.id].append(some)
    return {row: tuple(some) for row, some in found.items()}
