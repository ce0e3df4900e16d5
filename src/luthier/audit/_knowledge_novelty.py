"""What the wanted answers say that neither their prompt gives nor the other answers repeat: no model is asked."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from luthier.audit._knowledge_asked import asks_to_make, is_bare_question
from luthier.audit._knowledge_given import Given, derived_numbers
from luthier.audit._knowledge_words import Piece, language_of, pieces, plain
from luthier.data import BadValue, Example, parse_json
from luthier.spec import LabelScore, PythonScore, Task

COUNTED = 20_000  # rows that say what is frequent
BOILERPLATE = 0.30  # of the answers: a turn of phrase
COMMON = 0.02  # of the answers: an ordinary word of this task
COMMON_FACT = 0.10  # of the answers: a number or a name that they all go back to
LEAST_REPEATS = 3
HARD = 2.0  # weight of a number, code or name beside a word
BARE = 0.15  # evidence where a question with nothing around it is answered, in whatever words
SKILL = 0.2  # weight of what code or another language makes new
SYMBOLS = 0.08  # of the characters that are not space, from which a text is code

_IDENTIFIER = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+\??")
_CODE = re.compile(r"[{}()\[\];=<>|\\$&^~`]")
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


class Repeated:
    """What the answers of a task have in common: labels, keys, turns of phrase. They can be learned from each other."""

    def __init__(self, examples: Sequence[Example], task: Task) -> None:
        rows: Sequence[Example] = examples
        if len(rows) > COUNTED:
            rows = random.Random(f"knowledge {COUNTED}").sample(list(rows), COUNTED)
        words: Counter[str] = Counter()
        values: Counter[str] = Counter()
        for example in rows:
            leaves = leaves_of(example.output)
            words.update({piece.key for leaf in leaves for piece in pieces(leaf)})
            values.update({plain(leaf.strip()) for leaf in leaves if len(leaf) <= 80})
        # what stands once is kept by nobody: the counters of a million rows would not be small
        self._least = max(LEAST_REPEATS, round(COMMON * len(rows)))
        self._least_fact = max(LEAST_REPEATS, COMMON_FACT * len(rows))
        self._boilerplate = max(2.0, BOILERPLATE * len(rows))
        self._words = {word: count for word, count in words.items() if count >= min(self._least, self._boilerplate)}
        self._values = {value for value, count in values.items() if count >= LEAST_REPEATS}
        self._values |= set(_declared(task))

    def is_value(self, leaf: str) -> bool:
        """Whether a whole answer, or a whole value in it, is a label: one that recurs, or an identifier."""
        return plain(leaf.strip()) in self._values or _IDENTIFIER.fullmatch(leaf.strip()) is not None

    def is_common(self, piece: Piece) -> bool:
        """Whether a piece stands in many answers."""
        count = self._words.get(piece.key, 0)
        if count >= self._boilerplate:
            return True
        return count >= (self._least if piece.kind == "word" else self._least_fact)


def _declared(task: Task) -> Iterator[str]:
    """Labels that the task names."""
    if isinstance(task.score, LabelScore):
        yield from (plain(label.strip()) for label in task.score.labels or ())


class Novelties:
    """The novelty of each row of a task; `of` can be asked for any row with a wanted output."""

    def __init__(self, examples: Sequence[Example], task: Task) -> None:
        self._task = task
        self._repeated = Repeated(examples, task)
        self._labels = isinstance(task.score, LabelScore)

    @cached_property
    def _instructions(self) -> str:
        return f"{self._task.goal}\n{self._task.instructions}"

    @cached_property
    def _making(self) -> bool:
        return asks_to_make(self._task.goal) or asks_to_make(self._task.instructions)

    def of(self, example: Example) -> Novelty:
        """What the answer of an example adds to its prompt and to the answers of the others."""
        content = _content(example.output)
        if self._labels or not content:
            return Novelty(tuple(content), ())
        prompt = self._instructions + "\n" + "\n".join(m.content for m in example.messages)
        given = Given.of(prompt)
        free = _spans_of(example.output, [leaf for leaf in leaves_of(example.output) if self._repeated.is_value(leaf)])
        left = [
            piece
            for piece in content
            if not any(start <= piece.start < end for start, end in free)
            and not self._repeated.is_common(piece)
            and not given.gives(piece)
        ]
        derived = derived_numbers(given, example.output, [piece for piece in content if piece.kind == "number"])
        novel = [piece for piece in left if piece.start not in derived]
        return Novelty(
            tuple(content),
            tuple(novel),
            self._skill(example, given, novel) if novel else "",
            made=bool(novel) and self._is_made(example.messages[-1].content),
            bare=len(free) == 0 and self._is_bare(example, given),
        )

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


def is_code(text: str) -> bool:
    """Whether a text is a program or a command rather than prose or JSON."""
    if text.lstrip()[:1] in "{[" and _parsed(text) is not None:
        return False
    dense = len(_CODE.findall(text)) >= SYMBOLS * max(1, len(text) - text.count(" "))
    return dense or _CODE_LINE.search(text) is not None or text.count("```") >= 2


def leaves_of(output: str) -> list[str]:
    """The values that a JSON answer holds, without its keys; any other answer is one value."""
    parsed = _parsed(output) if output.lstrip()[:1] in ("{", "[") else None
    return [output] if parsed is None else list(_leaves(parsed))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield json.dumps(value)


def _parsed(output: str) -> object | None:
    try:
        parsed: object = parse_json(output)
    except BadValue:
        return None
    return parsed


def _content(output: str) -> list[Piece]:
    """The content pieces of an answer where they stand in it; of JSON those of its values."""
    leaves = leaves_of(output)
    if leaves == [output]:
        return pieces(output)
    spans = _spans_of(output, leaves)
    return [piece for piece in pieces(output) if any(start <= piece.start < end for start, end in spans)]


def _spans_of(output: str, leaves: Sequence[str]) -> list[tuple[int, int]]:
    """Where values stand in an answer, in order; one that is escaped there is looked for as JSON writes it."""
    found: list[tuple[int, int]] = []
    at = 0
    for leaf in leaves:
        for text in (json.dumps(leaf, ensure_ascii=False)[1:-1], json.dumps(leaf)[1:-1], leaf):
            place = output.find(text, at)
            if place >= 0:
                found.append((place, place + len(text)))
                at = place + len(text)
                break
    return found
