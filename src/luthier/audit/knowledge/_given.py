"""What a prompt gives: its words in any form, its numbers and dates, and what can be computed from them."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from luthier.audit.knowledge._words import MONTHS, WEEKDAYS, Piece, any_writing, parts, runs, value_of, words_of

_OPERATIONS: tuple[Callable[[float, float], float], ...] = (
    operator.add,
    operator.sub,
    operator.mul,
    lambda a, b: a / b if b else float("nan"),
    lambda a, b: a * b / 100,
)
_UNITS = (2.0, 7.0, 10.0, 12.0, 24.0, 30.0, 60.0, 100.0, 365.0, 1000.0, 3600.0)  # of time, money and the metric system
_MOST_NUMBERS = 24  # pairs of them are tried
_RESULT = re.compile(r"\s*[$€£]?\s*(-?\d[\d,.]*)")
_NODES = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_EXPRESSION = 80  # characters
_SHARED = 0.7  # of the longer word, at its beginning: another form of the same word
_LEAST_SHARED = 4
_EDITABLE = 5  # characters from which a word may be misspelled by one


@dataclass
class Given:
    """What a prompt says, prepared to be asked whether it gives a piece of an answer."""

    words: set[str] = field(default_factory=set)
    values: set[float] = field(default_factory=set)
    numbers: list[float] = field(default_factory=list)
    codes: set[tuple[str, ...]] = field(default_factory=set)
    dated: bool = False
    text: str = ""
    beyond: Given | None = None
    _beginnings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _computed: set[float] | None = None
    _initials: str = ""

    @classmethod
    def of(cls, text: str, beyond: Given | None = None) -> Given:
        """What a text gives, and what something else gives beyond it (but for computing with)."""
        given = cls(text=text, beyond=beyond)
        folded = words_of(text)
        for key in folded:
            given._add(key)
        given._initials = "".join(key[0] for key in folded)
        return given

    def _add(self, key: str) -> None:
        value = value_of(key)
        if value is not None and value not in self.values:
            self.numbers.append(value)
            self.values.add(value)
        elif value is None and any(c.isdigit() for c in key) and len(found := runs(key)) > 1:
            self.codes.add(found)
        some = parts(key)
        for part in {key, *some}:
            if part not in self.words:
                self.words.add(part)
                self._beginnings[part[:3]].append(part)
        if len(some) > 1:
            self.values.update(float(part) for part in some if part.isdigit() and len(part) < 12)
            self.dated |= sum(part.isdigit() for part in some) >= 3
        if key in MONTHS:
            self.values.add(float(MONTHS[key]))
            self.dated = True

    def gives(self, piece: Piece) -> bool:
        """Whether the prompt holds the piece, in this or another form."""
        return self._gives(piece) or (self.beyond is not None and self.beyond.gives(piece))

    def _gives(self, piece: Piece) -> bool:
        key = piece.key
        if key in self.words or (piece.run_on and piece.text in self.text):
            return True
        value = value_of(key)
        if value is not None:
            return value in self.values or (value.is_integer() and f"{value:.0f}" in self.words)
        some = parts(key)
        if piece.kind == "number":
            return all(self._date_part(float(part)) for part in some)
        if key in MONTHS and float(MONTHS[key]) in self.values:
            return True
        if key in WEEKDAYS and self.dated:
            return True
        if len(some) > 1 and all(part in self.words for part in some):
            return True
        if piece.text.isupper() and 2 <= len(key) <= 6 and key in self._initials:
            return True
        if piece.kind == "code":
            return any_writing(runs(key)).search(self.text) is not None
        return self._other_form(key)

    def respelled(self, answer: str) -> list[tuple[int, int]]:
        """Where an answer writes a code of the prompt in another way, also in two words: "c 19" for C19."""
        low = answer.lower()
        found = [
            match.span()
            for code in self.codes
            if code[-1] in low and code[0] in low
            for match in any_writing(code).finditer(answer)
        ]
        return found if self.beyond is None else found + self.beyond.respelled(answer)

    def _date_part(self, part: float) -> bool:
        """A part of a date or a time, also of one written with two digits of the year or with twelve hours."""
        return not {part, part % 100, part + 1900, part + 2000, part - 12}.isdisjoint(self.values) or part == 0

    def _other_form(self, key: str) -> bool:
        """Inflected, derived, abbreviated, or misspelled by one character."""
        for word in self._beginnings.get(key[:3], ()):
            shared = _shared_beginning(key, word)
            if shared >= _LEAST_SHARED and shared >= _SHARED * max(len(key), len(word)):
                return True
            if shared >= 3 and shared == min(len(key), len(word)) and abs(len(key) - len(word)) <= 2:
                return True
        if len(key) < _EDITABLE:
            return False
        near = (w for w in self.words if abs(len(w) - len(key)) <= 1 and (w[0] == key[0] or w[-1] == key[-1]))
        return any(_one_edit(key, word) for word in near)

    def computes(self, value: float) -> bool:
        """Whether a number is the result of one operation on two numbers of the prompt, or a change of units."""
        if self._computed is None:
            numbers = self.numbers[:_MOST_NUMBERS]
            found = {round(f(a, b), 2) for f in _OPERATIONS for i, a in enumerate(numbers) for b in numbers[:i]}
            found |= {round(f(b, a), 2) for f in _OPERATIONS for i, a in enumerate(numbers) for b in numbers[:i]}
            found |= {round(a * unit, 2) for a in numbers for unit in _UNITS}
            found |= {round(a / unit, 2) for a in numbers for unit in _UNITS}
            found |= {round(a * a, 2) for a in numbers} | {round(abs(a) ** 0.5, 2) for a in numbers}
            self._computed = found
        return round(value, 2) in self._computed or round(-value, 2) in self._computed

    def learn(self, value: float) -> None:
        """A number that was derived may be computed with from now on."""
        if value not in self.values:
            self.values.add(value)
            self.numbers.append(value)
            self._computed = None


def derived_numbers(given: Given, answer: str, numbers: Sequence[Piece]) -> set[int]:
    """Starts of the numbers of an answer that follow from the prompt's, by an equation written out or by one step."""
    results = _equations(answer)
    derived: set[int] = set()
    for piece in numbers:
        value = value_of(piece.key)
        if value is None:
            continue
        if given.gives(piece) or value in results or given.computes(value):
            derived.add(piece.start)
            given.learn(value)
    return derived


def _equations(answer: str) -> set[float]:
    """Right sides of equations in a text that are true: "16 eggs - 3 - 4 = 9"."""
    sides = answer.split("=")
    found = set()
    for left, right in itertools.pairwise(sides):
        result = _RESULT.match(right)
        value = None if result is None else value_of(result.group(1).strip("-.,"))
        computed = _evaluate(re.split(r"[\n;:]|\.\s", left)[-1])
        if value is not None and computed is not None and abs(abs(computed) - value) < 0.006 * max(1.0, value):
            found.add(value)
    return found


def _evaluate(text: str) -> float | None:
    """The value of the arithmetic expression that a text ends in, units left out; None where there is none."""
    text = re.sub(r"(?<=\d),(?=\d{3})|[$€£]", "", text).replace("×", "*").replace("÷", "/").replace("−", "-")
    text = re.sub(r"(?<=[\d\s])[xX](?=[\s\d(])", "*", text)
    text = re.sub(r"(\d+(?:\.\d+)?)\s*%", r"(\1/100)", text)
    text = re.sub(r"[^\d.()+*/-]|(?<!\d)\.(?!\d)", "", re.sub(r"[^\W\d]+(?:/[^\W\d]+)?", "", text)).lstrip("+*/)")
    if not 0 < len(text) <= _EXPRESSION:
        return None
    try:
        return _walk(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError):
        return None


def _walk(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _NODES:
        return float(_NODES[type(node.op)](_walk(node.left), _walk(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_walk(node.operand)
    raise ValueError


def _shared_beginning(a: str, b: str) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def _one_edit(a: str, b: str) -> bool:
    """Whether two words differ by one character changed, added, left out, or by two that changed places."""
    head = _shared_beginning(a, b)
    if a[head + 1 :] == b[head + 1 :] or a[head + 1 :] == b[head:] or a[head:] == b[head + 1 :]:
        return True
    return a[head : head + 2] == b[head : head + 2][::-1] and a[head + 2 :] == b[head + 2 :]


def held_by(text: str, wanted: Sequence[Piece]) -> list[bool]:
    """For each piece, whether a text holds it."""
    given = Given.of(text)
    return [given.gives(piece) for piece in wanted]
