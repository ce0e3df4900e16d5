"""Each sampled row: asked closed-book, and where the base does not know, with what the documents hold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from luthier.audit._knowledge_given import Given
from luthier.audit._knowledge_label import can_read, closed_label, is_candidate
from luthier.audit._knowledge_novelty import Novelties, Novelty
from luthier.audit._knowledge_probe import Probe, Question, Told, draw
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
LEAST_HELD = 0.5  # of the novel pieces: passages that hold fewer cannot give the fact, and the base is not asked

Label = Literal["behaviour", "skill", "known", "unknown", "in documents", "missed", "nowhere", "too long"]


@dataclass(frozen=True)
class JudgedRow:
    """A row with its label.

    `unknown` is said where there are no documents to look in; with documents an unknown fact is `in documents` (a
    search by the question finds it, and the base says it then), `missed` (only a search with the answer finds it) or
    `nowhere`.
    """

    example: Example
    novelty: Novelty
    label: Label


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
        unknown = {i: closed[i] for i in closed if labels[i] == "unknown"}
        if self._passages is not None and unknown:
            for i, label in self._opened(rows, novelties, unknown).items():
                labels[i] = label
        return [JudgedRow(*row) for row in zip(rows, novelties, labels, strict=True)]

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

    def _opened(
        self, rows: Sequence[Example], novelties: Sequence[Novelty], closed: Mapping[int, Sequence[Told]]
    ) -> dict[int, Label]:
        """Where unknown facts stand: first the passages that the question finds, then those that the answer finds."""
        found: dict[int, Label] = {}
        searches: tuple[tuple[Label, bool], ...] = (("in documents", False), ("missed", True))
        for label, with_answer in searches:
            left = [i for i in closed if i not in found]
            for i, read in self._read(rows, novelties, closed, left, with_answer).items():
                if read:
                    found[i] = label
        return {i: found.get(i, "nowhere") for i in closed}

    def _read(
        self,
        rows: Sequence[Example],
        novelties: Sequence[Novelty],
        closed: Mapping[int, Sequence[Told]],
        wanted: Sequence[int],
        with_answer: bool,
    ) -> dict[int, bool]:
        """Whether the base says each fact with the best passages of the documents before the question."""
        assert self._passages is not None  # looked up only where there are documents
        queries = [rows[i].input_text + ("\n" + rows[i].output if with_answer else "") for i in wanted]
        hits = self._passages.search_many(queries, PASSAGES) if queries else []
        texts = {i: "\n\n".join(hit.text for hit in some) for i, some in zip(wanted, hits, strict=True)}
        held = [i for i in wanted if _held(texts[i], novelties[i]) >= LEAST_HELD]
        questions = [Question(_with(rows[i], texts[i]), rows[i].output, novelties[i].counted) for i in held]
        told = self._probes[0].ask(
            questions, "ask the base with " + ("the right" if with_answer else "found") + " passages"
        )
        return {i: opened is not None and can_read(closed[i], opened) for i, opened in zip(held, told, strict=True)}


def _held(text: str, novelty: Novelty) -> float:
    given = Given.of(text)
    return sum(given.gives(piece) for piece in novelty.counted) / len(novelty.counted)


def _with(row: Example, passages: str) -> tuple[Message, ...]:
    """The row's messages with passages before the last one, as they would be served."""
    last = row.messages[-1]
    return (*row.messages[:-1], replace(last, content=f"{passages}\n\n{last.content}"))
