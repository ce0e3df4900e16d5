"""Wanted answers that look wrong themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from luthier.audit import Dataset, Suspected, suspected_labels
from luthier.data import BadValue, Example, near_duplicate_groups, parse_json
from luthier.decide._bench import Bench
from luthier.decide.failures._documents import Facts
from luthier.decide.failures._form import counts_as_right
from luthier.evaluate import Record

ROWS = 6000  # training rows that say what is usual; more make the look hardly better, and slower
STRONG = 0.15  # below the best rung's mean: still a strong rung
SUSPECTED = 0.5  # probability of a random label, from which one rung that says the likelier label is enough
AGREED = 0.05, 0.10  # and where the strong rungs agree: on the likelier one, on any other
TRUSTED = 0.5  # mean of a rung that is believed without another


@dataclass(frozen=True)
class Agreed:
    """What the strong rungs answer to a case, if all say the same: the answer, and how many said it."""

    answer: str
    rungs: int


class References:
    """Compares wanted answers with near rows, with what labels usually look like, with documents, and with the rungs.

    Args:
        bench: the training rows, and the scorer that says which answers are the same.
        cases: the failed cases that are looked at.
        records: of every measured rung, by case id.
        best: the best measured rung.
        right: the score from which an answer is right.
    """

    def __init__(
        self,
        bench: Bench,
        cases: Sequence[Example],
        records: Mapping[str, Mapping[str, Record]],
        best: str,
        right: float,
    ) -> None:
        self._bench, self._cases, self._records, self._best, self._right = bench, cases, records, best, right
        means = {rung: sum(r.score for r in some.values()) / len(some) for rung, some in records.items()}
        self._mean = means[best]
        self._strong = [rung for rung, mean in means.items() if mean >= means[best] - STRONG]

    def wrong(self, case: Example, facts: Facts) -> str | None:
        """Why the wanted answer of a case is probably wrong; None where nothing says so."""
        agreed = self._agreed(case)
        if agreed is None:
            return None
        by_label = self._by_label(case, agreed)
        if by_label is not None:
            return by_label
        near = self._near_rows.get(case.id)
        if near is not None and self._same(agreed.answer, near):
            return f"rows that say the same want {near!r}, as the strong rungs answer"
        if self._by_support(case, agreed, facts):
            return f"{agreed.answer.strip()!r} follows from what is at hand, the wanted answer does not"
        return None

    def _agreed(self, case: Example) -> Agreed | None:
        said = [self._records[rung][case.id].answer for rung in self._strong if case.id in self._records[rung]]
        first = self._records[self._best][case.id].answer
        if not first.strip() or not all(self._same(other, first) for other in said):
            return None
        return Agreed(first, len(said))

    def _same(self, a: str, b: str) -> bool:
        return counts_as_right(self._bench.scorer, a, b, self._right)

    def _by_label(self, case: Example, agreed: Agreed) -> str | None:
        for doubt in self._suspected.get(case.id, ()):
            likely = self._says(agreed.answer, doubt)
            alone = likely and doubt.wrong >= SUSPECTED
            if alone or (agreed.rungs > 1 and doubt.wrong >= AGREED[not likely] and not self._keeps(agreed, doubt)):
                where = f"{doubt.field}: " if doubt.field else ""
                return f"{where}labelled {doubt.label!r}, reads like rows of {doubt.likely!r}; the strong rungs differ"
        return None

    def _keeps(self, agreed: Agreed, doubt: Suspected) -> bool:
        """Whether an answer has the label that is doubted, so that it is wrong for another reason."""
        return bool(doubt.field) and _field(agreed.answer, doubt.field) == doubt.label

    def _says(self, answer: str, doubt: Suspected) -> bool:
        """Whether an answer has the label that a row looks like."""
        if not doubt.field:
            return self._same(answer, doubt.likely)
        return _field(answer, doubt.field) == doubt.likely

    def _by_support(self, case: Example, agreed: Agreed, facts: Facts) -> bool:
        """The answer that is given follows from the input, or from documents, and the wanted one from neither."""
        if agreed.rungs < 2 and self._mean < TRUSTED:
            return False
        if facts.usual:
            return facts.borne_out(case, agreed.answer)
        return not facts.follows(case, case.output) and facts.follows(case, agreed.answer)

    @cached_property
    def _rows(self) -> list[Example]:
        rows = [*self._bench.split.train, *self._bench.split.development]
        return rows[:: max(1, -(-len(rows) // ROWS))]

    @cached_property
    def _families(self) -> list[int]:
        return near_duplicate_groups([row.input_text for row in [*self._rows, *self._cases]])

    @cached_property
    def _suspected(self) -> dict[str, tuple[Suspected, ...]]:
        everything = [*self._rows, *self._cases]
        return suspected_labels(Dataset(self._bench.task, everything, near=self._families))

    @cached_property
    def _near_rows(self) -> dict[str, str]:
        """By case, the answer that all rows with the same input, in other words, want."""
        outputs: dict[int, Counter[str]] = {}
        for row, family in zip(self._rows, self._families, strict=False):
            outputs.setdefault(family, Counter())[row.output] += 1
        found = {}
        for case, family in zip(self._cases, self._families[len(self._rows) :], strict=True):
            some = outputs.get(family)
            if some is not None and len(some) == 1 and case.output not in some:
                found[case.id] = next(iter(some))
        return found


def _field(answer: str, path: str) -> str | None:
    """A value of a JSON answer as the audit of labels writes it; None where there is none."""
    try:
        value = parse_json(answer.strip())
    except BadValue:
        return None
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) or value is None else json.dumps(value)
