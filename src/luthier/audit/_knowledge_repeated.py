"""What the answers of a task have in common: labels, keys, turns of phrase. They can be learned from each other."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from luthier.audit._knowledge_leaves import leaves_of
from luthier.audit._knowledge_words import Piece, pieces, plain
from luthier.data import Example
from luthier.spec import LabelScore, Task

COUNTED = 20_000  # rows that say what is frequent
BOILERPLATE = 0.30  # of the answers: a turn of phrase
COMMON = 0.02  # of the answers: an ordinary word of this task
COMMON_FACT = 0.10  # of the answers: a number or a name that they all go back to
LEAST_REPEATS = 3
LONGEST_LABEL = 80  # characters
CLOSED = 0.5  # distinct among all values of a key, below which they are labels

_IDENTIFIER = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+\??")


class Repeated:
    """Labels and frequent words among the answers of a task; copies of a row count once."""

    def __init__(self, examples: Sequence[Example], task: Task) -> None:
        rows: Sequence[Example] = examples
        if len(rows) > COUNTED:
            rows = random.Random(f"knowledge {COUNTED}").sample(list(rows), COUNTED)
        distinct = {hash((example.input_text, example.output)): example for example in rows}
        words: Counter[str] = Counter()
        values: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for example in distinct.values():
            leaves = leaves_of(example.output)
            words.update({piece.key for _, leaf in leaves for piece in pieces(leaf)})
            for key, leaf in leaves:
                values[key][plain(leaf.strip()) if len(leaf) <= LONGEST_LABEL else ""] += 1
        count = len(distinct)
        self._least = max(LEAST_REPEATS, round(COMMON * count))
        self._least_fact = max(LEAST_REPEATS, COMMON_FACT * count)
        self._boilerplate = max(2.0, BOILERPLATE * count)
        self._words = {word: times for word, times in words.items() if times >= min(self._least, self._boilerplate)}
        self._labels = {("", label) for label in _declared(task)}
        for key, counts in values.items():
            if len(counts) < CLOSED * counts.total():
                self._labels.update((key, value) for value, times in counts.items() if times >= LEAST_REPEATS)

    def is_label(self, key: str, leaf: str) -> bool:
        """Whether a whole answer, or the value of a key, is a label: one of a few that recur, or an identifier."""
        return (key, plain(leaf.strip())) in self._labels or _IDENTIFIER.fullmatch(leaf.strip()) is not None

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
