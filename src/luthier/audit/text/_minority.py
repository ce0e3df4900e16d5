"""What a few rows of a set have and the others have not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from luthier.data import Example

LEAST_ROWS = 50  # with fewer, what most of them do is no rule
FEW = 0.2  # what more rows have is meant


def few(rows: Sequence[Example], total: int, most: float = FEW) -> bool:
    """Whether rows are some of `total`, and few enough to be slips."""
    return total >= LEAST_ROWS and 0 < len(rows) <= most * total


def having(rows: Iterable[Example], pattern: Callable[[str], Any]) -> list[Example]:
    """The rows whose output has something."""
    return [row for row in rows if pattern(row.output)]


def share(rows: Sequence[Example], total: int) -> str:
    """As a percentage of all."""
    return f"{len(rows) / total:.1%} of the rows"
