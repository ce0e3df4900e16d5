"""The search for better instructions by GEPA, a package of its own; `decide: {search: gepa}` asks for it.

GEPA (Agrawal et al. 2025) shows a model the answers to three cases and lets it rewrite the instructions. What does
better on these is tried on all cases, and the next to be rewritten is drawn from those that are best on some case.
Here its cases are the first part of a contest, which also answers, counts and judges: all answers are kept, so a run
that is taken up again goes the same way. Imported only for such a search, as the package is an optional part.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from gepa.api import optimize
from gepa.core.adapter import EvaluationBatch, ProposalFn
from gepa.strategies.instruction_proposal import InstructionProposalSignature

from luthier.data import Example
from luthier.decide._choose import Candidate
from luthier.decide._contest import Contest
from luthier.decide._propose import GEPA_TOKENS, SHOWN, cleaned, cut, write
from luthier.errors import TooLongError
from luthier.evaluate import Record, Scorer

PART = "instructions"  # what is rewritten, as GEPA names it
AT_ONCE = 3  # cases that a rewriting is made from and first tried on: GEPA's default
FRUITLESS = 10  # rewritings in a row that were no new text
IDLE = 10  # rounds in a row that asked for nothing, for each case

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """A case with its answer, and what the writer is told of it."""

    case: Example
    answer: str
    score: float
    feedback: str


class _Enough(Exception):
    """GEPA asks for more answers than may be asked for."""


class _Failure:
    """Keeps the error that leaves its block."""

    error: BaseException | None = None

    def __enter__(self) -> None:
        """Nothing: an error is met at the end."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.error = error


class _Log:
    def log(self, message: str) -> None:
        """GEPA prints what it does unless it is given a place for it."""
        log.debug("%s", message)


def search_by_gepa(contest: Contest) -> None:
    """Let GEPA rewrite the plain instructions; what it tries on all cases of the first part enters the contest.

    Raises:
        ModelError: a model failed.
        BudgetError: it may not be asked any more; what had entered stays.
    """
    if not contest.entered:  # the plain instructions do not fit the model
        return
    contest.search = f"gepa {version('gepa')}"
    adapter = Adapter(contest)
    with suppress(_Enough):
        optimize(
            seed_candidate={PART: contest.plain.system.setup.instructions},
            trainset=list(contest.first),
            adapter=adapter,
            custom_candidate_proposer=adapter.rewritten,
            reflection_minibatch_size=AT_ONCE,
            stop_callbacks=adapter.is_over,
            logger=_Log(),
            track_best_outputs=False,
            seed=contest.bench.split.seed,
        )
    if isinstance(adapter.error, TooLongError):
        contest.note = f"no more was written: {adapter.error.what}"
    elif adapter.error is not None:
        raise adapter.error


class Adapter:
    """What GEPA asks: answers to cases with some instructions, what to tell of them, new instructions, and an end.

    Answers that are known in this contest do not count again.
    """

    propose_new_texts: ProposalFn | None = None  # GEPA looks for it; `rewritten` is handed over instead

    def __init__(self, contest: Contest) -> None:
        self._contest, self._failure = contest, _Failure()
        self._room = 1 + len(contest.first)  # answers that a round may take: a rewriting, tried on all cases
        plain = contest.plain.system
        records = contest.known(plain)
        self._seen = {plain.setup.instructions: dict(map(self._told, contest.first, records))}
        self._made = {plain.setup.instructions: Candidate("the plain one", plain)}
        self._rows: dict[str, dict[str, Any]] = {}
        self._asked, self._idle, self._fruitless = 0, 0, 0

    @property
    def error(self) -> BaseException | None:
        """What kept the writer from writing."""
        return self._failure.error

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> EvaluationBatch[Seen, str]:
        """Answers and scores of these cases; traces are always given.

        Raises:
            _Enough: more answers would be needed than may be asked for.
        """
        text = candidate[PART]
        seen = self._seen.setdefault(text, {})
        new = {case.id: case for case in batch if case.id not in seen}
        if len(new) > self._contest.left:
            raise _Enough
        if new:
            self._answer(text, list(new.values()))
        found = [seen[case.id] for case in batch]
        return EvaluationBatch([one.answer for one in found], [one.score for one in found], found)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: EvaluationBatch[Seen, str], components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What the writer reads of each case, by the names that GEPA gives these things."""
        rows = [
            {
                "Inputs": cut(seen.case.input_text, SHOWN),
                "Generated Outputs": cut(seen.answer, SHOWN),
                "Feedback": seen.feedback,
            }
            for seen in eval_batch.trajectories or ()
        ]
        return {PART: rows}

    def rewritten(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """New instructions, or nothing where the answer was cut off or empty, or may not be asked for."""
        if self.error is not None or self._contest.left < 1:
            return {}
        with self._failure:  # GEPA logs whatever is raised here, tries again and goes on
            text = self._written(candidate[PART], reflective_dataset[PART])
        return {PART: text} if text else {}

    def is_over(self, gepa_state: object) -> bool:
        """Whether another round could not be paid for, or would bring nothing."""
        contest = self._contest
        self._idle = self._idle + 1 if contest.asked == self._asked else 0
        self._asked = contest.asked
        if max(score for score, _ in contest.entered) >= 1:
            contest.note = "the best instructions fail at none of the cases to learn from"
        elif self._fruitless >= FRUITLESS:
            contest.note = f"{FRUITLESS} rewritings in a row brought nothing new"
        elif self._idle >= IDLE * len(contest.first):
            contest.note = "no failures were found that are left to learn from"
        else:
            return self.error is not None or contest.left < self._room
        return True

    def _written(self, parent: str, dataset: Sequence[Mapping[str, Any]]) -> str:
        """GEPA's own question about the parent, put to the writer; what it reads in the answer."""
        contest = self._contest
        contest.asked += 1
        question = InstructionProposalSignature.prompt_renderer(
            {"current_instruction_doc": parent, "dataset_with_feedback": dataset, "prompt_template": None}
        )
        [answer] = write(contest.bench, [str(question)], GEPA_TOKENS)
        text = cleaned(InstructionProposalSignature.output_extractor(answer.strip())["new_instruction"])
        if not text or text in self._made:
            self._fruitless += 1
            return text
        self._fruitless = 0
        self._made[text] = contest.told(f"rewritten by GEPA, {len(self._made)}", text)
        made = f"rewritten from {self._made[parent].label}"
        self._rows[text] = {"candidate": self._made[text].label, "made": made, "instructions": text}
        return text

    def _answer(self, text: str, cases: Sequence[Example]) -> None:
        """Answer cases that are new to these instructions; once all are answered, they enter the contest."""
        contest, seen, row, candidate = self._contest, self._seen[text], self._rows[text], self._made[text]
        try:
            seen |= map(self._told, cases, contest.records(candidate.system, cases))
        except TooLongError as error:
            row["dropped"] = error.what
            seen |= {case.id: Seen(case, "", 0.0, error.what) for case in cases}
        mean = sum(one.score for one in seen.values()) / len(seen)
        if "cases" not in row:
            contest.table.append(row)
        row |= {"cases": len(seen), "score": None if "dropped" in row else mean}
        if len(seen) == len(contest.first) and "dropped" not in row:
            contest.entered.append((mean, candidate))
        contest.bench.progress(f"optimising {contest.what}", contest.asked, contest.allowed, candidate.label)

    def _told(self, case: Example, record: Record) -> tuple[str, Seen]:
        return case.id, Seen(case, record.answer, record.score, feedback(case, record, self._contest.bench.scorer))


def feedback(case: Example, record: Record, scorer: Scorer) -> str:
    """What is said of an answer: whether it is right, what the scorer notes, and what was wanted."""
    if record.score >= 1:
        return "This answer is right."
    notes = "".join(f", {name} {value:.2f}" for name, value in record.details.items())
    said = [f"This answer is not right (score {record.score:.2f} of 1{notes})."]
    if record.finish == "length":
        said.append("It was cut off, as it is too long.")
    if record.details.get("valid") == 0:
        said.append(f"Its form is wrong: {cut(scorer.wanted_is_valid(record.answer) or 'it is not valid', SHOWN)}.")
    return " ".join([*said, f"The wanted answer: {cut(case.output, SHOWN)}"])
