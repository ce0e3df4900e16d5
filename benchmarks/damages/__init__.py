"""Damages planted in real data, a module for each kind: what is done to which rows, and what should be found there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Planted:
    """Rows of a file with a damage in some of them.

    `lines` are the text lines of the JSONL file as they are written (some may be no JSON any more), `damaged` the line
    numbers, counted from 1, that should be found, `codes` the codes of findings any of which counts as found. `files`
    are further files of the task by name, `task` further keys of its luthier.yaml; `where` is the file that the line
    numbers are of. `undamaged` are the lines without the damage, where they are not the rows of the set as they come,
    and `task_before` are its keys where the damage is in the task. Lone surrogates are
    written as the bytes that they stand for.
    """

    lines: Sequence[str]
    damaged: frozenset[int]
    codes: frozenset[str]
    files: dict[str, str]
    task: dict[str, Any]
    where: str = "examples.jsonl"
    undamaged: Sequence[str] | None = None
    task_before: dict[str, Any] | None = None


@dataclass(frozen=True)
class Damage:
    """A kind of damage: its name, the real sets it is planted in, and how, given the rows of a set and a seed."""

    name: str
    sets: tuple[str, ...]
    plant: Callable[[list[Row], int], Planted]
    least: float | None  # precision and recall that are promised; None where the figure is only told
    deep: bool = False  # it takes the checks that ask a model
    asks_base: bool = False  # and of these the base, which is slow: only where it is named
