"""Findings on quality: rows and labels that stand apart from the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from luthier.audit._finding import Dataset, Finding, finding
from luthier.audit._form import LEAST_ROWS
from luthier.data import Example
from luthier.spec import LabelScore

LEAST_PER_LABEL = 10
OUTLIER = 4.0  # robust z of the logarithm of the length


def check_quality(data: Dataset) -> Iterable[Finding]:
    """Labels that are hardly seen, and lengths far from the others."""
    yield from _rare_labels(data)
    yield from _lengths(data.examples, "input", lambda e: e.input_text)
    yield from _lengths(data.examples, "output", lambda e: e.output)


def _rare_labels(data: Dataset) -> Iterable[Finding]:
    score = data.task.score
    if not isinstance(score, LabelScore):
        return
    counts = Counter(e.output.strip() for e in data.examples)
    counts.update({label.strip(): 0 for label in score.labels or ()})
    rare = sorted((count, label) for label, count in counts.items() if count < LEAST_PER_LABEL)
    if rare:
        rows = [e for e in data.examples if counts[e.output.strip()] < LEAST_PER_LABEL]
        names = ", ".join(f"{label} ({count})" for count, label in rare[:8])
        reason = (
            f"{len(rare)} labels are seen less than {LEAST_PER_LABEL} times: {names}{', …' if len(rare) > 8 else ''}"
        )
        yield finding("rare-label", "note", rows, reason, f"collect {LEAST_PER_LABEL} rows of each, or merge labels")


def _lengths(examples: Sequence[Example], part: str, text: Callable[[Example], str]) -> Iterable[Finding]:
    """Lengths far from the others: |robust z| > 4 of the logarithm (median and median absolute deviation)."""
    if len(examples) < LEAST_ROWS:
        return
    logs = [math.log1p(len(text(e))) for e in examples]
    middle = median(logs)
    # 1.4826 makes the deviation that of a normal distribution; 0.1 keeps sets of nearly equal lengths from alarms
    spread = max(1.4826 * median(abs(x - middle) for x in logs), 0.1)
    far = sorted(((abs(x - middle), e) for x, e in zip(logs, examples, strict=True)), key=lambda pair: -pair[0])
    rows = [e for distance, e in far if distance > OUTLIER * spread]
    if rows:
        lengths = [len(text(e)) for e in rows]
        reason = (
            f"{part}s of unusual length: {min(lengths):,} to {max(lengths):,} characters,"
            f" where the median is {round(math.expm1(middle)):,}"
        )
        yield finding(f"{part}-length", "note", rows, reason, "look at them: cut off, pasted twice, or another task?")
