"""What is wrong with the examples, worst first, before any money is spent on them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from luthier.data._duplicates import near_duplicate_groups, normalise
from luthier.data._examples import Example, Source, Split
from luthier.data._json import BadValue, parse_json
from luthier.data._schema import output_check
from luthier.data._split import groups_of
from luthier.spec import JsonScore, LabelScore, Task

Severity = Literal["blocks", "harms", "note"]

LEAST_ROWS = 20
LEAST_PER_LABEL = 10
MANY_DUPLICATES = 0.05
OUTLIER = 4.0  # robust z of the logarithm of the length
SHOWN = 20

_FREE_TEXT = ("chrf", "rouge", "python")
_ORDER: Mapping[str, int] = {"blocks": 0, "harms": 1, "note": 2}


@dataclass(frozen=True)
class Finding:
    """Something about the examples that a user should know.

    `blocks`: a run on them would be worthless; `harms`: it would be worse than it need be; `note`: worth a look.
    `count` rows are concerned; `rows` names the first 20.
    """

    code: str
    severity: Severity
    count: int
    rows: tuple[Source, ...]
    reason: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and for saving."""
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "rows": [str(row) for row in self.rows],
            "reason": self.reason,
            "fix": self.fix,
        }


def audit(task: Task, examples: Sequence[Example], split: Split | None) -> list[Finding]:
    """Every finding about the examples, those that block first.

    `examples` are the rows of `task.examples`; `split` is None where they could not be divided.

    Raises:
        SpecError: the JSON schema of the scorer cannot be used.
    """
    everything = [*examples, *(() if split is None else split.test)]
    near = near_duplicate_groups([e.input_text for e in everything])
    checks: list[Iterable[Finding]] = [
        _few_rows(examples),
        _empty(examples),
        _wrong_outputs(task, examples),
        _leakage(groups_of(everything, near=near), split),
        _left_out(task, examples, split),
        _conflicts(task, examples),
        _duplicates(examples),
        _near_duplicates(examples, near),
        _same_preference(examples),
        _rare_labels(task, examples),
        _lengths(examples, "input", lambda e: e.input_text),
        _lengths(examples, "output", lambda e: e.output),
    ]
    return sorted((finding for check in checks for finding in check), key=lambda f: _ORDER[f.severity])


def _finding(code: str, severity: Severity, rows: Sequence[Example], reason: str, fix: str) -> Finding:
    return Finding(code, severity, len(rows), tuple(e.source for e in rows[:SHOWN]), reason, fix)


def _few_rows(examples: Sequence[Example]) -> Iterable[Finding]:
    distinct = len({e.id for e in examples})
    if distinct < LEAST_ROWS:
        reason = f"{distinct} distinct rows: no method could be told from another on the few of them that are held out"
        yield Finding("few-rows", "blocks", distinct, (), reason, f"collect at least {LEAST_ROWS} rows; 200 are better")


def _empty(examples: Sequence[Example]) -> Iterable[Finding]:
    rows = [e for e in examples if not e.output.strip() or not e.input_text.strip()]
    if rows:
        reason = "input or wanted output is empty: such a row teaches silence"
        yield _finding("empty", "blocks", rows, reason, "write what is wanted, or remove the rows")


def _wrong_outputs(task: Task, examples: Sequence[Example]) -> Iterable[Finding]:
    wrong = wrong_output(task)
    why = [(e, reason) for e in examples if (reason := wrong(e.output))]
    if why:
        code = "schema" if isinstance(task.score, JsonScore) else "unknown-label"
        first = why[0][1]
        reason = f"wanted outputs that the scorer itself would reject; the first: {first}"
        fix = "correct the rows, or write a copy without them: luthier check --fix"
        yield _finding(code, "blocks", [e for e, _ in why], reason, fix)


def wrong_output(task: Task) -> Callable[[str], str | None]:
    """A function that says why the task's scorer would reject a wanted output, or None.

    Raises:
        SpecError: the JSON schema of the scorer cannot be used.
    """
    score = task.score
    if isinstance(score, JsonScore):
        return output_check(score.schema_file)
    if isinstance(score, LabelScore) and score.labels is not None:
        labels = frozenset(label.strip() for label in score.labels)
        return lambda text: None if text.strip() in labels else f"`{text[:60]}` is not one of score.labels"
    return lambda text: None


def _leakage(groups: Mapping[str, str], split: Split | None) -> Iterable[Finding]:
    if split is None:
        return
    tested = {groups[e.id] for e in split.test}
    rows = [e for e in (*split.train, *split.development) if groups.get(e.id) in tested]
    if rows:
        reason = (
            "rows that train or develop equal, nearly repeat or share a group with a test case: scores would be false"
        )
        yield _finding("leakage", "blocks", rows, reason, "divide again: change split.seed in luthier.yaml")


def _left_out(task: Task, examples: Sequence[Example], split: Split | None) -> Iterable[Finding]:
    if split is None or task.test_examples is None:
        return
    used = {e.id for e in (*split.train, *split.development)}
    rows = [e for e in examples if e.id not in used]
    if rows:
        reason = (
            "rows equal, nearly repeat or share a group with a row of the test file: left out of train and development"
        )
        yield _finding(
            "leakage-removed", "note", rows, reason, "nothing to do; remove them from the examples to silence this"
        )


def _conflicts(task: Task, examples: Sequence[Example]) -> Iterable[Finding]:
    """Same input, different outputs: the most frequent output of each input bounds what any system can score."""
    answers: dict[str, dict[str, list[Example]]] = {}
    meaning = _meaning(task)
    for example in examples:
        key = normalise("\n".join(m.role + ":" + m.content for m in example.messages))
        answers.setdefault(key, {}).setdefault(meaning(example.output), []).append(example)
    split_inputs = [by_output for by_output in answers.values() if len(by_output) > 1]
    if not split_inputs:
        return
    rows = [e for by_output in split_inputs for some in by_output.values() for e in some]
    lost = sum(sum(map(len, b.values())) - max(map(len, b.values())) for b in split_inputs)
    ceiling = 1 - lost / len(examples)
    free = task.score.kind in _FREE_TEXT
    reason = f"{_inputs(len(split_inputs))} different wanted outputs"
    if not free:
        reason += (
            f": no system can be right on more than {ceiling:.2%} of these rows (error of at least {1 - ceiling:.2%})"
        )
    fix = "decide which output is right; where both are, the input lacks what tells them apart"
    yield _finding("conflict", "note" if free else "harms", rows, reason, fix)


def _inputs(count: int) -> str:
    return "one input has" if count == 1 else f"{count:,} inputs have"


def _meaning(task: Task) -> Callable[[str], str]:
    """What makes two outputs the same: JSON by value, everything else by its words."""
    if not isinstance(task.score, JsonScore):
        return lambda text: " ".join(text.split())

    def canonical(text: str) -> str:
        try:
            return json.dumps(parse_json(text), sort_keys=True)
        except BadValue:
            return text.strip()

    return canonical


def _duplicates(examples: Sequence[Example]) -> Iterable[Finding]:
    seen: set[str] = set()
    rows = []
    for example in examples:
        if example.id in seen:
            rows.append(example)
        seen.add(example.id)
    if rows:
        share = len(rows) / len(examples)
        severity: Severity = "harms" if share > MANY_DUPLICATES else "note"
        reason = f"copies of other rows ({share:.1%}): there are {len(seen):,} distinct rows, and test keeps each once"
        yield _finding("duplicate", severity, rows, reason, "remove the copies: luthier check --fix")


def _near_duplicates(examples: Sequence[Example], near: Sequence[int]) -> Iterable[Finding]:
    """Distinct rows whose input equals or nearly repeats that of another one."""
    distinct = {e.id: (e, family) for e, family in reversed(list(zip(examples, near, strict=False)))}
    sizes = Counter(family for _, family in distinct.values())
    rows = [e for e, family in reversed(distinct.values()) if sizes[family] > 1]
    if rows:
        surplus = len(rows) - sum(size > 1 for size in sizes.values())
        severity: Severity = "harms" if surplus > MANY_DUPLICATES * len(distinct) else "note"
        reason = (
            f"inputs that nearly repeat another one: {len(distinct):,} distinct rows ask {len(sizes):,} things;"
            " each family stands on one side of the split"
        )
        yield _finding(
            "near-duplicate", severity, rows, reason, "collect inputs that differ, or keep one of each family"
        )


def _same_preference(examples: Sequence[Example]) -> Iterable[Finding]:
    rows = [e for e in examples if e.rejected is not None and e.rejected.strip() == e.output.strip()]
    if rows:
        reason = "the chosen and the rejected answer are the same: nothing is preferred"
        yield _finding("same-preference", "harms", rows, reason, "remove the rows: luthier check --fix")


def _rare_labels(task: Task, examples: Sequence[Example]) -> Iterable[Finding]:
    score = task.score
    if not isinstance(score, LabelScore):
        return
    counts = Counter(e.output.strip() for e in examples)
    counts.update({label.strip(): 0 for label in score.labels or ()})
    rare = sorted((count, label) for label, count in counts.items() if count < LEAST_PER_LABEL)
    if rare:
        rows = [e for e in examples if counts[e.output.strip()] < LEAST_PER_LABEL]
        names = ", ".join(f"{label} ({count})" for count, label in rare[:8])
        reason = (
            f"{len(rare)} labels are seen less than {LEAST_PER_LABEL} times: {names}{', …' if len(rare) > 8 else ''}"
        )
        yield _finding("rare-label", "note", rows, reason, f"collect {LEAST_PER_LABEL} rows of each, or merge labels")


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
        yield _finding(f"{part}-length", "note", rows, reason, "look at them: cut off, pasted twice, or another task?")
