"""Whether a failed case needs a fact, where it stands in the documents, and whether it was looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from luthier.audit import AnswerFacts, Passages
from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._rungs import CHUNK_CHARS
from luthier.decide._system import System

FACTS = 0.10  # of the training rows: below, a row that states a fact is not like the others


@dataclass(frozen=True)
class Looked:
    """What a look at the documents gives for a case: the passage that holds its fact, and whether it was found."""

    passage: str | None
    retrieved: bool


class Facts:
    """Facts of the wanted answers, and the documents that may hold them."""

    def __init__(self, bench: Bench, systems: Mapping[str, System]) -> None:
        self._bench = bench
        self._readers = [system for system in systems.values() if system.setup.passages is not None]

    @cached_property
    def _answers(self) -> AnswerFacts:
        return AnswerFacts(self._bench.split.train, self._bench.task)

    @cached_property
    def passages(self) -> Passages | None:
        """The documents in pieces as the ladder cuts them, whatever an index finds in them; None without documents."""
        if self._bench.task.documents is None:
            return None
        return Passages(self._bench.documents(CHUNK_CHARS[0]))

    @cached_property
    def usual(self) -> bool:
        """Whether it is usual in this task that an answer states a fact."""
        train = self._bench.split.train
        return sum(bool(self._answers.of(row)) for row in train) >= FACTS * len(train)

    def needed(self, case: Example) -> tuple[str, ...]:
        """The words of the wanted answer that only a fact gives; a single word of a short answer may be one too.

        In a task with documents whose rows usually state facts, an answer that stands in no other row's form (a lone
        common word) is looked for in the documents as well.
        """
        found = self._answers.of(case)
        if found or self.passages is None or not self.usual:
            return found
        return self._answers.content(case)

    def looked_up(self, case: Example) -> Looked:
        """Where the fact of a case stands, and whether a system of the ladder found it."""
        if self.passages is None:
            return Looked(None, False)
        asked = case.input_text
        read = (text for reader in self._readers for text in reader.passages(asked))
        held = next((text for text in read if self.passages.in_text(text, asked, case.output)), None)
        if held is not None:
            return Looked(held, True)
        found = self.passages.supporting(asked, case.output)
        return Looked(self.passages.texts[found[0].passage] if found else None, False)

    @property
    def searched(self) -> bool:
        """Whether any system of the ladder looked in the documents."""
        return bool(self._readers)

    def follows(self, case: Example, answer: str) -> bool:
        """Whether an answer to a case follows from its input and from what answers of this task have in common."""
        other = replace(case, output=answer)
        return bool(self._answers.content(other)) and not self._answers.of(other)

    def borne_out(self, case: Example, answer: str) -> bool:
        """Whether the documents hold an answer that was given to a case, and not the wanted one."""
        if self.passages is None or self.passages.supporting(case.input_text, case.output):
            return False
        return self.passages.bears_out(case.input_text, answer, case.output)
