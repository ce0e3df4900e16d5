"""A few questions to the base about failed cases: with demonstrations like the case, and with the fact given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from luthier.data import Example, Message, content_hash
from luthier.decide._bench import Bench
from luthier.decide._rungs import NEAREST_DEMONSTRATIONS, plain_system
from luthier.decide._system import Lookup, System
from luthier.decide._wordings import wordings
from luthier.errors import BudgetError, EndpointError, TooLongError
from luthier.evaluate import Record, measure
from luthier.models import Model, Request
from luthier.retrieve import IndexItem, build_index


@dataclass(frozen=True)
class GivenFact:
    """A system whose prompt holds, for each input, the passage that holds the wanted answer (oracle retrieval)."""

    system: System
    passages: Mapping[str, str]  # by the hash of the conversation

    @property
    def identity(self) -> str:
        """Hash of the system and the passages."""
        return content_hash([self.system.identity, dict(self.passages)])

    @property
    def model(self) -> Model:
        """The base."""
        return self.system.model

    def request(self, messages: Sequence[Message]) -> Request:
        """The plain system's request, with the passage before the question, as retrieval puts it there."""
        passage = self.passages[_key(messages)]
        last = messages[-1]
        return self.system.request((*messages[:-1], replace(last, content=f"{passage}\n\n{last.content}")))


@dataclass
class Probes:
    """Asks the base; every answer is kept in the store like any other.

    `records` holds all that were answered; `stopped` says why the rest was not asked, where the budget or the endpoint
    did not allow it.

    Args:
        bench: the base, the scorer, the store.
        systems: of the measured rungs; their wording is used, and what they would answer is not asked again.
    """

    bench: Bench
    systems: Mapping[str, System]
    records: list[Record] = field(default_factory=list)
    stopped: str = ""

    def instructed(self, cases: Sequence[Example]) -> dict[str, Record]:
        """With instructions only, closed-book: by case id."""
        return self._asked(self._plain(), cases, "with instructions only")

    def shown(self, cases: Sequence[Example]) -> dict[str, Record]:
        """With the training examples most like the case as demonstrations."""
        return self._asked(self._nearest(), cases, "with demonstrations") if self.bench.pool else {}

    def told(self, case: Example) -> bool:
        """Whether one of the demonstrations that are shown with a case holds its wanted answer, as whole words."""
        wanted = re.compile(rf"(?<!\w){re.escape(case.output.strip())}(?!\w)", re.IGNORECASE)
        return any(wanted.search(example.output) for example in self._nearest().shown(case.input_text))

    def given(self, cases: Sequence[Example], passages: Mapping[str, str]) -> dict[str, Record]:
        """With the passage that holds the wanted answer; `passages` are by case id."""
        by_input = {_key(case.messages): passages[case.id] for case in cases}
        return self._asked(GivenFact(self._plain(), by_input), cases, "with the fact given")

    def _asked(self, system: System | GivenFact, cases: Sequence[Example], remark: str) -> dict[str, Record]:
        """The records of those cases that fit the base; once it `stopped`, those that were answered."""
        if not cases:
            return {}
        self.bench.progress("diagnosing failures", 0, len(cases), remark)
        found = self._measured(system, cases)
        self.records += found
        self.bench.progress("diagnosing failures", len(cases), len(cases), remark)
        return {record.case: record for record in found}

    def _measured(self, system: System | GivenFact, cases: Sequence[Example]) -> list[Record]:
        bench = self.bench
        found: list[Record] = []
        if self.stopped:
            return found
        try:
            return measure(system, cases, bench.scorer, bench.store, on_record=found.append, prices=bench.task.prices)
        except TooLongError:
            if len(cases) == 1:
                return []
            return [record for case in cases for record in self._measured(system, [case])]
        except (BudgetError, EndpointError) as error:  # the rungs are measured; what was answered is kept and counted
            self.stopped = error.what
            return found

    def _plain(self) -> System:
        for name in ("prompt", "constrained"):
            if name in self.systems:
                system = self.systems[name]
                return replace(system, setup=replace(system.setup, method="prompt", constraint=None))
        bench = self.bench
        return plain_system(bench, "prompt", next(iter(wordings(bench.task, bench.scorer, bench.split.train).values())))

    def _nearest(self) -> System:
        if "few-shot nearest" in self.systems:
            return self.systems["few-shot nearest"]
        bench, plain = self.bench, self._plain()
        items = [IndexItem(key, example.input_text) for key, example in sorted(bench.pool.items())]
        content = [[item.key, item.text] for item in items]
        folder = bench.store.artefact_path("indexes", content_hash(["lexical demonstrations", content])[:20])
        index = build_index(items, folder, embedder=None)
        lookup = Lookup(k=NEAREST_DEMONSTRATIONS[0], mode="lexical", embedding=None, index=index.identity)
        setup = replace(plain.setup, method="few-shot nearest", nearest=lookup)
        return replace(plain, setup=setup, demonstration_index=index, pool=bench.pool)


def _key(messages: Sequence[Message]) -> str:
    return content_hash([message.as_dict() for message in messages])
