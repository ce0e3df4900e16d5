"""What the test cases of a task can show; no model is loaded or asked."""

from __future__ import annotations

import math

from luthier.api._data import Data
from luthier.data import content_hash, groups_of
from luthier.decide import ALL_LABELS, RUNG_LABELS, Power, power_of, rules_of, rung_names
from luthier.evaluate import make_scorer
from luthier.models import has_own_weights
from luthier.spec import JudgeScore, Task


def foresee(task: Task, data: Data) -> Power:
    """The power of the task's frozen test cases, for the rungs that its base allows.

    Raises:
        EvidenceError: no cases, or a bar that says nothing.
        ScorerError: the scorer of the task cannot be used.
    """
    scorer = make_scorer(task.score, data.split.train + data.split.development)
    rungs = rung_names(task, scorer, {base: has_own_weights(base) for base in (task.base, *task.other_bases)})
    named = groups_of(data.split.test)
    groups = [named[case.id] for case in sorted(data.split.test, key=lambda case: content_hash(named[case.id]))]
    if not isinstance(task.score, JudgeScore):
        return power_of(rules_of(task), groups, binary=scorer.binary, rungs=rungs)
    passes = task.score.scale == "pass/fail" and task.score.mode == "rubric"
    labels = max(RUNG_LABELS, math.ceil(ALL_LABELS / len(rungs)))
    return power_of(rules_of(task), groups, binary=passes, rungs=rungs, labels=labels)
