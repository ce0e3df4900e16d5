"""Findings on form: rows that cannot be used, and rows whose wanted output cannot be meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from luthier.audit._finding import EXCERPT, Dataset, Finding, Sample, finding
from luthier.audit.text._schema import output_check
from luthier.data import Source, visible
from luthier.errors import Problem
from luthier.spec import JsonScore, LabelScore, Task

LEAST_ROWS = 20
SHOWN = 5
_COPY = "or write a copy without them: luthier check --fix"
UNUSABLE_FIXES = {
    "unusable-row": f"correct the rows, {_COPY}",
    "bad-json": f"write each row as one JSON object on one line, {_COPY}",
    "bad-encoding": f"save the file as UTF-8, for example iconv -f latin1 -t utf-8, {_COPY}",
    "long-line": f"is the line one row? End each row with a line break, {_COPY}",
    "wrong-role": f"rename the roles to system, user and assistant, {_COPY}",
    "turn-order": f"begin with the system or the user, let the sides take turns, end with the assistant, {_COPY}",
    "empty": f"write what is wanted, {_COPY}",
    "mixed-forms": f"write all rows of a file in one form, {_COPY}",
    "tool-use": f"leave rows with tools out, {_COPY}",
    "wrong-keys": f"rename the keys, for example to `prompt` and `completion`, {_COPY}",
    "wrong-value": f"write the values as text, {_COPY}",
    "table-cells": f"put cells that hold the separator in quotes, {_COPY}",
    "table-quotes": f"close each quote and double those inside a cell, {_COPY}",
    "preference-prompt": f"let both answers of a pair follow the same conversation, {_COPY}",
    "no-time": f"write when each row came about, or remove split.time from luthier.yaml, {_COPY}",
    "no-group": f"name the group of every row, or remove split.group from luthier.yaml, {_COPY}",
}


def check_form(data: Dataset) -> Iterable[Finding]:
    """Rows that cannot be read, too few of them, empty ones, outputs that the scorer would reject, void preferences."""
    yield from _unusable(data)
    yield from _not_divisible(data)
    yield from _few_rows(data)
    yield from _empty(data)
    yield from _wrong_outputs(data)
    yield from _same_preference(data)


def _unusable(data: Dataset) -> Iterable[Finding]:
    """One finding for each kind of reason, the most frequent first."""
    kinds: dict[str, list[Problem]] = {}
    for problem in data.problems:
        kinds.setdefault(problem.code or "unusable-row", []).append(problem)
    for code, problems in sorted(kinds.items(), key=lambda item: -len(item[1])):
        rows = [Source(str(problem.file), problem.line or 0) for problem in problems]
        reason = f"rows that cannot be used; the first: {problems[0].what}"
        different = list({problem.what: problem for problem in reversed(problems)}.values())[::-1]
        shown = [Sample(Source(str(p.file), p.line or 0), visible(p.what[:EXCERPT])) for p in different[:SHOWN]]
        yield finding(code, "blocks", rows, reason, UNUSABLE_FIXES[code], samples=shown)


def _not_divisible(data: Dataset) -> Iterable[Finding]:
    if data.undivided is not None:
        yield finding("not-divisible", "blocks", (), data.undivided.what, data.undivided.fix, count=len(data.examples))


def _few_rows(data: Dataset) -> Iterable[Finding]:
    distinct = len({e.id for e in data.examples})
    if distinct < LEAST_ROWS:
        reason = f"{distinct} distinct rows: no method could be told from another on the few of them that are held out"
        fix = f"collect at least {LEAST_ROWS} rows; 200 are better"
        yield finding("few-rows", "blocks", (), reason, fix, count=distinct)


def _empty(data: Dataset) -> Iterable[Finding]:
    rows = [e for e in data.examples if not e.output.strip() or not e.input_text.strip()]
    if rows:
        reason = "input or wanted output is empty: such a row teaches silence"
        yield finding("empty", "blocks", rows, reason, "write what is wanted, or remove the rows")


def _wrong_outputs(data: Dataset) -> Iterable[Finding]:
    wrong = wrong_output(data.task)
    why = [(e, reason) for e in data.examples if (reason := wrong(e.output))]
    if why:
        code = "schema" if isinstance(data.task.score, JsonScore) else "unknown-label"
        first = why[0][1]
        reason = f"wanted outputs that the scorer itself would reject; the first: {first}"
        fix = "correct the rows, or write a copy without them: luthier check --fix"
        yield finding(code, "blocks", [e for e, _ in why], reason, fix)


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


def _same_preference(data: Dataset) -> Iterable[Finding]:
    rows = [e for e in data.examples if e.rejected is not None and e.rejected.strip() == e.output.strip()]
    if rows:
        reason = "the chosen and the rejected answer are the same: nothing is preferred"
        yield finding("same-preference", "harms", rows, reason, "remove the rows: luthier check --fix")
