"""Texts as they are compared: normalised, and as words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import overload

_SPACE = re.compile(r"\s+")
# A language named C++ is not C, and 1 + 1 is not 1 - 1: some signs are part of what is said.
_DENIED = re.compile(
    r"\b(do|does|did|is|was|are|were|have|has|had|could|would|should|must|need|ai|wo|ca|can)n?(?:(?<=n)['\u2019]?t|not)\b"
)
_WORD = re.compile(r"[a-z0-9]+(?:[+#]+(?![a-z0-9]))?|(?<=\d)\s*[-+*/^=<>%]\s*(?=\d)")


def normalise(text: str) -> str:
    """Compatibility characters, case and white space made one: what "the same text" means."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def words(text: str) -> list[str]:
    """Words of a normalised text: runs of letters, marks and digits, and the signs that tell texts apart.

    A negation written together is two words (`isn't`, `isnt`, `is not`).
    """
    text = _DENIED.sub(r"\1 not", text)
    if text.isascii():
        return [word.strip() for word in _WORD.findall(text)]
    plain = "".join(_said(c) for c in text)
    return [word.strip() for part in plain.split() for word in (_WORD.findall(part) if part.isascii() else (part,))]


def _said(c: str) -> str:
    kind = unicodedata.category(c)
    return c if kind[0] in "LMN" or c in "+#-*/^=<>%" else f" {c} " if kind == "So" else " "


class Texts(Sequence[str]):
    """Texts as they are compared; each is normalised again when it is asked for, so that they are not held twice."""

    def __init__(self, raw: Sequence[str]) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return normalise(self._raw[index]) if isinstance(index, int) else [normalise(text) for text in self._raw[index]]

    def words(self, i: int) -> list[str]:
        """The words of one of them."""
        return words(self[i])
