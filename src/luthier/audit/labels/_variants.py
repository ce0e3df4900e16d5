"""Findings on labels that are one label in several spellings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from luthier.audit._finding import Dataset, Finding, finding, sample
from luthier.audit.labels._doubted import columns
from luthier.data import Example

SHOWN = 5
LEAST_ROWS = 50
SEEN = 10  # rows of a label that a misspelt one is compared with
MISSPELT = 0.1  # of its rows at most have the misspelling
LEAST_LENGTH = 6  # of a label, for a slip of one letter to be no other label


def check_variants(data: Dataset) -> Iterable[Finding]:
    """Labels that differ from a more frequent one by case, space, punctuation, or a letter."""
    for name, cells in columns(data.examples):
        counts = Counter(value for _, value in cells)
        if len(cells) < LEAST_ROWS or sum(n for n in counts.values() if n >= SEEN) < 0.8 * len(cells):
            continue
        meant = _meant(counts)
        rows = [(row, value, meant[value]) for row, value in cells if value in meant]
        if rows:
            yield _finding(name, rows, meant)


def _finding(name: str, rows: list[tuple[Example, str, str]], meant: Mapping[str, str]) -> Finding:
    what = f"field `{name}`" if name else "label"
    spelt = ", ".join(f"`{variant}` for `{label}`" for variant, label in list(meant.items())[:5])
    reason = f"{what}: the same label in another spelling: {spelt}{', …' if len(meant) > 5 else ''}"
    samples = [sample(row, None, f"`{value}`, elsewhere `{label}`") for row, value, label in rows[:SHOWN]]
    return finding(
        "label-variant", "harms", [row for row, _, _ in rows], reason,
        "give each label one spelling; name them in score.labels, and luthier check --fix does it", samples=samples,
    )  # fmt: skip


def _meant(counts: Mapping[str, int]) -> dict[str, str]:
    """The more frequent spelling of each label that is a variant of one."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        spellings[_loose(label)].append(label)
    meant: dict[str, str] = {}
    for same in spellings.values():
        first, *others = sorted(same, key=lambda label: (-counts[label], label))
        meant.update({other: first for other in others})
    frequent = [label for label in counts if label not in meant and counts[label] >= SEEN]
    for label, count in counts.items():
        if label not in meant and (near := _slip_of(label, count, frequent, counts)):
            meant[label] = near
    return meant


def _loose(label: str) -> str:
    """A label without what is not its words: case, punctuation, separators."""
    words = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)).casefold().split()
    return "".join(words) or label


def _slip_of(label: str, count: int, frequent: Iterable[str], counts: Mapping[str, int]) -> str | None:
    """The one frequent label that a rare one differs from by a letter too many, too few, wrong or swapped."""
    if len(label) < LEAST_LENGTH:
        return None
    near = [
        other
        for other in frequent
        if other != label
        and len(other) >= LEAST_LENGTH
        and count <= MISSPELT * counts[other]
        and abs(len(other) - len(label)) <= 1
        and _digits(other) == _digits(label)
        and one_slip(_loose(label), _loose(other))
    ]
    return near[0] if len(near) == 1 else None


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def one_slip(a: str, b: str) -> bool:
    """Whether two words are at a distance of one (Damerau 1964): a letter more, less, other, or two swapped."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1 or a == b:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    swapped = a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]
    return swapped or a[start + 1 :] == b[start + 1 :]
