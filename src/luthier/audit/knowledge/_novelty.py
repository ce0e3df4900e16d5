"""What the wanted answers say that neither their prompt gives nor the other answers repeat: no model is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from luthier.audit.knowledge._asked import asks_to_make, is_bare_question
from luthier.audit.knowledge._given import Given, derived_numbers
from luthier.audit.knowledge._leaves import is_json, leaves_of, spans_of
from luthier.audit.knowledge._repeated import Repeated
from luthier.audit.knowledge._words import Piece, language_of, pieces
from luthier.data import Example
from luthier.spec import LabelScore, PythonScore, Task

SYSTEMS = 64  # system messages whose words are kept
HARD = 2.0  # weight of a number, code or name beside a word
BARE = 0.15  # evidence where a question with nothing around it is answered, in whatever words
SKILL = 0.2  # weight of what code or another language makes new
SYMBOLS = 0.08  # of the characters that are not space, from which a text is code

_CODE = re.compile(r"[{}\[\]=<>|\\&^~`]|\(\)|;$|\$[A-Za-z_{]", re.M)
_CODE_LINE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|SELECT |INSERT |UPDATE |#include|function |\$ )", re.M
)

Skill = Literal["", "code", "translation", "calculation"]


@dataclass(frozen=True)
class Novelty:
    """What one answer adds. `content` are its pieces, `novel` those that nothing gives.

    `skill` names why new words need not be facts: the answer is code, in another language than the prompt, or a number
    where the prompt holds what could be computed with. `made` tells that words were asked for (a text to be changed or
    made up), where only numbers, codes and names are facts; `bare` that a lone question is answered freely, so that
    even "no" is told and not read off the prompt.
    """

    content: tuple[Piece, ...]
    novel: tuple[Piece, ...]
    skill: Skill = ""
    made: bool = False
    bare: bool = False

    @property
    def counted(self) -> tuple[Piece, ...]:
        """The novel pieces that would be facts."""
        return self.hard if self.made else self.novel

    @property
    def evidence(self) -> float:
        """How much speaks for a fact, 0 to 1: the share of novel pieces, hard ones counted twice."""
        weight = HARD * len(self.hard) + (0 if self.made else len(self.novel) - len(self.hard))
        share = min(1.0, weight / max(1, len(self.content))) * (SKILL if self.skill else 1.0)
        return max(share, BARE) if self.bare else share

    @property
    def share(self) -> float:
        """Share of the content pieces that are novel."""
        return len(self.novel) / len(self.content) if self.content else 0.0

    @property
    def hard(self) -> tuple[Piece, ...]:
        """Novel numbers, codes and names: what a wrong guess gets wrong."""
        return tuple(piece for piece in self.novel if piece.kind != "word")


class Novelties:
    """The novelty of each row of a task; `of` can be asked for any row with a wanted output."""

    def __init__(self, examples: Sequence[Example], task: Task) -> None:
        self._task = task
        self._repeated = Repeated(examples, task)
        self._labels = isinstance(task.score, LabelScore)
        self._systems: dict[str, Given] = {}

    @cached_property
    def _making(self) -> bool:
        return asks_to_make(self._task.goal) or asks_to_make(self._task.instructions)

    def of(self, example: Example) -> Novelty:
        """What the answer of an example adds to its prompt and to the answers of the others."""
        leaves = leaves_of(example.output)
        spans = spans_of(example.output, [leaf for _, leaf in leaves])
        content = _content(example.output, [leaf for _, leaf in leaves], spans)
        if self._labels or not content:
            return Novelty(tuple(content), ())
        turns = "\n".join(m.content for m in example.messages if m.role != "system")
        given = Given.of(turns, beyond=self._system(example))
        free = [span for span, leaf in zip(spans, leaves, strict=True) if self._repeated.is_label(*leaf)]
        left = [
            piece
            for piece in content
            if not any(start <= piece.start < end for start, end in free)
            and not self._repeated.is_common(piece)
            and not given.gives(piece)
        ]
        if left:
            written = given.respelled(example.output)
            left = [p for p in left if not any(start <= p.start and p.end <= end for start, end in written)]
        derived = derived_numbers(given, example.output, [piece for piece in content if piece.kind == "number"])
        novel = [piece for piece in left if piece.start not in derived]
        return Novelty(
            tuple(content),
            tuple(novel),
            self._skill(example, given, novel) if novel else "",
            made=bool(novel) and self._is_made(example.messages[-1].content),
            bare=len(free) == 0 and self._is_bare(example, given),
        )

    def _system(self, example: Example) -> Given:
        """What goal, instructions and a row's own system message give; few of them differ."""
        text = "\n".join([self._task.goal, self._task.instructions, *_system_texts(example)])
        if text not in self._systems:
            if len(self._systems) >= SYSTEMS:
                self._systems.clear()
            self._systems[text] = Given.of(text)
        return self._systems[text]

    def _is_made(self, asked: str) -> bool:
        return asks_to_make(asked) or (self._making and not is_bare_question(asked))

    def _is_bare(self, example: Example, given: Given) -> bool:
        """A lone question that is answered in prose, and that gives nothing to compute with."""
        structured = example.output.lstrip()[:1] in ("{", "[", "<")
        return not structured and not self._making and len(given.numbers) < 2 and is_bare_question(example.input_text)

    def _skill(self, example: Example, given: Given, novel: Sequence[Piece]) -> Skill:
        if isinstance(self._task.score, PythonScore) or is_code(example.output):
            return "code"
        operands = [number for number in given.numbers if not (number.is_integer() and 1000 <= number <= 2100)]
        if len(operands) >= 2 and all(piece.kind == "number" for piece in novel):
            return "calculation"
        said = language_of(example.output)
        asked = language_of(example.input_text)
        return "translation" if said and asked and said != asked else ""


def _system_texts(example: Example) -> list[str]:
    return [m.content for m in example.messages if m.role == "system"]


def _content(output: str, leaves: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[Piece]:
    """The content pieces of an answer where they stand in it; of JSON those of its values."""
    if list(leaves) == [output]:
        return pieces(output)
    found: list[Piece] = []
    for leaf, (start, end) in zip(leaves, spans, strict=True):
        plainly = output[start:end] == leaf  # else it is written with escapes, and no piece has a place of its own
        for piece in pieces(leaf):
            begin, stop = (start + piece.start, start + piece.end) if plainly else (start, end)
            found.append(replace(piece, start=begin, end=stop))
    return found


def is_code(text: str) -> bool:
    """Whether a text is a program or a command rather than prose or JSON."""
    if is_json(text):
        return False
    dense = len(_CODE.findall(text)) >= SYMBOLS * max(1, len(text) - text.count(" "))
    return dense or _CODE_LINE.search(text) is not None or text.count("```") >= 2
