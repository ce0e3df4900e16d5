"""The battery of general capability: what is measured before and after training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from luthier.data import content_hash
from luthier.errors import DataError
from luthier.evaluate._battery_files import read_general
from luthier.evaluate._battery_items import (
    AskFamily,
    ChoiceFamily,
    Size,
    arithmetic_by_answer,
    chat_prompts,
    openings,
    shipped_asks,
    shipped_choices,
    spread,
)
from luthier.models import Model

BATTERY_FORMAT = 1
MIN_TEXTS = 8  # independent texts that an interval needs

BatteryProgress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, remark)."""

_CHAT, _PLAIN = "chat", "text"
_CHAT_TOKENS = 40
_PLAIN_TOKENS = 128
_PIECE_TOKENS = 256
_LEAST_PIECE = 16
_FILE_ITEMS: dict[Size, int] = {"quick": 60, "full": 250}
_FILE_PIECES: dict[Size, int] = {"quick": 8, "full": 16}
_FILE_CHARACTERS = 4_000_000  # of a text file; pieces are taken from all over them


@runtime_checkable
class ScoringModel(Model, Protocol):
    """A model that also says how likely it finds given tokens: `LocalModel`, as far as the battery needs it."""

    @property
    def tokenizer(self) -> Any:
        """A tokenizer of transformers."""
        ...

    @property
    def module(self) -> Any:
        """The causal language model of transformers."""
        ...

    def logprobs(self, sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> list[NDArray[np.float32]]:
        """Log-probability of each token from `start` on."""
        ...

    def next_token_logprobs(self, sequence: Sequence[int]) -> NDArray[np.float32]:
        """Log-probabilities of every token after each token of the sequence, [tokens, vocabulary]."""
        ...


@dataclass(frozen=True)
class TextFamily:
    """Texts on which the two models' distributions are compared.

    With `prompts`, the base answers them (`source` "chat") or carries them on as plain text (`source` "plain"), at most
    `tokens` each; with `pieces`, the texts are the user's own.
    """

    name: str
    source: str  # "chat", "plain" or "file"
    prompts: tuple[str, ...]
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """For hashing."""
        return {"name": self.name, "source": self.source, "prompts": list(self.prompts), "tokens": self.tokens}


@dataclass(frozen=True)
class Battery:
    """What is asked, of which base, and where results are kept.

    `hash` covers every item, the base and the sizes; results of a model under the same hash are measured once.
    """

    base: str
    size: Size
    choices: tuple[ChoiceFamily, ...]
    asks: tuple[AskFamily, ...]
    texts: tuple[TextFamily, ...]
    notes: tuple[str, ...] = ()
    cache: Path | None = field(default=None, compare=False)

    @property
    def hash(self) -> str:
        """Content hash (hex)."""
        families = [family.as_dict() for part in (self.choices, self.asks, self.texts) for family in part]
        return content_hash({"format": BATTERY_FORMAT, "base": self.base, "size": self.size, "families": families})


def build_battery(
    base: Model, *, extra: Sequence[Path] = (), cache: Path | None = None, size: Size = "full"
) -> Battery:
    """The shipped families and the user's files, of which at most 250 questions or 16 pieces of 256 tokens are taken.

    A base without log-probabilities (an endpoint) gets the families that are answered: arithmetic, instructions,
    refusals. `size` "quick" takes fewer items; it sees only larger losses. After BLiMP (Warstadt et al. 2020), IFEval
    (Zhou et al. 2023) and XSTest (Röttger et al. 2024) in kind; all shipped items are our own.

    Args:
        base: the model before training; it is not asked anything yet.
        extra: files of multiple-choice questions (JSON lines) or plain text.
        cache: folder for results, so that a base is measured once; None keeps nothing.

    Raises:
        PathError, DataError: a file of `extra` cannot be read or used; file and line are named.
    """
    if not isinstance(base, ScoringModel):
        return _answered_battery(base, extra, cache, size)
    choices, texts = shipped_choices(size), _shipped_texts(size)
    names = Counter(f.name for part in (choices, shipped_asks(size), texts) for f in part)
    notes: tuple[str, ...] = ()
    for path in extra:
        family, note = _user_family(path, base, size)
        names[family.name] += 1
        if names[family.name] > 1:
            raise DataError(
                f"{path}: there is already a family named {family.name!r}",
                why="results are told apart by the file's name",
                fix="give the file another name",
            )
        notes += (note,) if note else ()
        if isinstance(family, ChoiceFamily):
            choices += (family,)
        else:
            texts += (family,)
    return Battery(base.identity, size, choices, shipped_asks(size), texts, notes, cache)


def _answered_battery(base: Model, extra: Sequence[Path], cache: Path | None, size: Size) -> Battery:
    notes = (
        f"{base.name} gives no log-probabilities: facts, reading, language and drift are not measured",
        *(f"{path.name} is not measured: it needs log-probabilities" for path in extra),
    )
    asks = (arithmetic_by_answer(size), *shipped_asks(size))
    return Battery(base.identity, size, (), asks, (), notes, cache)


def _shipped_texts(size: Size) -> tuple[TextFamily, ...]:
    return (
        TextFamily(_CHAT, "chat", chat_prompts(size), _CHAT_TOKENS),
        TextFamily(_PLAIN, "plain", openings(size), _PLAIN_TOKENS),
    )


def _user_family(path: Path, base: ScoringModel, size: Size) -> tuple[ChoiceFamily | TextFamily, str]:
    found = read_general(path)
    if isinstance(found, ChoiceFamily):
        limit = _FILE_ITEMS[size]
        chosen = ChoiceFamily(found.name, tuple(spread(found.items, limit)), found.unit)
        note = (
            f"{path.name}: {limit} of {len(found.items)} questions, evenly spaced" if len(found.items) > limit else ""
        )
        return chosen, note
    pieces = _pieces(found[:_FILE_CHARACTERS], base.tokenizer)
    if not pieces:
        least = MIN_TEXTS * _LEAST_PIECE
        raise DataError(f"{path} is too short: it holds fewer than {least} tokens", fix="name a longer text")
    limit = _FILE_PIECES[size]
    of = f" of its first {_FILE_CHARACTERS:,} characters" if len(found) > _FILE_CHARACTERS else ""
    note = f"{path.name}: {limit} of {len(pieces)} pieces of text{of}, evenly spaced" if len(pieces) > limit else ""
    return TextFamily(path.stem, "file", tuple(spread(pieces, limit)), _PIECE_TOKENS), note


def _pieces(text: str, tokenizer: Any) -> list[str]:
    """The text cut into whole pieces of 256 tokens, or shorter ones where that would give fewer than eight."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    length = min(_PIECE_TOKENS, len(ids) // MIN_TEXTS)
    if length < _LEAST_PIECE:
        return []
    return [tokenizer.decode(ids[i : i + length]) for i in range(0, len(ids) - length + 1, length)]
