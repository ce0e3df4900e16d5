"""Doing it all again on another base or with new data, and comparing with what is in service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.data import Example
from luthier.decide import (
    Bench,
    Climb,
    Climbed,
    Comparison,
    JudgedPair,
    RungEvidence,
    Verdict,
    climb,
    decide,
    judged_pair,
    rules_of,
    too_slow,
)
from luthier.errors import EvidenceError
from luthier.evaluate import JudgeScorer, Record, compare, measure
from luthier.spec import MethodName

CHAMPION = "the champion"  # its name among the rungs, where people label answers


@dataclass(frozen=True)
class Champion:
    """What is in service: its answers to the test cases of its day, its method, and the identity of its base.

    `base` is None where another base is to take its place.
    """

    records: tuple[Record, ...]
    method: MethodName
    base: str | None = None


@dataclass(frozen=True)
class Refreshed:
    """A refreshed system beside the champion.

    `comparison` is paired on the common test cases, new minus champion; `not_worse` holds when the lower bound of its
    95 % interval is above minus the margin and the task's limits of latency are kept. `champion` are the champion's
    records on these cases. `labels_wanted` is how many cases need labels of both answers before a judge's scores
    compare the two; None where they do, where no number would help, or where no model gave the scores.
    """

    climbed: Climbed
    verdict: Verdict
    rung: str
    base: str
    records: tuple[Record, ...]
    champion: tuple[Record, ...]
    comparison: Comparison
    margin: float
    not_worse: bool
    reason: str
    labels_wanted: int | None = None


def refresh(bench: Bench, champion: Champion) -> Refreshed:
    """Climb the whole ladder again on the bench's base and compare the outcome with the champion, case by case.

    The cheapest rung that meets the bar is the candidate; where none does, the champion's own method, else the best
    rung. A new base often makes a cheaper rung adequate: then the adapter is retired. A judge's scores compare the two
    only as far as labels of people, of answers of both, correct them.

    Args:
        bench: on the new base, with the same test cases.
        champion: what is in service.

    Raises:
        EvidenceError: fewer than 8 test cases are shared with the champion's.
        ScorerError: a judge left too many answers unjudged.
        DataError: the table of labels cannot be used.
    """
    before = {record.case: record for record in champion.records}
    common = [case for case in bench.test if case.id in before]
    if len(common) < 8:
        raise EvidenceError(
            f"only {len(common)} of the champion's {len(before)} test cases are still among the test cases",
            why="a paired comparison needs the same cases",
            fix="put the old rows back into the examples: the frozen split keeps them as test cases",
        )
    climbed = climb(bench, Climb())
    rules = rules_of(bench.task)
    verdict = decide(rules, climbed.evidence)
    rung = verdict.rung or _fallback(climbed, champion)
    records = measure(climbed.systems[rung], bench.test, bench.scorer, bench.store)
    known = {record.case: record for record in records}
    new, old = [known[case.id] for case in common], _judged_again(bench, common, [before[case.id] for case in common])
    setup = climbed.systems[rung].setup
    judged = isinstance(bench.scorer, JudgeScorer)
    pair = _by_labels(bench, climbed, rung, new, old, champion.method) if judged else _by_scores(bench, new, old)
    a, b = f"{setup.method} on {setup.base}", f"champion ({champion.method})"
    comparison = replace(pair.comparison, a=a, b=b)
    slow = next((too_slow(r, bench.task.latency) for r in climbed.evidence.rungs if r.rung == rung), "")
    said = "; ".join(filter(None, (_reason(comparison, rules.margin), pair.unsettled)))
    return Refreshed(
        climbed=climbed,
        verdict=verdict,
        rung=rung,
        base=setup.base,
        records=tuple(records),
        champion=tuple(old),
        comparison=comparison,
        margin=rules.margin,
        not_worse=comparison.low >= -rules.margin and not slow,
        reason=f"too slow: {slow}; the champion stays" if slow else said,
        labels_wanted=None if slow else pair.wanted,
    )


def _by_scores(bench: Bench, new: Sequence[Record], old: Sequence[Record]) -> JudgedPair:
    found = compare(
        [record.score for record in new],
        [record.score for record in old],
        [bench.groups[record.case] for record in new],
        binary=bench.scorer.binary,
        alpha=0.025,
    )
    return JudgedPair(Comparison("", "", found.n, found.difference, found.low, found.high, found.p, found.test))


def _by_labels(
    bench: Bench, climbed: Climbed, rung: str, new: Sequence[Record], old: Sequence[Record], method: MethodName
) -> JudgedPair:
    """The comparison that labels of both support."""
    candidate = next(one for one in climbed.evidence.rungs if one.rung == rung)
    pair = (
        replace(candidate, scores=tuple(record.score for record in new)),
        RungEvidence(CHAMPION, method, "", "", tuple(record.score for record in old)),
    )
    answers = {rung: new, CHAMPION: old}
    return judged_pair(bench, rules_of(bench.task), climbed.evidence, pair, answers)


def _judged_again(bench: Bench, cases: Sequence[Example], records: Sequence[Record]) -> list[Record]:
    """The champion's records, with what today's judge says of the same answers where a model judges."""
    judge = bench.scorer
    if not isinstance(judge, JudgeScorer):
        return list(records)
    answers = [(case, record.answer) for case, record in zip(cases, records, strict=True)]
    judge.judge(answers, bench.store)
    scored = [judge.judged(case, answer) for case, answer in answers]
    return [replace(r, score=s.value, details=s.details) for r, s in zip(records, scored, strict=True)]


def _fallback(climbed: Climbed, champion: Champion) -> str:
    """The champion's method on its own base where that was climbed, else its method, else the best rung."""
    same = [rung for rung, system in climbed.systems.items() if system.setup.method == champion.method]
    own = [rung for rung in same if climbed.systems[rung].setup.base_identity == champion.base]
    if same:
        return (own or same)[0]
    return max(climbed.records, key=lambda r: sum(x.score for x in climbed.records[r]) / len(climbed.records[r]))


def _reason(comparison: Comparison, margin: float) -> str:
    interval = f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}] on {comparison.n} cases"
    if comparison.low >= -margin:
        return f"not worse than the champion by more than {margin:g}: {interval}"
    if comparison.high < -margin:
        return f"worse than the champion: {interval}"
    return f"not shown to be within {margin:g} of the champion: {interval}; the champion stays"
