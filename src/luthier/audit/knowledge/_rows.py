"""Each sampled row: asked closed-book, and where the base does not know, with what the documents hold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from luthier.audit.knowledge._given import Given
from luthier.audit.knowledge._label import can_read, closed_label, is_candidate
from luthier.audit.knowledge._novelty import Novelties, Novelty
from luthier.audit.knowledge._probe import Probe, Question, Told, draw
from luthier.data import Example, Message
from luthier.retrieve import Index
from luthier.spec import Task
from luthier.store import Store

if TYPE_CHECKING:
    from luthier.audit._run import Progress
    from luthier.models import LocalModel

SAMPLE = 200
DRAWS = 2  # of demonstrations
PASSAGES = 3
HELD = 0.8  # of the novel pieces in one passage, from which it gives the fact

Label = Literal["behaviour", "skill", "known", "unknown", "in documents", "missed", "nowhere", "too long"]


@dataclass(frozen=True)
class JudgedRow:
    """A row with its label.

    `unknown` is said where there are no documents to look in; with documents an unknown fact is `in documents` (a
    search with the question finds a passage that holds it), `missed` (only a search with the answer does) or
    `nowhere`. `read` tells of those in documents whether the base says the fact once the passages stand in its prompt.
    """

    example: Example
    novelty: Novelty
    label: Label
    read: bool = False


class Judge:
    """Labels rows of a task with the base, and with the documents where there are any."""

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        model: LocalModel,
        passages: Index | None,
        store: Store,
        progress: Progress,
    ) -> None:
        self._novelties = Novelties(examples, task)
        self._passages = passages
        shown = [draw(examples, f"{task.split.seed} {number}") for number in range(DRAWS)]
        self.shown = {example.id for some in shown for example in some}
        self._probes = [Probe(model, task.instructions, some, store, progress) for some in shown]

    def judge(self, rows: Sequence[Example]) -> list[JudgedRow]:
        """The rows with their labels. Those in `shown` (ids of demonstrations) would be told their own answer.

        Raises:
            ModelError: the base's template refuses a conversation.
        """
        novelties = [self._novelties.of(row) for row in rows]
        asked = [i for i, novelty in enumerate(novelties) if is_candidate(novelty)]
        draws = self._closed([rows[i] for i in asked], [novelties[i] for i in asked])
        labels: list[Label] = [
            closed_label(novelty, ()) if not is_candidate(novelty) else "too long" for novelty in novelties
        ]
        closed: dict[int, Sequence[Told]] = {}
        for i, told in zip(asked, draws, strict=True):
            if told:
                labels[i], closed[i] = closed_label(novelties[i], told), told[0]
        read: dict[int, bool] = {}
        if self._passages is not None:
            unknown = [i for i in closed if labels[i] == "unknown"]
            found = self._search(rows, novelties, unknown, with_answer=False)
            missed = self._search(rows, novelties, [i for i in unknown if i not in found], with_answer=True)
            for i in unknown:
                labels[i] = "in documents" if i in found else "missed" if i in missed else "nowhere"
            read = self._read(rows, novelties, closed, found)
        return [JudgedRow(*row, read.get(i, False)) for i, row in enumerate(zip(rows, novelties, labels, strict=True))]

    def sample(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """Rows to judge, seeded; none that is shown as a demonstration."""
        distinct = sorted({e.id: e for e in examples}.values(), key=lambda e: e.id)
        others = [e for e in distinct if e.id not in self.shown]
        return random.Random(f"knowledge {seed}").sample(others, min(SAMPLE, len(others)))

    def _closed(self, rows: Sequence[Example], novelties: Sequence[Novelty]) -> list[list[list[Told]]]:
        """Per row, what was found with each draw; without the draws for which the row is too long."""
        questions = [Question(row.messages, row.output, n.counted) for row, n in zip(rows, novelties, strict=True)]
        draws = [
            probe.ask(questions, f"ask the base, draw {number} of {DRAWS}")
            for number, probe in enumerate(self._probes, start=1)
        ]
        return [[told for told in found if told is not None] for found in zip(*draws, strict=True)]

    def _search(
        self, rows: Sequence[Example], novelties: Sequence[Novelty], wanted: Sequence[int], *, with_answer: bool
    ) -> dict[int, str]:
        """The best passages for each of the wanted rows where one of them holds its fact."""
        assert self._passages is not None  # looked up only where there are documents
        queries = [rows[i].input_text + ("\n" + rows[i].output if with_answer else "") for i in wanted]
        hits = self._passages.search_many(queries, PASSAGES) if queries else []
        return {
            i: "\n\n".join(hit.text for hit in some)
            for i, some in zip(wanted, hits, strict=True)
            if any(_held(hit.text, novelties[i]) >= HELD for hit in some)
        }

    def _read(
        self,
        rows: Sequence[Example],
        novelties: Sequence[Novelty],
        closed: Mapping[int, Sequence[Told]],
        passages: Mapping[int, str],
    ) -> dict[int, bool]:
        """Whether the base says each fact with the passages before the question, behind the same demonstrations."""
        questions = [
            Question(_with(rows[i], text), rows[i].output, novelties[i].counted) for i, text in passages.items()
        ]
        told = self._probes[0].ask(questions, "ask the base with passages")
        return {i: opened is not None and can_read(closed[i], opened) for i, opened in zip(passages, told, strict=True)}


def _held(text: str, novelty: Novelty) -> float:
    given = Given.of(text)
    return sum(given.gives(piece) for piece in novelty.counted) / len(novelty.counted)


def _with(row: Example, passages: str) -> tuple[Message, ...]:
    """The row's messages with passages before the last one, as they would be served."""
    last = row.messages[-1]
    return (*row.messages[:-1], replace(last, content=f"{passages}\n\n{last.content}"))
