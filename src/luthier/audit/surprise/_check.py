"""Findings on answers that other rows' answers beat under their own prompt: they probably belong elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luthier.audit._finding import Dataset, Finding, Sample, finding, sample
from luthier.audit.knowledge import local
from luthier.audit.personal import veiled
from luthier.audit.surprise._asked import Asker, Scores
from luthier.audit.surprise._doubt import SKILL, Doubts, doubts
from luthier.audit.surprise._trials import Rows, Trial
from luthier.data import Example, normalise

if TYPE_CHECKING:
    from luthier.audit._deep import Instruments

LEAST = 40  # rows with answers of their own
DISTINCT = 0.5  # of the rows; with fewer different answers they are labels, which `wrong-label` judges
SAMPLES = 10
EXCERPT = 60  # characters of an answer that would fit better

ELSEWHERE = "ask a model on this machine: set base to one in a copy of luthier.yaml, and run luthier check --deep there"
ROOMIER = "use a base with more room, or add rows"


@dataclass(frozen=True)
class Judged:
    """What the base found of rows and what is doubtful in them; `asked` are those that `others` of trials count in."""

    asked: Sequence[Example]
    trials: Sequence[Trial]
    scores: Sequence[Scores]
    doubts: Doubts


def check_surprise(data: Dataset, instruments: Instruments) -> Iterable[Finding]:
    """Sampled rows whose answer fits their input worse than right answers do, and no better than other rows' answers.

    Raises:
        ModelError: the base cannot be loaded, or its template refuses a conversation.
        RetrievalError: the embedder cannot be read.
    """
    pool = [e for e in data.everything if e.output.strip()]
    if data.task.score.kind == "label" or len({normalise(e.output) for e in pool}) < max(LEAST, DISTINCT * len(pool)):
        return
    model = local(instruments.model)
    if model is None:
        yield _not_judged(f"{data.task.base} does not say how likely it finds a text", ELSEWHERE)
        return
    rows = rows_of(data, instruments)
    asker = Asker(model, data.task.instructions, instruments.store, instruments.progress)
    judged = judge(rows, rows.sample(data.task.split.seed), asker)
    if judged is None:
        yield _not_judged("too few rows have an answer of their own and are short enough for the base", ROOMIER)
        return
    yield from findings_of(judged, len(pool))


def rows_of(data: Dataset, instruments: Instruments) -> Rows:
    """All rows, with the vectors of their families: one input of each is embedded."""
    first: dict[int, int] = {}
    for i, family in enumerate(data.families):
        first.setdefault(family, i)
    vectors = instruments.vectors([data.everything[i].input_text for i in first.values()])
    place = {family: number for number, family in enumerate(first)}
    return Rows(data.everything, data.families, vectors[[place[family] for family in data.families]])


def judge(rows: Rows, chosen: Sequence[int], asker: Asker) -> Judged | None:
    """What is doubtful in the chosen rows; None where too few of them can be asked about.

    Raises:
        ModelError: the base's template refuses a conversation.
    """
    trials = rows.trials(chosen)
    found = asker.ask(trials, [rows.examples[i].output for i in chosen], "ask the base for answers of other rows")
    scores = {place: one for place, one in enumerate(found) if one is not None}
    tried = _among_themselves({place: _pairs(trials[place], one) for place, one in scores.items()})
    if len(tried) < LEAST:
        return None
    number = {place: n for n, place in enumerate(tried)}
    judged = doubts(
        [scores[place].own for place in tried],
        [[score for _, score in pairs] for pairs in tried.values()],
        [[number[other] for other, _ in pairs] for pairs in tried.values()],
    )
    return Judged([rows.examples[i] for i in chosen], [trials[i] for i in tried], [scores[i] for i in tried], judged)


def _pairs(trial: Trial, scores: Scores) -> list[tuple[int, float]]:
    return list(zip(trial.others, scores.others, strict=True))


def _among_themselves(tried: dict[int, list[tuple[int, float]]]) -> dict[int, list[tuple[int, float]]]:
    """Without rows that could not be asked about, as others too, and without those that have fewer than two left."""
    while True:
        inside = {place: [pair for pair in pairs if pair[0] in tried] for place, pairs in tried.items()}
        kept = {place: pairs for place, pairs in inside.items() if len(pairs) > 1}
        if len(kept) == len(tried):
            return kept
        tried = kept


def findings_of(judged: Judged, total: int) -> Iterable[Finding]:
    """The findings that judged rows amount to; `total` is the number of rows that they were drawn from."""
    found = judged.doubts
    looked = f"{len(judged.trials):,} of {total:,} rows were looked at"
    if found.skill < SKILL:
        reason = (
            f"{looked}: in {found.skill:.0%} of the cases only a row's own answer fits it better than another row's, as"
            " the base finds (a guess: 50%): it cannot tell them apart, or most of them belong to other rows"
        )
        yield _not_judged(reason, "look at ten rows: do the answers fit? If they do, a larger base may tell (base: …)")
    elif found.listed:
        listed = [judged.trials[i].row for i in found.listed]
        sure = sum(found.wrong[i] for i in found.listed) / len(listed)
        reason = (
            f"answers that fit their input no better than other rows' answers do, as the base finds that has read the"
            f" nearest other rows; {looked}; about {found.rate:.1%} of the answers belong elsewhere, as estimated"
            f" (95% interval {found.low:.1%} to {found.high:.1%}), and {sure:.0%} of the rows listed here"
        )
        fix = "look at each, the worst first: were rows shifted, joined wrongly or swapped? Then repair what wrote them"
        yield finding("surprising-answer", "harms", listed, reason, fix, samples=_samples(judged))


def _samples(judged: Judged) -> list[Sample]:
    return [_sample(judged, i) for i in judged.doubts.listed[:SAMPLES]]


def _sample(judged: Judged, index: int) -> Sample:
    trial, scores = judged.trials[index], judged.scores[index]
    better = sum(score > scores.own for score in scores.others)
    remark = f"{better} of {len(scores.others)} other answers are likelier here"
    if better:
        other = judged.asked[trial.others[int(np.argmax(scores.others))]]
        shown = veiled(" ".join(other.output.split()))
        remark += (
            f", most of all that of {other.source}: {shown if len(shown) <= EXCERPT else shown[: EXCERPT - 1] + '…'}"
        )
    return sample(trial.row, remark=remark)


def _not_judged(reason: str, fix: str) -> Finding:
    return finding("answers-not-judged", "note", (), reason, fix)
