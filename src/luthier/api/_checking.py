"""The audit of a task's data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.audit import Finding
    from luthier.spec import Task
    from luthier.store import Store


@dataclass(frozen=True)
class Checked:
    """What `check` found: the number of rows, the sides of the split, the findings, and whether one of them blocks."""

    rows: int
    train: int
    development: int
    test: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """No finding would ruin a run."""
        return not any(finding.severity == "blocks" for finding in self.findings)


def check(task: Task, store: Store, progress: Callable[[str, int, int, str], None], *, deep: bool = False) -> Checked:
    """Read, divide and audit the data of a task; `deep` asks models too.

    Raises:
        DataError: a file as a whole cannot be read.
        ModelError: `deep`, and the base cannot be loaded.
    """
    from luthier.api._data import scan_data
    from luthier.audit import Instruments, audit, audit_deeply, worst_first

    data = scan_data(task, store)
    findings = audit(data, progress)
    if deep:
        findings = worst_first([*findings, *audit_deeply(data, Instruments(task, store, progress))])
    split = data.split
    sides = (0, 0, 0) if split is None else (len(split.train), len(split.development), len(split.test))
    return Checked(len(data.everything), *sides, tuple(findings))
