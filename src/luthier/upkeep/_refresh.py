"""Doing it all again on another base or with new data, and comparing with what is in service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from luthier.decide import Bench, Climb, Climbed, Comparison, Verdict, climb, decide, rules_of, too_slow
from luthier.errors import EvidenceError
from luthier.evaluate import Record, compare, measure


@dataclass(frozen=True)
class Refreshed:
    """A refreshed system beside the champion.

    `comparison` is paired on the common test cases, new minus champion; `not_worse` holds when the lower bound of its
    95 % interval is above minus the margin and the task's limits of latency are kept.
    """

    climbed: Climbed
    verdict: Verdict
    rung: str
    base: str
    records: tuple[Record, ...]
    comparison: Comparison
    margin: float
    not_worse: bool
    reason: str


def refresh(
    bench: Bench, champion: Mapping[str, float], champion_method: str, champion_base: str | None = None
) -> Refreshed:
    """Climb the whole ladder again on the bench's base and compare the outcome with the champion, case by case.

    The cheapest rung that meets the bar is the candidate; where none does, the champion's own method, else the best
    rung. A new base often makes a cheaper rung adequate: then the adapter is retired.

    Args:
        bench: on the new base, with the same test cases.
        champion: score of the champion by case id.
        champion_method: the champion's method.
        champion_base: identity of its base; None where another one is to take its place.

    Raises:
        EvidenceError: fewer than 8 test cases are shared with the champion's.
    """
    common = [case for case in bench.test if case.id in champion]
    if len(common) < 8:
        raise EvidenceError(
            f"only {len(common)} of the champion's {len(champion)} test cases are still among the test cases",
            why="a paired comparison needs the same cases",
            fix="put the old rows back into the examples: the frozen split keeps them as test cases",
        )
    climbed = climb(bench, Climb())
    rules = rules_of(bench.task)
    verdict = decide(rules, climbed.evidence)
    rung = verdict.rung or _fallback(climbed, champion_method, champion_base)
    records = measure(climbed.systems[rung], bench.test, bench.scorer, bench.store)
    new = {record.case: record.score for record in records}
    paired = compare(
        [new[case.id] for case in common],
        [champion[case.id] for case in common],
        [bench.groups[case.id] for case in common],
        binary=bench.scorer.binary,
        alpha=0.025,
    )
    system = climbed.systems[rung]
    comparison = Comparison(
        f"{system.setup.method} on {system.setup.base}",
        f"champion ({champion_method})",
        paired.n,
        paired.difference,
        paired.low,
        paired.high,
        paired.p,
        paired.test,
    )
    slow = next((too_slow(r, bench.task.latency) for r in climbed.evidence.rungs if r.rung == rung), "")
    not_worse = comparison.low >= -rules.margin and not slow
    reason = f"too slow: {slow}; the champion stays" if slow else _reason(comparison, rules.margin)
    return Refreshed(
        climbed, verdict, rung, system.setup.base, tuple(records), comparison, rules.margin, not_worse, reason
    )


def _fallback(climbed: Climbed, champion_method: str, champion_base: str | None) -> str:
    """The champion's method on its own base where that was climbed, else its method, else the best rung."""
    same = [rung for rung, system in climbed.systems.items() if system.setup.method == champion_method]
    own = [rung for rung in same if climbed.systems[rung].setup.base_identity == champion_base]
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
