"""What the test cases of a task can show; no model is loaded or asked."""

from __future__ import annotations

from luthier.api._data import Data
from luthier.data import content_hash, groups_of
from luthier.decide import Power, power_of, rules_of, rung_names
from luthier.errors import EvidenceError
from luthier.evaluate import make_scorer
from luthier.models import has_own_weights
from luthier.spec import Task


def foresee(task: Task, data: Data) -> Power:
    """The power of the task's frozen test cases, for the rungs that its base allows.

    Raises:
        EvidenceError: no cases, a bar that says nothing, or a judge that scores.
        ScorerError: the scorer of the task cannot be used.
    """
    if task.score.kind == "judge":
        raise EvidenceError(
            "what the test cases can show with a judge depends on how well it agrees with people, which is not known",
            fix="luthier decide, then: luthier judge --sample 60; each open rung then says how many labels it needs",
        )
    scorer = make_scorer(task.score, data.split.train + data.split.development)
    rungs = rung_names(task, scorer, {base: has_own_weights(base) for base in (task.base, *task.other_bases)})
    named = groups_of(data.split.test)
    groups = [named[case.id] for case in sorted(data.split.test, key=lambda case: content_hash(named[case.id]))]
    return power_of(rules_of(task), groups, binary=scorer.binary, rungs=rungs)
