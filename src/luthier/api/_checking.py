"""The audit of a task's data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.data import content_hash

if TYPE_CHECKING:
    from luthier.audit import Dataset, Finding, ShownRow
    from luthier.spec import Task
    from luthier.store import Store

Progress = Callable[[str, int, int, str], None]

FORMAT = 1


@dataclass(frozen=True)
class Checked:
    """What `check` found: the number of rows, the sides of the split, the findings, and whether one of them blocks.

    `shown` are rows as they are trained, where they were asked for; `unseen` says why what is taught was not looked at.
    """

    rows: int
    train: int
    development: int
    test: int
    findings: tuple[Finding, ...]
    shown: tuple[ShownRow, ...] = ()
    unseen: str = ""

    @property
    def ok(self) -> bool:
        """No finding would ruin a run."""
        return not any(finding.severity == "blocks" for finding in self.findings)


def check(task: Task, store: Store, progress: Progress, *, deep: bool = False, show: int = 0) -> Checked:
    """Read, divide and audit the data of a task; `deep` asks models too. What was found is kept for the report.

    Raises:
        DataError: a file as a whole cannot be read.
        ModelError: `deep`, and the base cannot be loaded.
    """
    from luthier.api._data import scan_data
    from luthier.audit import Instruments, audit_deeply, show_rows, worst_first
    from luthier.models import outline_at_hand

    data = scan_data(task, store)
    findings, unseen = look_through(data, progress)
    if deep:
        findings = worst_first([*findings, *audit_deeply(data, Instruments(task, store, progress))])
    split = data.split
    sides = (0, 0, 0) if split is None else (len(split.train), len(split.development), len(split.test))
    base = outline_at_hand(task.base) if show else None
    shown = () if base is None else tuple(show_rows(data, base, show))
    checked = Checked(len(data.everything), *sides, tuple(findings), shown, unseen)
    store.put_document("check", data_key(data), _as_dict(checked, deep))
    return checked


def look_through(data: Dataset, progress: Progress | None = None) -> tuple[list[Finding], str]:
    """Findings that need no answer of a model, worst first, and why some could not be looked for ("" where all were).

    What is taught is looked at where the base's tokenizer is on this machine.
    """
    from luthier.audit import audit, check_taught, worst_first
    from luthier.models import outline_at_hand

    found = audit(data, progress)
    base = outline_at_hand(data.task.base)
    if base is None:
        return found, f"what the rows teach: the tokenizer of {data.task.base} is not on this machine"
    return worst_first([*found, *check_taught(data, base, progress)]), ""


def data_key(data: Dataset) -> str:
    """Content hash of the rows that were looked at, usable or not."""
    return content_hash([sorted(e.id for e in data.everything), len(data.problems)])[:16]


def last_check(store: Store) -> Mapping[str, Any] | None:
    """What the last `check` kept, as plain JSON values, or None."""
    found = store.latest_document("check")
    return None if found is None else found[1]


def _as_dict(checked: Checked, deep: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "deep": deep,
        "rows": checked.rows,
        "split": {"train": checked.train, "development": checked.development, "test": checked.test},
        "unseen": checked.unseen,
        "findings": [finding.as_dict() for finding in checked.findings],
    }
