"""A judge at the bench, the table that people label, and the verdict on their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.api._decisions import Decision, keep_decision
from luthier.data import content_hash
from luthier.decide import (
    ALL_LABELS,
    RUNG_LABELS,
    Evidence,
    JudgedStanding,
    Verdict,
    decide,
    judged_standing,
    rules_of,
    with_labels,
)
from luthier.errors import DataError, EvidenceError, ModelError, ScorerError
from luthier.evaluate import (
    Agreement,
    JudgeScorer,
    Record,
    ToLabel,
    answer_id,
    drawing_order,
    label_table,
    label_words,
    read_table,
)
from luthier.models import Budget, EndpointModel, Model, kinship, price_of
from luthier.spec import JudgeScore, Task
from luthier.store import Store, write_text_atomic

if TYPE_CHECKING:
    from luthier.api._project import Project

TABLE = "judged.csv"  # where no `calibration:` says another name


@dataclass(frozen=True)
class Sheet:
    """A table of answers to label. `rows` stand in it, `labelled` of them have a label; `words` are the labels."""

    file: Path
    rows: int
    labelled: int
    added: int
    words: tuple[str, ...]
    named: bool  # whether luthier.yaml names it

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"file": str(self.file)}


@dataclass(frozen=True)
class Calibration:
    """How far the judge agrees with people, over all rungs and by rung, and the verdict on its corrected scores."""

    overall: Agreement
    rungs: Mapping[str, Agreement]
    verdict: Verdict
    evidence: Evidence
    stale: int  # labels of answers that no measured rung gives any more
    behind_gaps: int  # labels that do not count yet, for an answer above them has none

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "overall": asdict(self.overall),
            "rungs": {rung: asdict(found) for rung, found in self.rungs.items()},
            "stale": self.stale,
            "behind_gaps": self.behind_gaps,
            "verdict": self.verdict.as_dict(),
        }


@dataclass(frozen=True)
class Labelling:
    """The labels of people that correct the judge of a project."""

    project: Project

    def sheet(self, answers: int | None = None) -> Sheet:
        """Write the table of answers to label; see `sample`."""
        with self.project.store.lock():
            return sample(self.project, answers)

    def next(self) -> NextLabel:
        """What is to be labelled next; see `next_label`."""
        return next_label(self.project)

    def put(self, key: str, label: str) -> None:
        """Write a label into the table; see `put_label`."""
        put_label(self.project, key, label)

    def calibrate(self) -> Calibration:
        """How far the judge agrees with the labels, and the verdict on its corrected scores; see `calibrate`."""
        with self.project.store.lock():
            return calibrate(self.project)


def seat(judge: JudgeScorer, bases: Sequence[Model], budget: Budget | None, task: Task, store: Store) -> None:
    """Let a judge judge the bases: of another family than its own, and within what the task may spend.

    Args:
        judge: the scorer.
        bases: the models whose answers it judges.
        budget: what the hosted ones of them may spend, which the judge shares; None where there is none.
        task: with the limit of what may be spent.
        store: knows what the judge has cost.

    Raises:
        ScorerError: the judge is of a base's family, and the task does not allow that.
        ModelError: it cannot be loaded, or has no price and the task a budget.
    """
    for base in bases:
        _refuse_kin(judge, base)
    if task.decide.budget is None or not isinstance(judge.model, EndpointModel):
        return
    price = price_of(judge.settings.model, task.prices)
    if price is None:
        raise ModelError(
            f"the price of the judge {judge.settings.model} is not known, and `decide: {{budget: ...}}` limits it too",
            fix="give its price in a sheet (`prices:` in luthier.yaml, docs/writing-a-task.md), or take `budget` out",
        )
    price = replace(price, input=max(price.input, price.write or 0.0))
    spent = judge.spent(store, price)
    own = Budget(task.decide.budget, price, spent) if budget is None else budget.shared(price, spent)
    judge.model.spend_within(own)


def _refuse_kin(judge: JudgeScorer, base: Model) -> None:
    found = kinship(judge.model, base)
    if found.same and not judge.settings.same_family:
        raise ScorerError(
            f"the judge {judge.settings.model} is of the family of the base {base.name}: {found.why}",
            why="a model prefers what a model like it wrote, which looks like a gain of the rungs that write like it",
            fix="name a judge of another family (score.model), or allow it: score: {same_family: true}",
        )


def sample(project: Project, answers: int | None) -> Sheet:
    """Write, or lengthen, the table of answers that people are to label.

    Cases are drawn at random, the same ones for every rung, so that pairs of rungs can be compared; an answer that
    several rungs give stands once. Nothing in the table says which rung gave an answer. Labels that stand there stay,
    and so does the order of the cases, so that a table that is labelled from the top has no gaps when it grows.

    Args:
        project: the task.
        answers: how many answers, over all rungs; None: the least that a verdict needs.

    Raises:
        EvidenceError: nothing was judged yet.
        DataError: the table that is there cannot be read.
    """
    settings, decision = _judged_task(project)
    rungs = [some for some in decision.records.values() if some]
    return write_sheet(project.task, settings, decision.cases, rungs, decision.split, answers)


def write_sheet(
    task: Task, settings: JudgeScore, cases: Sequence[Mapping[str, str]], rungs: Sequence[Sequence[Record]],
    split: str, answers: int | None = None,
) -> Sheet:  # fmt: skip
    """Write, or lengthen, the table of these answers; see `sample`.

    Args:
        task: whose table it is.
        settings: of the judge.
        cases: id, input and wanted output.
        rungs: the answers of each system.
        split: hash of the split, which the random order comes from.
        answers: how many, over all systems; None: the least that a verdict needs.

    Raises:
        DataError: the table that is there cannot be read.
    """
    file = _table(task, settings)
    each = max(RUNG_LABELS, math.ceil(ALL_LABELS / len(rungs))) if answers is None else math.ceil(answers / len(rungs))
    texts = {case["id"]: case for case in cases}
    there = {row.id: row for row in read_table(file)} if file.exists() else {}
    rows: dict[str, ToLabel] = {}
    said_by = [{record.case: record.answer for record in records} for records in rungs]
    for number, case in enumerate(drawing_order(split, texts)):
        keys = {answer_id(case, said[case]): said[case] for said in said_by if case in said}
        for key in sorted(keys):  # of one case in the order of hashes, which tells nothing of the rungs
            if key in there:
                rows[key] = there[key]
            elif number < each:
                rows[key] = ToLabel(key, texts[case]["input"], texts[case]["wanted"], keys[key])
    rows |= {key: row for key, row in there.items() if key not in rows}  # of answers that no rung gives any more
    write_text_atomic(file, label_table(list(rows.values())))
    labelled = sum(bool(row.label.strip()) for row in rows.values())
    words = tuple(label_words(settings))
    return Sheet(file, len(rows), labelled, len(rows) - len(there), words, settings.calibration is not None)


@dataclass(frozen=True)
class NextLabel:
    """The next answer of the table without a label, None where all have one, and how far the labelling is."""

    row: ToLabel | None
    labelled: int
    rows: int
    words: tuple[str, ...]
    rubric: str


def next_label(project: Project) -> NextLabel:
    """What is to be labelled next; the rows of the table stand in random order.

    Raises:
        EvidenceError: no judge scores this task.
        DataError: there is no table, or it cannot be read.
    """
    settings = _settings(project)
    rows = read_table(_table(project.task, settings))
    left = [row for row in rows if not row.label.strip()]
    words = tuple(label_words(settings))
    return NextLabel(left[0] if left else None, len(rows) - len(left), len(rows), words, settings.rubric)


def put_label(project: Project, key: str, label: str) -> None:
    """Write a label into the table.

    Raises:
        EvidenceError: no judge scores this task.
        DataError: the label means nothing, or no answer in the table has that id.
    """
    settings = _settings(project)
    file = _table(project.task, settings)
    rows = read_table(file)
    if label not in label_words(settings) or key not in {row.id for row in rows}:
        raise DataError(f"{key[:40]!r} cannot be labelled {label[:40]!r}", fix="go back to the page and choose again")
    write_text_atomic(file, label_table([replace(row, label=label) if row.id == key else row for row in rows]))


def calibrate(project: Project) -> Calibration:
    """Read the labels, correct the judge by them, and take the verdict again; no model is asked.

    The decision with its new labels becomes the latest one.

    Raises:
        EvidenceError: nothing was judged yet, or luthier.yaml names no table.
        DataError: labels that cannot be used, with their lines.
    """
    settings, decision = _judged_task(project)
    if settings.calibration is None:
        raise EvidenceError(
            "luthier.yaml names no table of labels",
            fix=f"luthier judge --sample 60, then: score: {{kind: judge, ..., calibration: {TABLE}}}",
        )
    labelled = {row.id for row in read_table(settings.calibration) if row.label.strip()}
    evidence = with_labels(decision.evidence, settings, decision.records, decision.split)
    verdict = decide(rules_of(project.task), evidence)
    keep_decision(replace(decision, evidence=evidence, verdict=verdict), project.store)
    given = {answer_id(r.case, r.answer) for some in decision.records.values() for r in some}
    used = set()
    if evidence.judge is not None:
        for rung, found in evidence.judge.labels.items():
            used |= {answer_id(r.case, r.answer) for r in decision.records[rung] if r.case in found}
    field = standing_of(project.task, evidence)
    rungs = {rung.rung: field.agreement(rung) for rung in field.measured}
    return Calibration(field.agreement(), rungs, verdict, evidence, len(labelled - given), len(labelled & given - used))


def standing_of(task: Task, evidence: Evidence) -> JudgedStanding:
    """The standing of evidence that a judge gave."""
    assert evidence.judge is not None  # asked for by the caller
    return judged_standing(rules_of(task), evidence, evidence.judge)


def _table(task: Task, settings: JudgeScore) -> Path:
    return settings.calibration or task.folder / TABLE


def _settings(project: Project) -> JudgeScore:
    settings = project.task.score
    if not isinstance(settings, JudgeScore):
        raise EvidenceError(
            f"the score of this task is `{settings.kind}`, which needs no labels of people",
            fix="luthier decide; a judge is asked for with score: {kind: judge, ...}",
        )
    return settings


def _judged_task(project: Project) -> tuple[JudgeScore, Decision]:
    settings, decision = _settings(project), project.decision()
    judge = decision.evidence.judge
    now = (settings.model, content_hash(settings.rubric), settings.scale, settings.mode)
    if judge is None or (judge.model, judge.rubric, judge.scale, judge.mode) != now:
        raise EvidenceError("the last decision was not taken with this judge and rubric", fix="luthier decide")
    return settings, decision
