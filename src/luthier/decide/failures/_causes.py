"""The cause of each failed case: from the answers of the rungs first, then from a few questions to the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.data import Example
from luthier.decide.failures._documents import Facts, Looked
from luthier.decide.failures._form import mended
from luthier.decide.failures._probes import Probes
from luthier.decide.failures._references import References
from luthier.decide.failures._result import Cause
from luthier.evaluate import Record, Scorer

NOWHERE = "in no document"
NO_DOCUMENTS = "no documents are given"
NOT_FOUND = "the search did not find it"
NOT_SEARCHED = "no measured rung searched the documents"
UNREAD = "it was found, and the answer does not use it"


@dataclass(frozen=True)
class Judged:
    """A failed case with its cause. `detail` tells causes of one kind apart, `why` is about this case alone."""

    case: Example
    record: Record
    cause: Cause
    detail: str
    why: str = ""


class Judge:
    """Finds causes.

    Args:
        records: of every measured rung, by case id.
        best: the best measured rung, whose failures are judged.
        right: the score from which an answer is right.
        scorer: scores mended answers.
        facts: what cases need, and what documents hold.
        references: which wanted answers look wrong.
        probes: asks the base; None where nothing more may be asked.
    """

    def __init__(
        self,
        records: Mapping[str, Mapping[str, Record]],
        best: str,
        right: float,
        scorer: Scorer,
        facts: Facts,
        references: References,
        probes: Probes | None,
    ) -> None:
        self._records, self._best, self._right, self._scorer = records, best, right, scorer
        self._facts, self._references, self._probes = facts, references, probes

    def judge(self, cases: Sequence[Example]) -> list[Judged]:
        """The cases with their causes, in their order."""
        found = {case.id: judged for case in cases if (judged := self._by_answers(case)) is not None}
        left = [case for case in cases if case.id not in found]
        looked = {case.id: self._facts.looked_up(case) for case in left if self._facts.needed(case)}
        if self._probes is None:
            found |= {case.id: self._unasked(case, looked.get(case.id)) for case in left}
        else:
            found |= self._asked(left, looked, self._probes)
        return [found[case.id] for case in cases]

    def _by_answers(self, case: Example) -> Judged | None:
        """What the answers of the rungs tell: a broken form, a rung that gets it, a wrong reference."""
        record = self._records[self._best][case.id]
        form = mended(record, case.output, self._scorer, self._right)
        if form is not None:
            return Judged(case, record, "format", form.kind)
        for rung, some in self._records.items():
            other = some.get(case.id)
            if rung != self._best and other is not None and self._gets(other, case):
                return Judged(case, record, "another rung helps", rung, f"{rung} answers {other.answer.strip()!r}")
        wrong = self._references.wrong(case, self._facts)
        return None if wrong is None else Judged(case, record, "wrong reference", "", wrong)

    def _gets(self, record: Record, case: Example) -> bool:
        """Whether an answer has the right content, in whatever form."""
        return record.score >= self._right or mended(record, case.output, self._scorer, self._right) is not None

    def _unasked(self, case: Example, looked: Looked | None, why: str = "") -> Judged:
        """The cause as far as it is known without asking the base, and why it was not asked."""
        record = self._records[self._best][case.id]
        if looked is None:
            return Judged(case, record, "open", "the base was not asked", why)
        return self._of_fact(case, looked, record)

    def _asked(self, cases: Sequence[Example], looked: Mapping[str, Looked], probes: Probes) -> dict[str, Judged]:
        """The causes of cases that the answers of the rungs leave open."""
        shown = probes.shown([case for case in cases if case.id not in self._records.get("few-shot nearest", {})])
        passages = {key: look.passage for key, look in looked.items() if look.passage is not None}
        given = probes.given([case for case in cases if case.id in passages], passages)
        closed = probes.instructed([case for case in cases if case.id not in self._records.get("prompt", {})])
        if probes.stopped:  # what was not asked does not tell what is beyond the base
            return {case.id: self._unasked(case, looked.get(case.id), probes.stopped) for case in cases}
        found = {}
        for case in cases:
            record = self._records[self._best][case.id]
            helped = case.id in shown and self._gets(shown[case.id], case)
            fact = looked.get(case.id)
            nowhere = fact is not None and fact.passage is None
            # That the base can say a fact by heart with the right examples before it does not make it reliable.
            by_heart = helped and nowhere and not probes.told(case)
            if fact is not None and (by_heart or (case.id in given and self._gets(given[case.id], case))):
                found[case.id] = self._of_fact(case, fact, record)
            elif helped:
                why = "with the examples most like it before it, the base gets it"
                found[case.id] = Judged(case, record, "demonstrations help", "nearest demonstrations", why)
            elif case.id in closed and self._gets(closed[case.id], case):
                found[case.id] = Judged(case, record, "another rung helps", "prompt", "instructions alone are enough")
            elif case.id in given:
                why = f"with the fact in its prompt the base says {given[case.id].answer.strip()!r}"
                found[case.id] = Judged(case, record, "beyond this base", "also with the fact given", why)
            elif case.id in looked:
                found[case.id] = self._of_fact(case, looked[case.id], record)
            else:
                found[case.id] = Judged(case, record, "beyond this base", "with instructions and demonstrations")
        return found

    def _of_fact(self, case: Example, looked: Looked, record: Record) -> Judged:
        words = ", ".join(self._facts.needed(case)[:4])
        if looked.passage is None:
            detail = NOWHERE if self._facts.passages is not None else NO_DOCUMENTS
            return Judged(case, record, "fact missing", detail, f"needed: {words}")
        if looked.retrieved:
            return Judged(case, record, "fact not used", UNREAD)
        return Judged(case, record, "not retrieved", NOT_FOUND if self._facts.searched else NOT_SEARCHED)
