"""Findings on what is said more than once: copies, near copies, and the same input with different outputs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable

from luthier.audit._finding import Dataset, Finding, Severity, finding, sample
from luthier.data import BadValue, Example, normalise, parse_json
from luthier.spec import JsonScore, Task

MANY_DUPLICATES = 0.05

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?')  # a text in JSON; before a colon it is a key
_FREE_TEXT = ("chrf", "rouge", "python", "judge")


def check_repeats(data: Dataset) -> Iterable[Finding]:
    """Conflicting outputs, copies, near duplicates."""
    yield from _conflicts(data)
    yield from _near_conflicts(data)
    yield from _duplicates(data)
    yield from _near_duplicates(data)


def _duplicates(data: Dataset) -> Iterable[Finding]:
    seen: set[str] = set()
    rows = []
    for example in data.examples:
        if example.id in seen:
            rows.append(example)
        seen.add(example.id)
    if rows:
        share = len(rows) / len(data.examples)
        severity: Severity = "harms" if share > MANY_DUPLICATES else "note"
        reason = f"copies of other rows ({share:.1%}): there are {len(seen):,} distinct rows, and test keeps each once"
        yield finding("duplicate", severity, rows, reason, "remove the copies: luthier check --fix")


def _near_duplicates(data: Dataset) -> Iterable[Finding]:
    """Distinct rows whose input equals or nearly repeats that of another one."""
    distinct = {e.id: (e, family) for e, family in reversed(list(zip(data.examples, data.families, strict=False)))}
    sizes = Counter(family for _, family in distinct.values())
    rows = [e for e, family in reversed(distinct.values()) if sizes[family] > 1]
    if rows:
        surplus = len(rows) - sum(size > 1 for size in sizes.values())
        severity: Severity = "harms" if surplus > MANY_DUPLICATES * len(distinct) else "note"
        reason = (
            f"inputs that nearly repeat another one: {len(distinct):,} distinct rows ask {len(sizes):,} things;"
            " each family stands on one side of the split"
        )
        yield finding(
            "near-duplicate", severity, rows, reason, "collect inputs that differ, or keep one of each family"
        )


def _conflicts(data: Dataset) -> Iterable[Finding]:
    """Same input, different outputs: the most frequent output of each input bounds what any system can score."""
    answers: dict[str, dict[str, list[Example]]] = {}
    meaning = _meaning(data.task)
    for example in data.examples:
        key = normalise("\n".join(m.role + ":" + m.content for m in example.messages))
        answers.setdefault(key, {}).setdefault(meaning(example.output), []).append(example)
    split_inputs = [by_output for by_output in answers.values() if len(by_output) > 1]
    if not split_inputs:
        return
    rows = [e for by_output in split_inputs for some in by_output.values() for e in some]
    lost = sum(sum(map(len, b.values())) - max(map(len, b.values())) for b in split_inputs)
    ceiling = 1 - lost / len(data.examples)
    free = data.task.score.kind in _FREE_TEXT
    reason = f"{_inputs(len(split_inputs))} different wanted outputs"
    if not free:
        reason += (
            f": no system can be right on more than {ceiling:.2%} of these rows (error of at least {1 - ceiling:.2%})"
        )
    fix = "decide which output is right; where both are, the input lacks what tells them apart"
    yield finding("conflict", "note" if free else "harms", rows, reason, fix)


def _near_conflicts(data: Dataset) -> Iterable[Finding]:
    """Inputs that nearly repeat each other with different labels, or values that do not stand in the input.

    Families with the same input are conflicts already, and free texts differ without a conflict.
    """
    if data.task.score.kind in _FREE_TEXT:
        return
    meaning = _meaning(data.task)
    families: dict[int, dict[str, list[Example]]] = {}
    for example, family in zip(data.examples, data.families, strict=False):
        said = _without_copied(meaning(example.output), example)
        families.setdefault(family, {}).setdefault(said, []).append(example)
    torn = [by_output for by_output in families.values() if len(by_output) > 1 and _differ(by_output)]
    if not torn:
        return
    rows = [e for by_output in torn for some in by_output.values() for e in some]
    lost = sum(sum(map(len, b.values())) - max(map(len, b.values())) for b in torn)
    reason = (
        f"{len(torn):,} families of nearly the same input have different wanted outputs: if they ask the same, no"
        f" system can be right on more than {1 - lost / len(data.examples):.2%} of these rows"
    )
    samples = [
        sample(some[0], remark=f"family {number}")
        for number, by_output in enumerate(torn[:3], start=1)
        for some in list(by_output.values())[:2]
    ]
    fix = "look at them: give those that ask the same the same output"
    yield finding("near-conflict", "note", rows, reason, fix, samples=samples)


def _differ(by_output: dict[str, list[Example]]) -> bool:
    """Whether different outputs belong to different inputs: the others are conflicts."""
    inputs = [{normalise(e.input_text) for e in some} for some in by_output.values()]
    return any(a != b for a in inputs for b in inputs)


def _without_copied(meaning: str, example: Example) -> str:
    """A meaning without the texts in it that are copied from the input: those may differ where the inputs do."""
    text = normalise(example.input_text)

    def left(match: re.Match[str]) -> str:
        return match[0] if match[2] or normalise(match[1]) not in text else '""'

    return _QUOTED.sub(left, meaning)


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
