"""Findings on leakage: what gives a test case away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from luthier.audit._finding import Dataset, Finding, Severity, finding, sample
from luthier.audit.repeats._overlap import Phrases
from luthier.data import groups_of, normalise, words

LATER = 0.01  # of the rows that are used: fewer are later because they belong to a group
GIVEN_AWAY = 0.05  # of the test cases: more would make any score false
LONG_ANSWER = 8  # words

_MARKS = re.compile(r"->|=>|\u2192|[|\t\"\u201c\u201d\u201e]|:\s|\s-\s|</?\w+>")


def check_leakage(data: Dataset) -> Iterable[Finding]:
    """What gives test cases away: rows in one component with one, later rows, and the prompt."""
    yield from _leakage(data)
    yield from _left_out(data)
    yield from _later(data)
    yield from _in_the_prompt(data)


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


def _later(data: Dataset) -> Iterable[Finding]:
    """Rows of train and development that came about after the first test case, where the task divides by time."""
    split = data.split
    if split is None or data.task.split.time is None:
        return
    first = min((e.time for e in split.test if e.time is not None), default=None)
    used = (*split.train, *split.development)
    rows = [e for e in used if e.time is not None and first is not None and e.time > first]
    if rows and first is not None:
        severity: Severity = "harms" if len(rows) > LATER * len(used) else "note"
        reason = (
            f"{len(rows):,} of {len(used):,} rows of train and development are later than the first test case"
            f" ({first.date()})"
        )
        fix = "cut the examples off at a date before the test file begins"
        if data.task.test_examples is None:
            fix = "nothing, where they belong to the group or family of a later row; else choose another split.group"
        yield finding("time-leakage", severity, rows, reason, fix)


def _in_the_prompt(data: Dataset) -> Iterable[Finding]:
    """Test cases whose input or long answer stands in the instructions or in a system message."""
    if data.split is None:
        return
    cases = data.split.test
    prompts = dict.fromkeys(
        [data.task.instructions, *(m.content for e in data.everything for m in e.messages if m.role == "system")]
    )
    known = Phrases([part for prompt in prompts for part in _parts(prompt)])
    found = known.repeated([e.input_text for e in cases])
    answers = {at: e.output for at, e in enumerate(cases) if _is_text(e.output)}
    told = known.repeated(list(answers.values()))
    found |= {list(answers)[place]: text for place, text in told.items()}
    rows = [cases[at] for at in sorted(found)]
    if rows:
        severity: Severity = "blocks" if len(rows) > GIVEN_AWAY * len(cases) else "harms"
        reason = f"{len(rows):,} of {len(cases):,} test cases stand in the instructions or a system message"
        samples = [sample(cases[at], remark=f"the prompt has: {text[:100]}") for at, text in sorted(found.items())[:5]]
        fix = "take demonstrations from rows that train: few-shot does so by itself; remove these from the prompt"
        yield finding("prompt-leakage", severity, rows, reason, fix, samples=samples)


def _parts(prompt: str) -> Sequence[str]:
    """What may be a demonstration in a prompt: lines, and what stands between their marks and quotation marks."""
    lines = [line for line in prompt.splitlines() if len(words(normalise(line))) > 1]
    inside = [part for line in lines for part in _MARKS.split(line) if len(words(normalise(part))) > 1]
    return list(dict.fromkeys([*lines, *inside]))


def _is_text(output: str) -> bool:
    return output.lstrip()[:1] not in ("{", "[") and len(output.split()) >= LONG_ANSWER
