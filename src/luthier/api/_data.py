"""From a task to its data: read, split (and the split frozen), audited. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.data import Example, Finding, Source, Split, audit, content_hash, read_examples, split_examples
from luthier.spec import Task
from luthier.store import Store


@dataclass(frozen=True)
class Data:
    """The examples of a task with their frozen split and what the audit found."""

    examples: tuple[Example, ...]
    split: Split
    findings: tuple[Finding, ...]

    @property
    def hash(self) -> str:
        """Content hash of all examples, in any order."""
        return content_hash(sorted(example.id for example in self.examples))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Codes of findings that would ruin a run."""
        return tuple(finding.code for finding in self.findings if finding.severity == "blocks")


def read_data(task: Task, store: Store) -> Data:
    """Read the examples, keep the split that was frozen before, and audit.

    The test cases stay the same when examples are added or taken away: rows that were test cases remain so, and new
    rows that duplicate them are kept out of training. Other split settings make a new split.

    Raises:
        DataError, SplitError: what is wrong, with file and line.
    """
    examples = _read(task, task.examples)
    test = None if task.test_examples is None else _read(task, task.test_examples)
    settings = content_hash(task.split.model_dump(mode="json") | {"separate": task.test_examples is not None})
    frozen = store.get_document("split", settings)
    split = split_examples(examples, task.split, test=test) if frozen is None else None
    if split is None:
        known = set(frozen["test"]) if frozen is not None else set()
        kept = [example for example in (examples if test is None else test) if example.id in known]
        split = _kept_split(examples, kept, known, task, test)
    _freeze(split, settings, store)
    everything = tuple(examples) + tuple(test or ())
    return Data(everything, split, tuple(audit(task, examples, split)))


def _read(task: Task, path: Path) -> list[Example]:
    """Rows with the names of their files as seen from the task's folder: records must not depend on where it lies."""
    rows = read_examples(path, group=task.split.group)
    names = {row.source.file for row in rows}
    short = {name: os.path.relpath(name, task.folder) for name in names if Path(name).is_absolute()}
    return [replace(row, source=Source(short.get(row.source.file, row.source.file), row.source.line)) for row in rows]


def _kept_split(
    examples: Sequence[Example], kept: Sequence[Example], known: set[str], task: Task, test: Sequence[Example] | None
) -> Split:
    """The split whose test side is what it was."""
    same = split_examples(examples, task.split, test=test)
    if {example.id for example in same.test} == known:
        return same
    if not kept:
        return same
    distinct = list({example.id: example for example in kept}.values())
    rest = [example for example in examples if example.id not in known]
    return split_examples(rest, task.split.model_copy(update={"test_cases": None}), test=distinct)


def _freeze(split: Split, settings: str, store: Store) -> None:
    sides = {side: sorted(e.id for e in getattr(split, side)) for side in ("train", "development", "test")}
    if store.get_document("split", settings) != sides:
        store.put_document("split", settings, sides)
