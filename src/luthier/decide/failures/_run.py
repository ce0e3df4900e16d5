"""The diagnosis: which cases the best rung fails, a bounded sample of them judged, and clusters of what was found."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._system import System
from luthier.decide.failures._causes import Judge, Judged
from luthier.decide.failures._clusters import Clusters
from luthier.decide.failures._documents import Facts
from luthier.decide.failures._probes import Probes
from luthier.decide.failures._references import References
from luthier.decide.failures._result import Failures
from luthier.evaluate import Record

EXAMINED = 40  # failed cases that are judged
PROBES = 3  # answers of the base for each of them, at most
HALF = 0.5  # a case of a graded task without a bar is failed below it

Records = Mapping[str, Sequence[Record]]


def most_probes(cases: int) -> int:
    """How many answers a diagnosis asks for at most, where so many cases are tested."""
    return PROBES * min(EXAMINED, cases)


def right_from(bench: Bench) -> float:
    """The score from which an answer counts as right: all of it where scores are 0 or 1; else the bar, or a half."""
    if bench.scorer.binary:
        return 1.0
    return HALF if bench.task.bar is None else bench.task.bar


def diagnose_failures(bench: Bench, systems: Mapping[str, System], records: Records, *, ask: bool) -> Failures | None:
    """Why the best measured rung fails the cases that it fails; None where nothing was measured.

    Args:
        bench: the task with its cases.
        systems: of the measured rungs.
        records: their answers to the test cases.
        ask: whether the base may be asked about cases that the answers of the rungs leave open.

    Raises:
        ModelError: the base failed on a question.
    """
    answered = {rung: {r.case: r for r in some} for rung, some in records.items() if some}
    if not answered:
        return None
    right, best = right_from(bench), _best(answered)
    cases = [case for case in bench.test if case.id in answered[best]]
    failed = [case for case in cases if answered[best][case.id].score < right]
    examined = _drawn(failed, bench.split.seed)
    probes = Probes(bench, systems)
    judged = _judged(bench, systems, answered, best, right, examined, probes if ask else None)
    costs = [record.cost for record in probes.records]
    return Failures(
        rung=best,
        right=right,
        answered=len(cases),
        failed=len(failed),
        examined=len(examined),
        clusters=Clusters(cases).of(judged),
        probes=len(probes.records),
        seconds=round(sum(record.seconds for record in probes.records), 3),
        usd=sum(cost for cost in costs if cost is not None) if costs and None not in costs else None,
    )


def _judged(
    bench: Bench,
    systems: Mapping[str, System],
    answered: Mapping[str, Mapping[str, Record]],
    best: str,
    right: float,
    examined: Sequence[Example],
    probes: Probes | None,
) -> list[Judged]:
    if not examined:
        return []
    facts = Facts(bench, systems)
    references = References(bench, examined, answered, best, right)
    return Judge(answered, best, right, bench.scorer, facts, references, probes).judge(examined)


def _best(answered: Mapping[str, Mapping[str, Record]]) -> str:
    """The rung with the highest mean; of equals the one with more answers, then the cheaper one."""

    def standing(rung: str) -> tuple[float, int]:
        scores = [record.score for record in answered[rung].values()]
        return sum(scores) / len(scores), len(scores)

    return max(answered, key=standing)


def _drawn(failed: Sequence[Example], seed: int) -> list[Example]:
    """At most so many failed cases as are judged, drawn at random, in the order of the cases."""
    if len(failed) <= EXAMINED:
        return list(failed)
    chosen = set(random.Random(f"failures {seed}").sample(range(len(failed)), EXAMINED))
    return [case for i, case in enumerate(failed) if i in chosen]
