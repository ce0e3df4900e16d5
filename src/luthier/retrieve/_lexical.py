"""BM25 over words (Robertson and Zaragoza 2009; Lucene's variant, by the library bm25s)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from luthier.retrieve._items import well_formed

if TYPE_CHECKING:
    import Stemmer
    from bm25s import BM25

# Chinese, Japanese and Korean are written without spaces: there every character is a word of its own.
WITHOUT_SPACES = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
ACCENT = re.compile("[\u0300-\u036f]")


class LexicalIndex:
    """Scores every text for a query. Exact, and the same on every machine."""

    def __init__(self, engine: BM25 | None, size: int) -> None:
        self._engine = engine  # None where no text has a word
        self._size = size

    @classmethod
    def build(cls, texts: Sequence[str]) -> LexicalIndex:
        """Indexes texts in their order."""
        import bm25s

        stemmer = _new_stemmer()
        tokens = [words(text, stemmer) for text in texts]
        vocabulary = {word: number for number, word in enumerate(sorted({word for text in tokens for word in text}))}
        if not vocabulary:
            return cls(None, len(texts))
        engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
        ids = [[vocabulary[word] for word in text] for text in tokens]
        engine.index((ids, vocabulary), create_empty_token=False, show_progress=False)
        return cls(engine, len(texts))

    @classmethod
    def load(cls, folder: Path, size: int) -> LexicalIndex:
        """Reads what `save` wrote; `size` is the number of texts."""
        import bm25s

        return cls(bm25s.BM25.load(folder, allow_pickle=False) if folder.exists() else None, size)

    def save(self, folder: Path) -> None:
        """Writes arrays and vocabulary into `folder`; nothing where no text has a word."""
        if self._engine is not None:
            self._engine.save(folder, allow_pickle=False, show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 of each text, [number of texts]; 0 where it shares no word with the query."""
        if self._engine is None:
            return np.zeros(self._size, np.float32)
        vocabulary = self._engine.vocab_dict
        ids = [vocabulary[word] for word in words(query, _new_stemmer()) if word in vocabulary]
        if not ids:
            return np.zeros(self._size, np.float32)
        found: NDArray[np.float32] = self._engine.get_scores_from_ids(ids)
        return found


def words(text: str, stemmer: Stemmer.Stemmer) -> list[str]:
    """Words in lower case, without accents, with English endings cut off (Snowball); anything else is left out."""
    decomposed = unicodedata.normalize("NFKD", well_formed(text).casefold())
    plain = unicodedata.normalize("NFC", ACCENT.sub("", decomposed))
    stems: list[str] = stemmer.stemWords(_word_pattern().findall(plain))
    return stems


def _new_stemmer() -> Stemmer.Stemmer:
    """One for each use: a stemmer must not be shared by threads."""
    import Stemmer

    return Stemmer.Stemmer("english")


@cache
def _word_pattern() -> re.Pattern[str]:
    # Vowel signs and the like (Hindi, Thai, Arabic) are marks, which \w leaves out, but they are parts of words.
    marks = "".join(c for c in map(chr, range(0x370, 0x10000)) if unicodedata.category(c) in ("Mn", "Mc"))
    return re.compile(rf"[{WITHOUT_SPACES}]|(?:[^\W{WITHOUT_SPACES}]|[{marks}])+")
