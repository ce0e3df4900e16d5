"""Findings on rows that repeat what the general-capability battery asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from luthier.audit._finding import Dataset, Finding, Severity, finding, sample
from luthier.audit.repeats._overlap import Phrases, pieces
from luthier.spec import Task

FEW = 0.01  # of the rows; what everyone asks comes up now and then


def check_battery(data: Dataset) -> Iterable[Finding]:
    """Rows whose input or wanted output repeats an item of the battery, shipped or of the user's `general` files.

    Raises:
        PathError, DataError: a file of `general` cannot be used.
    """
    known = Phrases(list(dict.fromkeys(_asked(data.task))))
    rows = list({e.id: e for e in data.examples}.values())
    found = known.repeated([e.input_text for e in rows])
    found = known.repeated([e.output for e in rows]) | found
    if found:
        places = [(rows[at], text) for at, text in sorted(found.items())]
        reason = "rows that repeat what the general-capability battery asks"
        samples = [sample(row, remark=f"the battery has: {text[:100]}") for row, text in places[:5]]
        fix = "remove the rows, or measure general capability with other questions (`general` in luthier.yaml)"
        severity: Severity = "harms" if len(places) > FEW * len(rows) else "note"
        yield finding("battery-repeat", severity, [row for row, _ in places], reason, fix, samples=samples)


def _asked(task: Task) -> Iterator[str]:
    from luthier.evaluate import battery_texts, general_texts

    yield from battery_texts()
    for path in task.general:
        found = general_texts(path)
        yield from pieces(found) if isinstance(found, str) else found
