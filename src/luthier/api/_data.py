"""From a task to its data: read, split (and the split frozen), audited. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from luthier.api._checking import look_through
from luthier.audit import Dataset, Finding
from luthier.data import (
    Example,
    Source,
    Split,
    content_hash,
    families_of,
    read_examples,
    scan_examples,
    scan_inputs,
    split_examples,
)
from luthier.errors import DataError, Problem, SplitError
from luthier.spec import LabelScore, Task
from luthier.store import Store


@dataclass(frozen=True)
class Data:
    """The examples of a task with their frozen split and what the audit finds."""

    examples: tuple[Example, ...]
    split: Split
    dataset: Dataset

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What `check` finds without asking a model."""
        return tuple(look_through(self.dataset)[0])

    @property
    def hash(self) -> str:
        """Content hash of all examples, in any order."""
        return content_hash(sorted(example.id for example in self.examples))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Codes of findings that would ruin a run."""
        return tuple(finding.code for finding in self.findings if finding.severity == "blocks")


def read_data(task: Task, store: Store) -> Data:
    """Read the examples, and keep the split that was frozen before.

    The test cases stay the same when examples are added or taken away: rows that were test cases remain so, and new
    rows that duplicate them are kept out of training. Other split settings make a new split.

    Raises:
        DataError, SplitError: what is wrong, with file and line.
    """
    examples = _read(task, task.examples)
    test = None if task.test_examples is None else _read(task, task.test_examples)
    near = families_of(examples) if test is None else None
    split, settings = _split(task, store, examples, test, near)
    _freeze(split, settings, store)
    return Data((*examples, *(test or ())), split, Dataset(task, examples, split, test or (), near=near))


def scan_data(task: Task, store: Store) -> Dataset:
    """What an audit looks at: rows that cannot be used, and rows that cannot be divided, are told and not refused.

    The split is frozen only where every row can be used, so that a row that is corrected later has its chance.

    Raises:
        DataError: a file as a whole cannot be used.
    """
    examples, problems = _scan(task, task.examples)
    test, more = (None, []) if task.test_examples is None else _scan(task, task.test_examples)
    problems += more
    near = families_of(examples) if test is None else None
    whole = replace(_scan_traffic(task, examples), tests=test or (), problems=problems, near=near)
    try:
        split, settings = _split(task, store, examples, test, near)
    except SplitError as error:
        return replace(whole, undivided=error)
    if not problems:
        _freeze(split, settings, store)
    return replace(whole, split=split)


def _scan_traffic(task: Task, examples: Sequence[Example]) -> Dataset:
    """The examples with the inputs of the traffic file; what is wrong with that file spoils nothing else."""
    if task.traffic is None:
        return Dataset(task, examples)
    try:
        reading = scan_inputs(task.traffic)
    except DataError as error:
        reason = "; ".join([error.what, *(str(problem) for problem in error.problems)])
        return Dataset(task, examples, traffic_problems=[Problem(reason, _short_name(task, str(task.traffic)))])
    sources = [Source(_short_name(task, source.file), source.line) for source in reading.sources]
    problems = [replace(p, file=_short_name(task, str(p.file))) for p in reading.problems]
    return Dataset(task, examples, traffic=reading.inputs, traffic_sources=sources, traffic_problems=problems)


def _split(
    task: Task,
    store: Store,
    examples: Sequence[Example],
    test: Sequence[Example] | None,
    near: Sequence[int] | None,
) -> tuple[Split, str]:
    """The split, and the key that it is frozen under."""
    values = task.split.model_dump(mode="json")
    if values["time"] is None:
        del values["time"]  # splits that were frozen before there was this key keep theirs
    settings = content_hash(values | {"separate": task.test_examples is not None})
    frozen = store.get_document("split", settings)
    if frozen is None:
        return split_examples(examples, task.split, test=test, stratify=_has_labels(task), near=near), settings
    known = set(frozen["test"])
    kept = [example for example in (examples if test is None else test) if example.id in known]
    return _kept_split(examples, kept, known, task, test, near), settings


def _read(task: Task, path: Path) -> list[Example]:
    """Rows with the names of their files as seen from the task's folder: records must not depend on where it lies."""
    return _short_names(task, read_examples(path, group=task.split.group, time=task.split.time))


def _scan(task: Task, path: Path) -> tuple[list[Example], list[Problem]]:
    reading = scan_examples(path, group=task.split.group, time=task.split.time)
    problems = [replace(p, file=_short_name(task, str(p.file))) for p in reading.problems]
    return _short_names(task, reading.examples), problems


def _short_names(task: Task, rows: Sequence[Example]) -> list[Example]:
    short = {name: _short_name(task, name) for name in {row.source.file for row in rows}}
    return [replace(row, source=Source(short[row.source.file], row.source.line)) for row in rows]


def _short_name(task: Task, name: str) -> str:
    return os.path.relpath(name, task.folder) if Path(name).is_absolute() else name


def _kept_split(
    examples: Sequence[Example],
    kept: Sequence[Example],
    known: set[str],
    task: Task,
    test: Sequence[Example] | None,
    near: Sequence[int] | None,
) -> Split:
    """The split whose test side is what it was."""
    same = split_examples(examples, task.split, test=test, stratify=_has_labels(task), near=near)
    if {example.id for example in same.test} == known:
        return same
    if not kept:
        return same
    distinct = list({example.id: example for example in kept}.values())
    rest = [example for example in examples if example.id not in known]
    settings = task.split.model_copy(update={"test_cases": None})
    return split_examples(rest, settings, test=distinct, stratify=_has_labels(task))


def _has_labels(task: Task) -> bool:
    return isinstance(task.score, LabelScore)


def _freeze(split: Split, settings: str, store: Store) -> None:
    sides = {side: sorted(e.id for e in getattr(split, side)) for side in ("train", "development", "test")}
    if store.get_document("split", settings) != sides:
        store.put_document("split", settings, sides)
