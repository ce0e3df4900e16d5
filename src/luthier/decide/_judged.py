"""What the verdict has to know of a judge: who it is, how it kept to its form, and what people said of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from luthier.decide._bench import Bench
from luthier.decide._evidence import Comparison, Evidence, JudgeEvidence, Rules, RungEvidence
from luthier.decide._judged_standing import RUNG_LABELS, judged_standing
from luthier.evaluate import JudgeScorer, Record, drawing_order, read_labels, usable_labels
from luthier.models import Kinship, kinship, price_of
from luthier.spec import JudgeScore


def judge_evidence(bench: Bench, records: Mapping[str, Sequence[Record]]) -> JudgeEvidence | None:
    """What is known about the judge of the bench, with the labels that are there; None where no model judges.

    Raises:
        ScorerError: it left too many answers unjudged.
        DataError: the table of labels cannot be used.
    """
    judge = bench.scorer
    if not isinstance(judge, JudgeScorer):
        return None
    judge.demand_form()
    price = price_of(judge.settings.model, bench.task.prices)
    return JudgeEvidence(
        model=judge.settings.model,
        served=dict(judge.served),
        rubric=judge.rubric_hash,
        scale=judge.settings.scale,
        mode=judge.settings.mode,
        kin=said_of_family(bench, judge),
        unjudged=dict(judge.unjudged),
        usd=None if price is None else judge.spent(bench.store, price),
        labels=labels_of(judge.settings, records, bench.split.hash),
        by_length=by_length(bench, records) if judge.settings.mode == "pairwise" else {},
    )


@dataclass(frozen=True)
class JudgedPair:
    """Two systems under a judge, corrected by labels.

    `unsettled` says why nothing follows; empty where the first is shown to be worse by more than the margin, or not to
    be. `wanted` is how many cases should have labels of both answers then; None where no number would help.
    """

    comparison: Comparison
    unsettled: str = ""
    wanted: int | None = None


def judged_pair(
    bench: Bench, rules: Rules, evidence: Evidence, pair: tuple[RungEvidence, RungEvidence],
    records: Mapping[str, Sequence[Record]],
) -> JudgedPair:  # fmt: skip
    """Two systems as people would see them: whether the first is worse by more than the margin.

    Args:
        bench: whose scorer is the judge.
        rules: of the task.
        evidence: of the ladder that the first of the pair stands on.
        pair: two systems with the judge's scores of the same cases, in the order of their records.
        records: the answers of both, by the names of the rungs; the labels are those of these answers.

    Raises:
        ScorerError: the judge left too many answers unjudged.
        DataError: the table of labels cannot be used.
    """
    judge = bench.scorer
    assert isinstance(judge, JudgeScorer) and evidence.judge is not None  # asked for by the caller
    judge.demand_form()
    a, b = pair
    cases = tuple(record.case for record in records[a.rung])
    known = replace(
        evidence.judge,
        served=dict(judge.served),
        labels=labels_of(judge.settings, records, bench.split.hash),
        by_length={},
    )
    groups = tuple(bench.groups[case] for case in cases)
    both = replace(evidence, cases=cases, groups=groups, rungs=pair, judge=known)
    field = judged_standing(rules, both, known)
    found, refused = field.comparison(a, b), field.refused(a) or field.refused(b)
    have = len(known.labels[a.rung].keys() & known.labels[b.rung].keys())
    if refused and len(known.served) > 1:  # of two judges, which no label mends
        return JudgedPair(found, refused)
    if refused:  # a judge that agrees too little has no say once every answer has a label
        wanted = RUNG_LABELS if have < RUNG_LABELS else len(cases)
        return JudgedPair(found, refused, wanted if have < wanted else None)
    if found.low >= -rules.margin or found.high < -rules.margin:
        return JudgedPair(found)
    more = field.labels_to_compare(a, b)
    if more is None:
        return JudgedPair(found, "labels of these cases alone will not settle it: add test cases")
    return JudgedPair(found, f"about {more:,} more cases with both answers labelled would settle it", have + more)


def by_length(bench: Bench, records: Mapping[str, Sequence[Record]]) -> dict[str, tuple[float, ...]]:
    """The judge's mean score by thirds of the difference in length (characters), the least first."""
    wanted = {case.id: len(case.output) for case in bench.test}
    found = {}
    for rung, some in records.items():
        ordered = sorted(some, key=lambda record: abs(len(record.answer) - wanted[record.case]))
        cuts = [len(ordered) * third // 3 for third in range(4)]
        thirds = [ordered[a:b] for a, b in pairwise(cuts) if b > a]
        found[rung] = tuple(sum(record.score for record in third) / len(third) for third in thirds)
    return found


def labels_of(settings: JudgeScore, records: Mapping[str, Sequence[Record]], split: str) -> dict[str, dict[str, float]]:
    """People's scores by rung and case, from the table that the task names; empty where there is none yet.

    Raises:
        DataError: the table cannot be used.
    """
    if settings.calibration is None or not settings.calibration.exists():
        return {}
    scores = read_labels(settings.calibration, settings).scores
    answers = {rung: {record.case: record.answer for record in some} for rung, some in records.items()}
    return {rung: usable_labels(scores, said, drawing_order(split, said)) for rung, said in answers.items()}


def with_labels(
    evidence: Evidence, settings: JudgeScore, records: Mapping[str, Sequence[Record]], split: str
) -> Evidence:
    """The evidence with the labels that the table holds now.

    Raises:
        DataError: the table cannot be used.
    """
    assert evidence.judge is not None  # asked for by the caller
    return replace(evidence, judge=replace(evidence.judge, labels=labels_of(settings, records, split)))


def said_of_family(bench: Bench, judge: JudgeScorer) -> str:
    """What a reader has to know: that the judge is of the base's family, or that this could not be told."""
    said = [_said_of(kinship(judge.model, one.base)) for one in bench.each]
    return "; ".join(dict.fromkeys(line for line in said if line))


def _said_of(found: Kinship) -> str:
    if found.same is None:
        return f"whether it is of another family than the base is not known ({found.why}); a judge may prefer its own"
    if found.same:
        return f"it is of the base's family ({found.why}), which `same_family: true` allows: it may prefer its own"
    return ""
