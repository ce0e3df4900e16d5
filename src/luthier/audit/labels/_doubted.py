"""Findings on labels that are probably wrong: rows that read like those of another label."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.audit._finding import Dataset, Finding, Sample, finding, sample
from luthier.data import BadValue, Example, parse_json

LEAST_ROWS = 100
LEAST_OF_CLASS = 5
MOST_CLASSES = 300
MOST_FIELDS = 8
LONGEST_LABEL = 60
COVERED = 0.9  # share of the rows whose label is frequent enough, from which outputs are taken for labels
SKILL = 0.5  # below, the input does not tell the label, and nothing can be said of single rows
PROBABLE = 0.5  # posterior probability of a random label
SHOWN = 10
EXTRACTED = 0.5  # of the values stand in their inputs: then they are quoted, not chosen


@dataclass(frozen=True)
class Labelled:
    """Rows that have a label of one kind: the whole output (`name` is empty), or a field of a JSON output."""

    name: str
    rows: Sequence[Example]
    families: Sequence[int]
    labels: Sequence[str]


def check_labels(data: Dataset) -> Iterable[Finding]:
    """Labels that are probably wrong, and labels that are worth a look."""
    for labelled in labelled_fields(data):
        yield from _check(labelled)


def labelled_fields(data: Dataset) -> Iterator[Labelled]:
    """The outputs as labels, or the fields of JSON outputs that hold labels; nothing where there are none."""
    family = {id(e): number for e, number in zip(data.everything, data.families, strict=True)}
    for name, cells in columns([e for e in data.everything if e.input_text.strip()]):
        labelled = _frequent(name, [(row, family[id(row)], value) for row, value in cells])
        if labelled is not None:
            yield labelled


def columns(rows: Sequence[Example]) -> list[tuple[str, list[tuple[Example, str]]]]:
    """Short values of the outputs by field: the text itself (no name), or plain values of JSON.

    Only of fields that half of the rows have, and of 8 at most.
    """
    found: dict[str, list[tuple[Example, str]]] = {}
    same: dict[str, str] = {}  # equal values are kept once
    for row in rows:
        for name, value in _values(row.output):
            found.setdefault(name, []).append((row, same.setdefault(value, value)))
    common = [(name, cells) for name, cells in found.items() if len(cells) * 2 >= len(rows)]
    return sorted(common, key=lambda item: -len(item[1]))[:MOST_FIELDS]


def _values(output: str) -> Iterator[tuple[str, str]]:
    """Name and value of each label in an output: the text itself, or the plain values of a JSON object."""
    text = output.strip()
    if text.startswith("{"):
        try:
            value = parse_json(text)
        except BadValue:
            return
        yield from _leaves(value, "")
    elif 0 < len(text) <= LONGEST_LABEL:
        yield "", text


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, str | bool | int) and path and len(str(value)) <= LONGEST_LABEL:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _frequent(name: str, cells: Sequence[tuple[Example, int, str]]) -> Labelled | None:
    """The rows whose label is seen often enough to be judged; None where these are no labels."""
    counts = Counter(value for _, _, value in cells)
    frequent = {value for value, count in counts.items() if count >= LEAST_OF_CLASS}
    kept = [cell for cell in cells if cell[2] in frequent]
    if len(kept) < max(LEAST_ROWS, COVERED * len(cells)) or not 2 <= len(frequent) <= MOST_CLASSES:
        return None
    quoted = sum(value.casefold() in row.input_text.casefold() for row, _, value in kept)
    if name and quoted > EXTRACTED * len(kept):
        return None
    rows, families, values = zip(*kept, strict=True)
    return Labelled(name, rows, families, values)


def _check(labelled: Labelled) -> Iterator[Finding]:
    from luthier.audit.labels._noise import doubts

    names = sorted(set(labelled.labels))
    number = {name: i for i, name in enumerate(names)}
    found = doubts([e.input_text for e in labelled.rows], [number[v] for v in labelled.labels], labelled.families)
    if found.skill < SKILL:
        return
    likely = [names[i] for i in found.likely]
    ranked = sorted(range(len(likely)), key=lambda i: -found.wrong[i])
    wrong = [i for i in ranked if found.wrong[i] >= PROBABLE]
    doubtful = [i for i in ranked if found.confident[i] and found.wrong[i] < PROBABLE]
    what = f"field `{labelled.name}`" if labelled.name else "label"
    share = f"about {found.rate:.1%} of these labels are random, as estimated"
    if wrong:
        reason = (
            f"{what}: rows that read like those of another label, by classifiers that have not seen them;"
            f" {share}, and {sum(found.wrong[i] for i in wrong) / len(wrong):.0%} of the rows listed here"
        )
        fix = "look at each, the worst first, and correct those that are wrong: no program can say which are"
        yield finding(
            "wrong-label", "harms", [labelled.rows[i] for i in wrong], reason, fix,
            samples=_samples(labelled, likely, wrong),
        )  # fmt: skip
    if doubtful:
        reason = (
            f"{what}: rows that lie nearer to another label than its own rows do on average: wrong, or fit for both"
        )
        fix = "look at some: are two labels told apart by a rule that is written down? If not, write it, or merge them"
        yield finding(
            "doubtful-label", "note", [labelled.rows[i] for i in doubtful], reason, fix,
            samples=_samples(labelled, likely, doubtful),
        )  # fmt: skip


def _samples(labelled: Labelled, likely: Sequence[str], indices: Sequence[int]) -> list[Sample]:
    rows = [(labelled.rows[i], labelled.labels[i], likely[i]) for i in indices[:SHOWN]]
    return [sample(row, row.input_text, f"labelled {label}, looks like {other}") for row, label, other in rows]
