"""Training rows as tokens: rendered once, by the renderer that also serves, and refused when they teach nothing.

Many rows are rendered by several processes, each with a copy of the tokenizer; the result is the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.data import Message, content_hash
from luthier.errors import Problem, TeachesNothingError
from luthier.models import Flaw, control_tokens, quiet, taught_example
from luthier.train._apart import call_apart, processors

if TYPE_CHECKING:
    from luthier.models import LocalModel, Outline

SHORTEST_PLAIN = 8  # tokens; the first ones of a text are hardly predictable and say little
EACH = 2_000  # rows at least for a process: it takes as long to start as to render 1,500 short ones
MOST = 8  # processes: each holds 0.4 GB

_FLAWS = {
    "control-token": "the answer spells out control token(s) of the model: {seen}",
    "template-refuses": "it cannot be rendered: {seen}",
    "nothing-to-learn": "{seen}",
    "end-not-learned": "the end of the turn is not learned, so the model would never learn to stop",
    "cut-off": "{seen}, more than the {limit} allowed: the answer would be cut off",
}


@dataclass(frozen=True)
class TrainingRow:
    """A conversation and the answer to learn. `id` names the row in errors; `source` is where it was read."""

    id: str
    messages: tuple[Message, ...]
    output: str
    source: str


@dataclass(frozen=True)
class EncodedRow:
    """A row as token ids. Tokens from `start` on are labels; the last one ends the turn.

    A `held` row is not learned: the distributions before its labels shall stay those of the base.
    """

    id: str
    source: str
    ids: tuple[int, ...]
    start: int
    held: bool = False

    @property
    def labels(self) -> int:
        """Number of label tokens."""
        return len(self.ids) - self.start


def encode_rows(model: LocalModel | Outline, rows: Sequence[TrainingRow], max_length: int | None) -> list[EncodedRow]:
    """Render and tokenise every row.

    Args:
        model: its tokenizer, chat template and longest sequence count.
        rows: what to render.
        max_length: longest row in tokens; None means what the model takes.

    Raises:
        TeachesNothingError: some rows would teach nothing or the wrong thing; every one of them is named.
    """
    encoded, problems = sort_rows(model, rows, max_length)
    if not rows:
        raise TeachesNothingError("there are no rows to train on", fix="add examples to the file under examples:")
    if problems:
        raise TeachesNothingError(
            f"{len(problems)} of {len(rows)} training rows would teach nothing or the wrong thing",
            why="a cut answer teaches to stop in mid-sentence, an answer without an end teaches never to stop",
            fix="correct or remove these rows (luthier check --fix), or raise train: max_length in luthier.yaml",
            problems=problems,
        )
    return encoded


def check_rows(
    model: LocalModel | Outline, rows: Sequence[TrainingRow], max_length: int | None = None
) -> list[Problem]:
    """What is wrong with rows, without training: one problem per row that would teach nothing or the wrong thing."""
    return sort_rows(model, rows, max_length)[1]


def sort_rows(
    model: LocalModel | Outline, rows: Sequence[TrainingRow], max_length: int | None
) -> tuple[list[EncodedRow], list[Problem]]:
    """Rows that can be trained on, as tokens, and the problems of those that cannot."""
    limit = min(max_length or model.max_length, model.max_length)
    encoded: list[EncodedRow] = []
    problems: list[Problem] = []
    for row, result in zip(rows, _encode_all(model.tokenizer, rows, limit), strict=True):
        if isinstance(result, EncodedRow):
            encoded.append(result)
        else:
            problems.append(Problem(f"row {row.id}: {result}", row.source or None))
    return encoded, problems


def encode_part(part: Mapping[str, Any]) -> list[Any]:
    """For a process of its own: token ids and `start` of each row of a part, or what is wrong with it."""
    with quiet():
        tokenizer = getattr(import_module(part["module"]), part["class"]).from_pretrained(part["folder"])
    special = control_tokens(tokenizer)
    found: list[Any] = []
    for messages, output in part["rows"]:
        row = TrainingRow("", tuple(Message(**message) for message in messages), output, "")
        result = _encode(tokenizer, row, special, part["limit"])
        found.append(result if isinstance(result, str) else [result.ids, result.start])
    return found


def replay_rows(
    model: LocalModel | Outline, rows: Sequence[TrainingRow], max_length: int | None
) -> tuple[list[EncodedRow], list[Problem]]:
    """Texts on which a trained model shall stay the base: each conversation, and each answer as plain text.

    All their tokens are compared, those of the prompt as well: `start` is 1. Plain text is held because a model is also
    asked without its chat template, and holding one form alone lets the other go.
    """
    encoded, problems = sort_rows(model, rows, max_length)
    texts = {row.id: row.output for row in rows}
    held: list[EncodedRow] = []
    for row in encoded:
        plain = tuple(model.tokenizer.encode(texts[row.id]))
        held.append(replace(row, start=1, held=True))
        if len(plain) >= SHORTEST_PLAIN:
            held.append(EncodedRow(f"{row.id} plain", row.source, plain, 1, held=True))
    return held, problems


def rounded_length(rows: Sequence[EncodedRow], step: int = 64) -> int:
    """Length of the longest row, rounded up to a multiple of `step` tokens."""
    return -(-max(len(row.ids) for row in rows) // step) * step


def rows_hash(rows: Sequence[EncodedRow]) -> str:
    """Content hash of what is learned from rows: their tokens and where the labels begin, in order."""
    return content_hash([[list(row.ids), row.start] for row in rows])


def _encode_all(tokenizer: Any, rows: Sequence[TrainingRow], limit: int) -> Sequence[EncodedRow | str]:
    """Each row as tokens, or what is wrong with it."""
    count = min(processors(), MOST, len(rows) // EACH) if len(rows) >= 2 * EACH else 1
    kind = type(tokenizer)
    if count == 1 or not kind.__module__.startswith("transformers."):  # another class may not load as it was
        special = control_tokens(tokenizer)
        return [_encode(tokenizer, row, special, limit) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        common = {"module": kind.__module__, "class": kind.__name__, "folder": folder, "limit": limit}
        texts = [[[message.as_dict() for message in row.messages], row.output] for row in rows]
        parts = [common | {"rows": texts[i::count]} for i in range(count)]
        found = call_apart(__name__, encode_part.__name__, parts)
    results = (found[i % count][i // count] for i in range(len(rows)))
    return [
        result if isinstance(result, str) else EncodedRow(row.id, row.source, tuple(result[0]), result[1])
        for row, result in zip(rows, results, strict=True)
    ]


def _encode(tokenizer: Any, row: TrainingRow, special: tuple[str, ...], limit: int) -> EncodedRow | str:
    """The row as tokens, or what is wrong with it."""
    taught = taught_example(tokenizer, row.messages, row.output, special, limit)
    if isinstance(taught, Flaw):
        return _FLAWS[taught.code].format(seen=taught.seen, limit=limit)
    return EncodedRow(row.id, row.source, taught.ids, taught.prompt_length)
