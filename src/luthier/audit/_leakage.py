"""Findings on leakage: what gives a test case away."""

from __future__ import annotations

from collections.abc import Iterable

from luthier.audit._finding import Dataset, Finding, finding
from luthier.data import groups_of


def check_leakage(data: Dataset) -> Iterable[Finding]:
    """Rows of train and development that share a component with a test case, and rows that were left out for that."""
    yield from _leakage(data)
    yield from _left_out(data)


def _leakage(data: Dataset) -> Iterable[Finding]:
    split = data.split
    if split is None:
        return
    groups = groups_of(data.everything, near=data.families)
    tested = {groups[e.id] for e in split.test}
    rows = [e for e in (*split.train, *split.development) if groups.get(e.id) in tested]
    if rows:
        reason = (
            "rows that train or develop equal, nearly repeat or share a group with a test case: scores would be false"
        )
        yield finding("leakage", "blocks", rows, reason, "divide again: change split.seed in luthier.yaml")


def _left_out(data: Dataset) -> Iterable[Finding]:
    split = data.split
    if split is None or data.task.test_examples is None:
        return
    used = {e.id for e in (*split.train, *split.development)}
    rows = [e for e in data.examples if e.id not in used]
    if rows:
        reason = (
            "rows equal, nearly repeat or share a group with a row of the test file: left out of train and development"
        )
        yield finding(
            "leakage-removed", "note", rows, reason, "nothing to do; remove them from the examples to silence this"
        )
