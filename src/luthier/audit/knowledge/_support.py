"""Where the fact of an answer stands: in which passages, and whether those are about what is asked."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from luthier.audit.knowledge._given import Given
from luthier.audit.knowledge._label import is_candidate
from luthier.audit.knowledge._novelty import Novelties
from luthier.audit.knowledge._words import MONTHS, Piece, pieces, value_of
from luthier.data import Example, normalise, words
from luthier.retrieve import Index
from luthier.spec import Task

ABOUT = 1.0  # of `Support.about`: 95 % of the gold passages of xquad reach it, and another in 4 % of its questions
SURE = (
    1.3,
    1.1,
)  # from which an answer of a model is believed: 90 and 94 % of right answers, 5 and 13 % of made-up names
SHARED = 0.35  # of the weight of a question's words: a passage about it
NEARNESS = 0.75  # weight of the cosine, beside the two shares of words
HELD = 0.8  # of the pieces of a long answer
LONG = 4  # pieces, from which an answer may stand in a passage in other words or another order
LOOKED_AT = 20  # passages that hold an answer
COUNTED = 2000  # passages that say how rare a word is
NEAR = 1000  # passages that are looked at by meaning

_AMOUNT = re.compile(
    r"\b(?:how (?:many|much|long|old|far|tall|large|big)|when|"
    r"(?:what|which) (?:year|date|day|month|century|percentage))\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class Support:
    """A passage (its number) that holds an answer, and how much it is about what is asked.

    `about` adds the shares of the question's words, weighted by rarity, that the passage and the best sentence around
    the answer hold, and the cosine of question and passage where the index has vectors.
    """

    passage: int
    about: float


class Passages:
    """The items of an index, each asked whether it holds an answer: nothing is searched, so that nothing is missed."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.texts = tuple(item.text for item in index.items)
        self._said = tuple(_spaced(text) for text in self.texts)

    def supporting(self, asked: str, answer: str, least: float = ABOUT) -> list[Support]:
        """The passages that hold an answer and are about what is asked, the best first."""
        holding = self._holding(answer)
        if not holding:
            return []
        cosines = self._cosines(asked)
        found = [Support(i, self._about(i, asked, answer, cosines.get(i, 0.0))) for i in self._nearest(holding, asked)]
        return sorted((s for s in found if s.about >= least), key=lambda s: (-s.about, s.passage))

    def bears_out(self, asked: str, answer: str, instead_of: str) -> bool:
        """Whether a passage about what is asked holds an answer that was given in another's place.

        Less is asked of it where that other answer stands in the documents, but about other things.
        """
        question = Given.of(asked)
        some = pieces(answer)
        if all(question.gives(piece) for piece in some):
            return False
        if _AMOUNT.search(asked) and not any(
            piece.kind == "number" or value_of(piece.key) is not None or piece.key in MONTHS for piece in some
        ):
            return False
        return bool(self.supporting(asked, answer, SURE[bool(self._holding(instead_of))]))

    def in_text(self, text: str, asked: str, answer: str) -> bool:
        """Whether one text, which need not be one of the passages, holds an answer and is about what is asked."""
        return _holds(_spaced(text), answer) and self._shared(text, asked) >= SHARED

    def _holding(self, answer: str) -> list[int]:
        return [i for i, said in enumerate(self._said) if _holds(said, answer)]

    def _nearest(self, numbers: Sequence[int], asked: str) -> list[int]:
        """Those that share most words with what is asked."""
        keys = [_spaced(text) for text in _pieces(asked)]
        return sorted(numbers, key=lambda i: (-sum(key in self._said[i] for key in keys), i))[:LOOKED_AT]

    def _about(self, i: int, asked: str, answer: str, cosine: float) -> float:
        sentences = _SENTENCE.split(self.texts[i])
        holding = [sentence for sentence in sentences if _holds(_spaced(sentence), answer)]
        best = max((self._shared(sentence, asked) for sentence in holding), default=0.0)
        return self._shared(self.texts[i], asked) + best + NEARNESS * cosine

    def _cosines(self, asked: str) -> dict[int, float]:
        if self._index.embedder_name is None:
            return {}
        hits = self._index.search(asked, NEAR, mode="dense")
        return {self._place[hit.key]: hit.score for hit in hits}

    @cached_property
    def _place(self) -> dict[str, int]:
        return {item.key: i for i, item in enumerate(self._index.items)}

    def _shared(self, text: str, asked: str) -> float:
        """Share of the words of a question, weighted by their rarity, that a text gives in any form."""
        given = Given.of(text)
        weights = [(piece, self._rarity(piece.text)) for piece in {p.key: p for p in pieces(asked)}.values()]
        whole = sum(weight for _, weight in weights)
        return sum(weight for piece, weight in weights if given.gives(piece)) / whole if whole else 1.0

    def _rarity(self, text: str) -> float:
        counts, of = self._counts
        return math.log((of + 1) / (min((counts[word] for word in _spaced(text).split()), default=0) + 1))

    @cached_property
    def _counts(self) -> tuple[Counter[str], int]:
        """In how many passages each word stands, and of how many."""
        some = self._said[:: max(1, len(self._said) // COUNTED)]
        return Counter(word for said in some for word in set(said.split())), len(some)


class AnswerFacts:
    """What answers state that neither their prompt gives nor other answers repeat, as `stated_facts` has it."""

    def __init__(self, examples: Sequence[Example], task: Task) -> None:
        self._novelties = Novelties(examples, task)

    def of(self, example: Example) -> tuple[str, ...]:
        """The words that state a fact; none where the answer states none."""
        novelty = self._novelties.of(example)
        return _texts(novelty.counted) if is_candidate(novelty) else ()

    def content(self, example: Example) -> tuple[str, ...]:
        """All words of an answer that carry something."""
        return _texts(self._novelties.of(example).content)


def _texts(some: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(piece.text for piece in some))


def _holds(said: str, answer: str) -> bool:
    """Whether the words of a text, as `_spaced` gives them, hold an answer as it stands or most of a long one."""
    wanted = _spaced(answer)
    if not wanted.strip():
        return False
    if wanted in said:
        return True
    some = _pieces(answer)
    return len(some) >= LONG and sum(_spaced(text) in said for text in some) >= HELD * len(some)


def _spaced(text: str) -> str:
    """The words of a text with a space on both sides of each."""
    return f" {' '.join(words(normalise(text)))} "


def _pieces(text: str) -> list[str]:
    return list({piece.key: piece.text for piece in pieces(text)}.values())
