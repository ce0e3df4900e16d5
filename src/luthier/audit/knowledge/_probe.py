"""What the base makes of the words that answers add, asked with demonstrations of the same task."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.audit.knowledge._words import Piece
from luthier.data import Example, Message, content_hash
from luthier.store import Store

if TYPE_CHECKING:
    from luthier.audit._run import Progress
    from luthier.models import LocalModel

DEMONSTRATIONS = 6
ROOM = 0.5  # of the context that demonstrations may take
AT_ONCE = 16  # rows that are asked, and kept, together
FORMAT = 1


@dataclass(frozen=True)
class Told:
    """What the base found of a piece: its negative log-likelihood in nats, its tokens, whether all were likeliest."""

    nats: float
    tokens: int
    first: bool


@dataclass(frozen=True)
class Question:
    """A row to be asked: the messages as they are sent, the wanted answer, and its pieces to look at."""

    messages: tuple[Message, ...]
    answer: str
    pieces: tuple[Piece, ...]


class Probe:
    """Asks a local model how likely it finds pieces of wanted answers; what was asked once is kept in the store.

    Args:
        model: the base; it has to give likelihoods.
        instructions: the system message of every question, where there is one.
        demonstrations: examples shown before each question as turns of their own: what the task is, and how its
            answers look.
        store: keeps what was computed, so that an interrupted run goes on.
        progress: is told about each batch.
    """

    def __init__(
        self,
        model: LocalModel,
        instructions: str,
        demonstrations: Sequence[Example],
        store: Store,
        progress: Progress,
    ) -> None:
        self._model, self._store, self._progress = model, store, progress
        self._beginning = _shown(model, instructions, demonstrations)

    def ask(self, questions: Sequence[Question], stage: str) -> list[list[Told] | None]:
        """What the base finds of the pieces of each question; None where the question is too long for it.

        Raises:
            ModelError: the model's template refuses the conversation.
        """
        rows = [self._row(question) for question in questions]
        keys = ["" if row is None else self._key(row) for row in rows]
        found = self._store.get_answers([key for key in keys if key])
        left = [i for i, key in enumerate(keys) if key and key not in found]
        for start in range(0, len(left), AT_ONCE):
            self._progress(stage, len(rows) - len(left) + start, len(rows), "rows")
            some = [rows[i] for i in left[start : start + AT_ONCE]]
            told = self._model.likelihoods([row.ids for row in some if row], [row.start for row in some if row])
            new = {
                keys[i]: {"logprobs": [[round(float(x), 5) for x in pair] for pair in both]}
                for i, both in zip(left[start : start + AT_ONCE], told, strict=True)
            }
            self._store.put_answers(new)
            found |= new
        return [
            None if row is None else _told(row, found[key]["logprobs"], question.pieces)
            for row, key, question in zip(rows, keys, questions, strict=True)
        ]

    def _row(self, question: Question) -> _Row | None:
        from luthier.models import render_example

        turns = [m for m in question.messages if m.role != "system"]
        own = [m.content for m in question.messages if m.role == "system"]
        messages = (*_with_system(self._beginning, own), *turns)
        rendered = render_example(self._model.tokenizer, messages, question.answer)
        if len(rendered.ids) > self._model.max_length:
            return None
        ends = _ends(self._model.tokenizer, rendered.ids[rendered.prompt_length :], question.answer)
        return _Row(rendered.ids, rendered.prompt_length, ends)

    def _key(self, row: _Row) -> str:
        return content_hash(["likelihoods", FORMAT, self._model.identity, list(row.ids), row.start])


@dataclass(frozen=True)
class _Row:
    """Tokens, index of the answer's first one, and where in the answer's text each of its tokens ends."""

    ids: tuple[int, ...]
    start: int
    ends: tuple[int, ...]


def draw(examples: Sequence[Example], seed: str) -> list[Example]:
    """Demonstrations: different rows of the task, seeded; none is unusually long."""
    ordered = sorted({e.id: e for e in examples}.values(), key=lambda e: e.id)
    lengths = sorted(len(e.input_text) + len(e.output) for e in ordered)
    usual = 3 * lengths[len(lengths) // 2] if lengths else 0
    usable = [e for e in ordered if len(e.input_text) + len(e.output) <= usual and e.output.strip()]
    random.Random(f"knowledge {seed}").shuffle(usable)
    return usable[:DEMONSTRATIONS]


def _shown(model: LocalModel, instructions: str, demonstrations: Sequence[Example]) -> tuple[Message, ...]:
    """The beginning of every question; demonstrations that do not fit are left out."""
    beginning = [Message("system", instructions)] if instructions else []
    for example in demonstrations:
        turns = [m for m in example.messages if m.role != "system"]
        longer = [*beginning, *turns, Message("assistant", example.output)]
        if model.count_tokens([*longer, Message("user", "")]) <= ROOM * model.max_length:
            beginning = longer
    return tuple(beginning)


def _with_system(beginning: Sequence[Message], own: Sequence[str]) -> list[Message]:
    """The beginning with what the row's own system message says beyond the instructions."""
    first = beginning[0].content if beginning and beginning[0].role == "system" else ""
    more = [text for text in own if text.strip() and text != first]
    if not more:
        return list(beginning)
    rest = [m for m in beginning if m.role != "system"]
    return [Message("system", "\n\n".join([*([first] if first else []), *more])), *rest]


def _ends(tokenizer: Any, ids: Sequence[int], answer: str) -> tuple[int, ...]:
    """Where each token of a completion ends in the text of the answer, in characters."""
    encoded = tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
    if tokenizer.is_fast and list(encoded["input_ids"]) == list(ids[: len(encoded["input_ids"])]):
        ends = [end for _, end in encoded["offset_mapping"]]
    else:  # the template changes the answer (strips it, say): what was said up to a token tells where it ends
        whole = tokenizer.decode(list(ids))
        lead = max(whole.find(answer.strip()), 0) - (len(answer) - len(answer.lstrip()))
        ends = [len(tokenizer.decode(list(ids[: i + 1]))) - lead for i in range(len(ids))]
    return tuple(ends) + (len(answer) + 1,) * (len(ids) - len(ends))


def _told(row: _Row, logprobs: Sequence[Sequence[float]], wanted: Sequence[Piece]) -> list[Told]:
    """What was found of each piece: over the tokens that share a character with it."""
    return [_of_piece(row.ends, logprobs, piece) for piece in wanted]


def _of_piece(ends: Sequence[int], logprobs: Sequence[Sequence[float]], piece: Piece) -> Told:
    own = [i for i in _touching(ends, piece.start, piece.end) if i < len(logprobs)]
    nats = -sum(logprobs[i][0] for i in own)
    return Told(nats, len(own), bool(own) and all(logprobs[i][0] >= logprobs[i][1] for i in own))


def _touching(ends: Sequence[int], start: int, end: int) -> Iterator[int]:
    begin = 0
    for index, stop in enumerate(ends):
        if begin < end and stop > start:
            yield index
        begin = stop


def local(model: object) -> LocalModel | None:
    """The model where it can say how likely it finds a text; None where it is hosted, or a fake."""
    return model if hasattr(model, "likelihoods") and hasattr(model, "tokenizer") else None  # type: ignore[return-value]  # known by what it can do: importing the class loads torch
