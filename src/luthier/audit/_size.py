"""What the test cases can show, and how many more it would take."""

from __future__ import annotations

import math
from collections.abc import Iterable

from luthier.audit._finding import Dataset, Finding, Severity, finding
from luthier.data import groups_of

LEAST_CASES, GOOD_CASES, STRICT_CASES = 100, 200, 300
STRICT_BAR = 0.95  # bars from here on take more cases
RUNGS = 4  # that share the error budget, where the task does not name its methods


def check_size(data: Dataset) -> Iterable[Finding]:
    """Whether the test side can tell a system that is good enough from one that is not, and two systems apart."""
    if data.split is None or not data.split.test:
        return
    cases = len(data.split.test)
    independent = len(set(groups_of(data.split.test).values()))
    wanted = STRICT_CASES if (data.task.bar or 0) >= STRICT_BAR else GOOD_CASES
    if independent < wanted:
        severity: Severity = "harms" if independent < LEAST_CASES else "note"
        reason = f"{cases:,} test cases{_groups(cases, independent)}: {_shows(data, independent)}"
        yield finding("small-test", severity, (), reason, _fix(data, independent, wanted), count=independent)


def _groups(cases: int, independent: int) -> str:
    return "" if independent == cases else f" from {independent:,} independent sources"


def _shows(data: Dataset, n: int) -> str:
    from luthier.evaluate import adequacy_cases, adequate_score, detectable_difference

    methods = data.task.decide.methods
    alpha = data.task.decide.alpha / (RUNGS if methods is None else len(methods))
    parts = []
    if (bar := data.task.bar) is not None and bar < 1:
        score = adequate_score(n, bar, alpha)
        close = round((1 + bar) / 2, 3)
        parts.append(
            f"no score can be shown to meet the bar of {bar:g}"
            if score is None
            else f"a system is shown to meet the bar of {bar:g} when it truly passes {score:.3f} or more of such cases"
        )
        if (score is None or score > close) and (needed := adequacy_cases(bar, close, alpha)) is not None:
            parts.append(f"for one that passes {close:g} it takes {needed:,} cases, {needed - n:,} more")
    parts.append(f"two systems are told apart when they differ by {detectable_difference(n, alpha):.2f} or more")
    return "; ".join(parts) + f" (80 % power, one-sided {alpha:.3g}, scores of 0 or 1)"


def _fix(data: Dataset, n: int, wanted: int) -> str:
    if data.task.test_examples is not None:
        return f"add {wanted - n:,} independent cases to the test file"
    share = len(data.split.test) / max(1, _rows(data)) if data.split else data.task.split.test
    rows = math.ceil((wanted - n) / max(share, 0.01))
    text = f"collect {wanted - n:,} more independent cases (about {rows:,} rows at this division)"
    if wanted <= _rows(data) // 2 and n == len(data.split.test if data.split else ()):
        text += f", or hold out more of these: split: {{test_cases: {wanted}}}"
    return text


def _rows(data: Dataset) -> int:
    split = data.split
    return 0 if split is None else len({e.id for side in (split.train, split.development, split.test) for e in side})
