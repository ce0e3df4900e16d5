"""What rows say of where they come from: licences, sources, who labelled them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from luthier.audit._finding import Dataset, Finding, Severity, finding
from luthier.data import Example

NAMED = 5


def check_provenance(data: Dataset) -> Iterable[Finding]:
    """Licences that differ or are missing in part, and who labelled; nothing where no row says anything."""
    rows = data.everything
    licences = _counts(rows, "licence")
    if licences:
        yield _licences(rows, licences)
    told = [f"{part}: {_list(counts)}" for part in ("source", "author", "date") if (counts := _counts(rows, part))]
    if told:
        reason = f"rows say where they come from; {'; '.join(told)}"
        count = sum(e.origin is not None for e in rows)
        fix = "nothing to do: the fields stay in corrected copies"
        yield finding("origin", "note", (), reason, fix, count=count)


def _licences(rows: Sequence[Example], licences: Counter[str]) -> Finding:
    without = [e for e in rows if e.origin is None or not e.origin.licence]
    reason = f"{len(rows) - len(without):,} of {len(rows):,} rows have a licence: {_list(licences)}"
    severity: Severity = "harms" if without or len(licences) > 1 else "note"
    fix = "see that every licence allows what the model is for, and find out the licence of the rows without one"
    return finding("licences", severity, without, reason, fix, count=len(without) or len(rows))


def _counts(rows: Sequence[Example], part: str) -> Counter[str]:
    return Counter(value for e in rows if e.origin is not None and (value := getattr(e.origin, part)))


def _list(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(NAMED))
    return shown if len(counts) <= NAMED else f"{shown} and {len(counts) - NAMED:,} more"
