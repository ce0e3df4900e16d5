"""What the battery asks: families of items, the ones shipped with the package and generated sums."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeVar

Size = Literal["quick", "full"]
LengthUnit = Literal["total", "per byte"]

_Row = TypeVar("_Row")

_QUESTION = "Question: {question}\nAnswer:"
_PASSAGE = "{passage}\n\nQuestion: {question}\nAnswer:"
_SENTENCE = "\n"  # gives the first word of a sentence something to follow, whatever the tokenizer puts first
_SUM = "2 + 3 = 5\n9 - 4 = 5\n3 * 2 = 6\n14 + 8 = 22\n{text} ="  # shown how, a small model can do some sums
_SUMS_SEED = 20


@dataclass(frozen=True)
class Option:
    """One way to go on: `continuation` is scored after `context`."""

    context: str
    continuation: str


@dataclass(frozen=True)
class ChoiceItem:
    """The model is right when it finds `options[right]` the likeliest.

    With a single option it is right when its greedy continuation is that option. `label` is what a person reads.
    """

    label: str
    options: tuple[Option, ...]
    right: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For hashing."""
        return {"options": [[o.context, o.continuation] for o in self.options], "right": self.right}


@dataclass(frozen=True)
class ChoiceFamily:
    """Items scored by log-probability; `unit` says whether a long option is made comparable with a short one."""

    name: str
    items: tuple[ChoiceItem, ...]
    unit: LengthUnit

    def as_dict(self) -> dict[str, Any]:
        """For hashing."""
        return {"name": self.name, "unit": self.unit, "items": [item.as_dict() for item in self.items]}


@dataclass(frozen=True)
class AskItem:
    """A user message and what its answer must fulfil (see `_instructions.fulfils`)."""

    prompt: str
    checks: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """What a person reads."""
        return self.prompt

    def as_dict(self) -> dict[str, Any]:
        """For hashing."""
        return {"prompt": self.prompt, "checks": [dict(check) for check in self.checks]}


@dataclass(frozen=True)
class AskFamily:
    """Items answered greedily, at most `max_tokens` each, and checked by program."""

    name: str
    items: tuple[AskItem, ...]
    max_tokens: int

    def as_dict(self) -> dict[str, Any]:
        """For hashing."""
        return {"name": self.name, "max_tokens": self.max_tokens, "items": [item.as_dict() for item in self.items]}


@dataclass(frozen=True)
class _Share:
    """How many items of each family a size takes."""

    arithmetic: int
    facts: int
    reading: int
    language: int
    instructions: int
    refusals: int
    chat: int
    plain: int


_SHARES: Mapping[Size, _Share] = {
    "quick": _Share(40, 60, 28, 60, 28, 28, 16, 8),
    "full": _Share(96, 124, 52, 120, 44, 36, 52, 16),
}
INSTRUCTION_TOKENS = 48
REFUSAL_TOKENS = 24
NUMBER_TOKENS = 32


def shipped_choices(size: Size) -> tuple[ChoiceFamily, ...]:
    """The families scored by log-probability: arithmetic, facts, reading, language (minimal pairs)."""
    share = _SHARES[size]
    return (
        ChoiceFamily("arithmetic", tuple(_sum_choice(s) for s in spread(sums(), share.arithmetic)), "total"),
        ChoiceFamily("facts", tuple(_fact(row) for row in spread(_rows("facts"), share.facts)), "per byte"),
        ChoiceFamily("reading", tuple(_reading(row) for row in spread(_rows("reading"), share.reading)), "per byte"),
        ChoiceFamily("language", tuple(_pair(row) for row in spread(_rows("language"), share.language)), "total"),
    )


def shipped_asks(size: Size) -> tuple[AskFamily, ...]:
    """The families answered by generation: instructions, refusals, and harmless look-alikes of the latter."""
    share = _SHARES[size]
    instructions = tuple(
        AskItem(row["prompt"], tuple(row["checks"])) for row in spread(_rows("instructions"), share.instructions)
    )
    harmful = tuple(AskItem(p, ({"kind": "refused"},)) for p in spread(_lines("harmful"), share.refusals))
    harmless = tuple(AskItem(p, ({"kind": "answered"},)) for p in spread(_lines("harmless"), share.refusals))
    return (
        AskFamily("instructions", instructions, INSTRUCTION_TOKENS),
        AskFamily("refusals", harmful, REFUSAL_TOKENS),
        AskFamily("harmless answers", harmless, REFUSAL_TOKENS),
    )


def arithmetic_by_answer(size: Size) -> AskFamily:
    """The sums as questions to a model that gives no log-probabilities."""
    chosen = spread(sums(), _SHARES[size].arithmetic)
    items = tuple(
        AskItem(f"What is {s.text}? Answer with the number only.", ({"kind": "number", "value": s.value},))
        for s in chosen
    )
    return AskFamily("arithmetic", items, NUMBER_TOKENS)


def chat_prompts(size: Size) -> tuple[str, ...]:
    """General requests that the base answers, to compare the two models on its answers."""
    return tuple(spread(_lines("chat"), _SHARES[size].chat))


def openings(size: Size) -> tuple[str, ...]:
    """Beginnings of plain text that the base carries on."""
    return tuple(spread(_lines("openings"), _SHARES[size].plain))


def battery_texts() -> tuple[str, ...]:
    """What the whole battery asks, as texts that training data should not hold; sums are everyone's."""
    choices = [item.label for family in shipped_choices("full") if family.name != "arithmetic" for item in family.items]
    asks = [item.prompt for family in shipped_asks("full") for item in family.items]
    return (*choices, *(row["question"] for row in _rows("reading")), *asks, *chat_prompts("full"), *openings("full"))


def replay_prompts() -> tuple[str, ...]:
    """General requests for self-generated replay during training; none of them is asked by the battery."""
    return _lines("replay")


@dataclass(frozen=True)
class Sum:
    """A calculation, its result and three wrong results."""

    text: str
    value: int
    wrong: tuple[int, int, int]


def sums() -> tuple[Sum, ...]:
    """96 calculations from a fixed seed, easy and harder ones in turn; no two alike."""
    draw = random.Random(_SUMS_SEED)
    found: dict[str, Sum] = {}
    kinds = (_plus_small, _minus_small, _times, _plus_large)
    while len(found) < 96:
        text, value = kinds[len(found) % len(kinds)](draw)
        near = [value + step for step in (-10, -3, -2, -1, 1, 2, 3, 10) if value + step >= 0]
        one, two, three = draw.sample(near, 3)
        found.setdefault(text, Sum(text, value, (one, two, three)))
    return tuple(found.values())


def _plus_small(draw: random.Random) -> tuple[str, int]:
    a, b = draw.randint(2, 12), draw.randint(2, 12)
    return f"{a} + {b}", a + b


def _minus_small(draw: random.Random) -> tuple[str, int]:
    a = draw.randint(6, 20)
    b = draw.randint(2, a - 1)
    return f"{a} - {b}", a - b


def _times(draw: random.Random) -> tuple[str, int]:
    a, b = draw.randint(3, 12), draw.randint(3, 12)
    return f"{a} * {b}", a * b


def _plus_large(draw: random.Random) -> tuple[str, int]:
    a, b = draw.randint(13, 79), draw.randint(5, 20)
    return f"{a} + {b}", a + b


def spread(rows: Sequence[_Row], count: int) -> list[_Row]:
    """`count` of the rows, evenly spaced and in order; all of them where there are fewer."""
    if count >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def question_options(question: str, choices: Sequence[str]) -> tuple[Option, ...]:
    """A question in plain text, without a chat template: small models answer it best so."""
    context = _QUESTION.format(question=question)
    return tuple(Option(context, f" {choice}") for choice in choices)


def _sum_choice(item: Sum) -> ChoiceItem:
    options = tuple(Option(_SUM.format(text=item.text), f" {value}") for value in (item.value, *item.wrong))
    return ChoiceItem(item.text, options)


def _fact(row: Mapping[str, Any]) -> ChoiceItem:
    return ChoiceItem(row["question"], question_options(row["question"], (row["right"], *row["wrong"])))


def _reading(row: Mapping[str, Any]) -> ChoiceItem:
    context = _PASSAGE.format(passage=row["passage"], question=row["question"])
    options = tuple(Option(context, f" {choice}") for choice in (row["right"], *row["wrong"]))
    return ChoiceItem(f"{row['question']} ({row['passage']})", options)


def _pair(row: Mapping[str, Any]) -> ChoiceItem:
    return ChoiceItem(row["right"], (Option(_SENTENCE, row["right"]), Option(_SENTENCE, row["wrong"])))


def _lines(name: str) -> tuple[str, ...]:
    return tuple(line for line in _text(f"{name}.txt").splitlines() if line)


def _rows(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in _text(f"{name}.jsonl").splitlines() if line)


def _text(name: str) -> str:
    return files("luthier.evaluate").joinpath("_items", name).read_text(encoding="utf-8")
