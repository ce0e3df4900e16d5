"""What is indexed and what is found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IndexItem:
    """A text to be found, under a key of its own. `title` (such as the path of headings) is searched with it."""

    key: str
    text: str
    title: str = ""

    @property
    def searched(self) -> str:
        """Title and text: what is matched and embedded."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True)
class Hit:
    """A found item. `score` is BM25, the cosine, or the sum of reciprocal ranks: comparable within one search only."""

    key: str
    text: str
    score: float
    title: str = ""


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD: what UTF-8 can hold."""
    return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
