"""Documents cut into passages by their structure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from luthier.data import Document
from luthier.errors import RetrievalError
from luthier.retrieve._documents import is_markdown
from luthier.retrieve._items import IndexItem


class _Heading(NamedTuple):
    start: int  # character offsets of its first line and of what follows it
    end: int
    level: int
    text: str


def chunk_documents(documents: Iterable[Document], *, max_chars: int = 1000, overlap: int = 0) -> list[IndexItem]:
    """Passages of at most `max_chars` characters, cut at headings, paragraphs, sentences, words, in that order.

    The key is `<document>#<number from 0>`; the title is the path of headings above the passage ("Guide > Refunds").
    Neighbouring passages share up to `overlap` characters. The splitter is semantic-text-splitter's.

    Raises:
        RetrievalError: `max_chars` < 1, or `overlap` not in [0, max_chars).
    """
    if max_chars < 1 or not 0 <= overlap < max_chars:
        raise RetrievalError(
            f"passages of at most {max_chars} characters with an overlap of {overlap} cannot be cut",
            fix="choose max_chars ≥ 1 and 0 ≤ overlap < max_chars",
        )
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    plain, markdown = TextSplitter(max_chars, overlap=overlap), MarkdownSplitter(max_chars, overlap=overlap)
    items: list[IndexItem] = []
    for document in documents:
        structured = is_markdown(document)
        headings = _headings(document.text) if structured else []
        chunks = (markdown if structured else plain).chunk_indices(document.text)
        items += [
            IndexItem(f"{document.name}#{number}", text, _title(headings, document.text, start))
            for number, (start, text) in enumerate(chunks)
        ]
    return items


def _headings(text: str) -> list[_Heading]:
    """The headings that stand on their own (not in lists or quotations), in order."""
    from markdown_it import MarkdownIt

    starts = [0]  # character offset of each line
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    tokens = MarkdownIt("commonmark").parse(text)
    found: list[_Heading] = []
    for token, inner in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            words = "".join(part.content if part.content else " " for part in inner.children or ())
            found.append(_Heading(starts[token.map[0]], starts[token.map[1]], int(token.tag[1:]), words.strip()))
    return found


def _title(headings: Sequence[_Heading], text: str, start: int) -> str:
    """The path of headings that a passage beginning at `start` stands under; those it begins with belong to it."""
    path: list[_Heading] = []
    for heading in headings:
        if heading.start > start:
            if text[start : heading.start].strip():
                break
            start = heading.end
        elif heading.end > start:
            start = heading.end
        path = [above for above in path if above.level < heading.level] + [heading]
    return " > ".join(heading.text for heading in path if heading.text)
