"""What the answers of a task have in common: labels, keys, turns of phrase. They can be learned from each other."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from luthier.audit.knowledge._leaves import leaves_of
from luthier.audit.knowledge._words import Piece, pieces, plain
from luthier.data import Example
from luthier.spec import LabelScore, Task

COUNTED = 20_000  # rows that say what is frequent
BOILERPLATE = 0.30  # of the answers: a turn of phrase
COMMON = 0.02  # of the answers: an ordinary word of this task
COMMON_FACT = 0.10  # of the answers: a number or a name that they all go back to
LEAST_REPEATS = 3
LONGEST_LABEL = 80  # characters
ASKED = 400  # characters at the end of an input: what it asks
THING = 0.20  # of all inputs: what stands in more is no thing that one fact is about
THINGS = 5  # facts about one thing
CLOSED = 0.5  # distinct among all values of a key, below which they are labels

_IDENTIFIER = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+\??")


class Repeated:
    """Labels and frequent words among the answers of a task; copies of a row count once."""

    def __init__(self, examples: Sequence[Example], task: Task) -> None:
        rows: Sequence[Example] = examples
        if len(rows) > COUNTED:
            rows = random.Random(f"knowledge {COUNTED}").sample(list(rows), COUNTED)
        distinct = {hash((example.input_text, example.output)): example for example in rows}.values()
        outputs = {hash(example.output): example.output for example in distinct}.values()
        words = Counter(
            key for output in outputs for key in {p.counted_as for _, leaf in leaves_of(output) for p in pieces(leaf)}
        )
        self._least = max(LEAST_REPEATS, round(COMMON * len(outputs)))
        self._least_fact = max(LEAST_REPEATS, COMMON_FACT * len(outputs))
        self._boilerplate = max(2.0, BOILERPLATE * len(outputs))
        self._words = {word: times for word, times in words.items() if times >= min(self._least, self._boilerplate)}
        self._labels = {("", label) for label in _declared(task)} | set(_labels(list(distinct)))

    def is_label(self, key: str, leaf: str) -> bool:
        """Whether a whole answer, or the value of a key, is a label: one of a few that recur, or an identifier."""
        return (key, plain(leaf.strip())) in self._labels or _IDENTIFIER.fullmatch(leaf.strip()) is not None

    def is_common(self, piece: Piece) -> bool:
        """Whether a piece stands in many answers."""
        count = self._words.get(piece.counted_as, 0)
        if count >= self._boilerplate:
            return True
        return count >= (self._least if piece.kind == "word" else self._least_fact)


def _labels(examples: Sequence[Example]) -> Iterator[tuple[str, str]]:
    """Values, with their keys, that recur among few others; not those that are told about one and the same thing.

    A fact that is asked for in many ways recurs too: all its inputs share the name of what they ask about.
    """
    uses: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, example in enumerate(examples):
        for key, leaf in leaves_of(example.output):
            uses[key][plain(leaf.strip()) if len(leaf) <= LONGEST_LABEL else ""].append(number)
    asked = [frozenset(piece.key for piece in pieces(example.input_text[-ASKED:])) for example in examples]
    everywhere = Counter(word for words in asked for word in words)
    for key, values in uses.items():
        if len(values) >= CLOSED * sum(map(len, values.values())):
            continue
        for value, rows in values.items():
            most = min(THING * len(examples), THINGS * len(rows))
            shared = frozenset.intersection(*(asked[row] for row in rows))
            if len(rows) >= LEAST_REPEATS and not any(everywhere[word] <= most for word in shared):
                yield key, value


def _declared(task: Task) -> Iterator[str]:
    """Labels that the task names."""
    if isinstance(task.score, LabelScore):
        yield from (plain(label.strip()) for label in task.score.labels or ())
