"""Findings on quality: rows and labels that stand apart from the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from luthier.audit._finding import Dataset, Finding, finding, sample
from luthier.audit.text._form import LEAST_ROWS
from luthier.data import Example
from luthier.spec import LabelScore

LEAST_PER_LABEL = 10
OUTLIER = 4.0  # robust z of the logarithm of the length
DOMINATES = 0.8  # share of one label from which the set is unbalanced
FOLLOWS = 0.5  # outputs go with inputs where their ratio varies half as much as their length
SHOWN = 5


def check_quality(data: Dataset) -> Iterable[Finding]:
    """Labels that are hardly seen or nearly always, and lengths far from the others."""
    yield from _rare_labels(data)
    yield from _imbalance(data)
    yield from _lengths(data.examples, "input", lambda e: e.input_text)
    yield from _lengths(data.examples, "output", lambda e: e.output)
    yield from _ratios(data.examples)


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


def _imbalance(data: Dataset) -> Iterable[Finding]:
    if not isinstance(data.task.score, LabelScore) or len(data.examples) < LEAST_ROWS:
        return
    counts = Counter(e.output.strip() for e in data.examples)
    label, most = counts.most_common(1)[0]
    share = most / len(data.examples)
    if len(counts) > 1 and share >= DOMINATES:
        reason = f"`{label}` is the label of {share:.1%} of the rows: to answer it always scores {share:.3f}"
        fix = "collect rows of the other labels, and judge by a score for each label"
        yield finding("imbalance", "note", (), reason, fix, count=most)


def _ratios(examples: Sequence[Example]) -> Iterable[Finding]:
    """Outputs too long or short for their inputs, where outputs go with inputs: as in translating or rewriting."""
    rows = [e for e in examples if e.output.strip() and e.input_text.strip()]
    if len(rows) < LEAST_ROWS:
        return
    outputs = [math.log(len(e.output)) for e in rows]
    ratios = [x - math.log(len(e.input_text)) for x, e in zip(outputs, rows, strict=True)]
    _, varied = _middle_and_spread(outputs)
    middle, spread = _middle_and_spread(ratios)
    if spread > FOLLOWS * varied:
        return
    far = [(abs(ratio - middle), e) for ratio, e in zip(ratios, rows, strict=True)]
    found = [e for distance, e in sorted(far, key=lambda pair: -pair[0]) if distance > OUTLIER * max(spread, 0.1)]
    if found:
        times = [len(e.output) / len(e.input_text) for e in found]
        reason = (
            f"outputs of unusual length for their inputs: {min(times):.2g} to {max(times):.2g} times as long,"
            f" where the median is {math.exp(middle):.2g}"
        )
        fix = "look at them: cut off, or with something added?"
        yield finding("length-ratio", "note", found, reason, fix, samples=[sample(e) for e in found[:SHOWN]])


def _middle_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the deviation that 1.4826 makes that of a normal distribution: median absolute deviation."""
    middle = median(values)
    return middle, 1.4826 * median(abs(x - middle) for x in values)


def _lengths(examples: Sequence[Example], part: str, text: Callable[[Example], str]) -> Iterable[Finding]:
    """Lengths far from the others: |robust z| > 4 of the logarithm (median and median absolute deviation)."""
    if len(examples) < LEAST_ROWS:
        return
    logs = [math.log1p(len(text(e))) for e in examples]
    middle, spread = _middle_and_spread(logs)
    spread = max(spread, 0.1)  # keeps sets of nearly equal lengths from alarms
    far = sorted(((abs(x - middle), e) for x, e in zip(logs, examples, strict=True)), key=lambda pair: -pair[0])
    rows = [e for distance, e in far if distance > OUTLIER * spread]
    if rows:
        lengths = [len(text(e)) for e in rows]
        reason = (
            f"{part}s of unusual length: {min(lengths):,} to {max(lengths):,} characters,"
            f" where the median is {round(math.expm1(middle)):,}"
        )
        fix = "look at them: cut off, pasted twice, or another task?"
        yield finding(f"{part}-length", "note", rows, reason, fix, samples=[sample(e) for e in rows[:SHOWN]])
