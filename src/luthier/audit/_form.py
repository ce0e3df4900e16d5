"""Findings on form: rows that cannot be used, and rows whose wanted output cannot be meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from luthier.audit._finding import Dataset, Finding, finding
from luthier.audit._schema import output_check
from luthier.data import Source
from luthier.spec import JsonScore, LabelScore, Task

LEAST_ROWS = 20


def check_form(data: Dataset) -> Iterable[Finding]:
    """Rows that cannot be read, too few of them, empty ones, outputs that the scorer would reject, void preferences."""
    yield from _unusable(data)
    yield from _not_divisible(data)
    yield from _few_rows(data)
    yield from _empty(data)
    yield from _wrong_outputs(data)
    yield from _same_preference(data)


def _unusable(data: Dataset) -> Iterable[Finding]:
    if data.problems:
        rows = [Source(str(problem.file), problem.line or 0) for problem in data.problems]
        reason = f"rows that cannot be used; the first: {data.problems[0].what}"
        fix = "correct the rows, or write a copy without them: luthier check --fix"
        yield finding("unusable-row", "blocks", rows, reason, fix)


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
