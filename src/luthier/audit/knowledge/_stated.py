"""How many answers of a task state facts, by their words alone, and some of these words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from luthier.audit.knowledge._label import Verdict, is_candidate, verdict_of
from luthier.audit.knowledge._novelty import Novelties
from luthier.audit.personal import veiled
from luthier.data import Example
from luthier.spec import Task

SAMPLES = 8


@dataclass(frozen=True)
class StatedFacts:
    """`count` of `of` answers state what neither their prompt gives nor other answers repeat; some of it in `words`."""

    count: int
    of: int
    words: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the answers that state a fact."""
        return self.count / max(1, self.of)

    @property
    def kind(self) -> Verdict:
        """What is asked for, as far as words tell."""
        return verdict_of(self.share, self.share)


def stated_facts(examples: Sequence[Example], task: Task) -> StatedFacts:
    """The facts that the answers of examples state, as `teaches-facts` counts them. No model is asked."""
    novelties = Novelties(examples, task)
    found = [(e, [p.text for p in novelty.counted]) for e in examples if is_candidate(novelty := novelties.of(e))]
    step = max(1, len(found) // SAMPLES)
    words = dict.fromkeys(text for e, texts in found[::step] for text in showable(e, texts)[:1])
    return StatedFacts(len(found), len(examples), tuple(words)[:SAMPLES])


def showable(example: Example, texts: Iterable[str]) -> list[str]:
    """Those of the texts from an answer that may be shown: no part of personal data is."""
    seen = veiled(example.output)
    return [text for text in texts if text in seen]
