"""The index: a folder of plain files, searched exactly.

    index.json                   format, identity, embedder, hash of the content
    content/items.jsonl          key, title and text, sorted by key
    content/words/               BM25 (arrays and vocabulary of bm25s)
    content/vectors.safetensors  float32 [items, d], rows as in items.jsonl; only where an embedder was given

No file holds a path, a time or a random name: the same items give the same bytes, and a copy gives the same hits.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from luthier.data import content_hash
from luthier.errors import Problem, RetrievalError, StoreError
from luthier.retrieve._embed import Embedder, Vectors
from luthier.retrieve._items import Hit, IndexItem, well_formed
from luthier.retrieve._lexical import LexicalIndex
from luthier.store import hash_folder, new_folder, read_json, write_json, write_text_atomic

FORMAT = 1
FUSION = 60  # the constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009)
QUERIES_KEPT = 256  # whose vectors are not computed again
QUERIES_AT_ONCE = 64  # bounds the memory of queries × items
DIGITS = 6  # cosines are compared to this many decimals: beyond it lies rounding noise, and equal texts must tie

POOL = 8  # of the best by `scores`, whose sentences are looked at
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")

Mode = Literal["lexical", "dense", "hybrid", "scores", "sentences"]


class Index:
    """Items that can be searched. Made by `build_index`, opened by `Index.open`; safe to use from any thread."""

    def __init__(
        self,
        items: Sequence[IndexItem],
        lexical: LexicalIndex,
        vectors: Vectors | None,
        embedder: Embedder | None,
        about: dict[str, Any],
        folder: Path,
    ) -> None:
        self.items = tuple(items)
        self.folder = folder
        self._lexical = lexical
        self._vectors = None if vectors is None else vectors.astype(np.float64)
        self._embedder = embedder
        self._about = about
        self._sentences: dict[int, NDArray[np.float64]] = {}  # vectors of an item's sentences, once they were needed
        self._splitting = threading.Lock()
        self._asked: dict[str, NDArray[np.float64]] = {}  # vectors of queries

    @classmethod
    def open(cls, folder: Path, embedder: Embedder | None = None) -> Index:
        """Opens an index; its content is checked against its hash.

        Args:
            folder: what `build_index` made, or a copy of it.
            embedder: the one it was built with; without it only `lexical` can be searched.

        Raises:
            RetrievalError: not an index, damaged, made by a newer luthier or with another embedder.
        """
        about = _about(folder)
        _check_embedder(folder, about["embedder"], embedder)
        content = folder / "content"
        lines = (content / "items.jsonl").read_text(encoding="utf-8").split("\n")
        items = [IndexItem(**json.loads(line)) for line in lines if line]
        lexical = LexicalIndex.load(content / "words", len(items))
        return cls(items, lexical, _load_vectors(content / "vectors.safetensors"), embedder, about, folder)

    @property
    def identity(self) -> str:
        """Content hash of the items, the way they are searched, and the embedder; the same in every copy."""
        return str(self._about["identity"])

    @property
    def embedder_name(self) -> str | None:
        """The name of the embedder it was built with, for `load_embedder`; None where it has no vectors."""
        return None if self._about["embedder"] is None else str(self._about["embedder"]["name"])

    def search(self, query: str, k: int, *, mode: Mode = "hybrid") -> list[Hit]:
        """The best `k` items, best first, ties in order of their keys; the same alone and in `search_many`.

        Args:
            query: any text; it is not a query language.
            k: how many at most. `lexical` gives only items that share a word with the query.
            mode: BM25 (`lexical`), cosine of the embeddings (`dense`), or both: fused by reciprocal ranks (`hybrid`),
                or as the sum of the two, each in standard deviations over the items (`scores`). `sentences` puts the
                best 8 by `scores` in order by that sum and the cosine of their nearest sentence.

        Raises:
            RetrievalError: k < 1, or vectors are wanted and the index or the embedder is missing.
        """
        return self.search_many([query], k, mode=mode)[0]

    def search_many(self, queries: Sequence[str], k: int, *, mode: Mode = "hybrid") -> list[list[Hit]]:
        """As `search` for each query."""
        if k < 1:
            raise RetrievalError(f"{k} hits cannot be asked for", fix="ask for k ≥ 1")
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            some = queries[start : start + QUERIES_AT_ONCE]
            cosines = None if mode == "lexical" else self._cosines(some)
            for row, query in enumerate(some):
                words = None if mode == "dense" else self._lexical.scores(query)
                near = None if cosines is None else cosines[row]
                if mode in ("scores", "sentences") and words is not None and near is not None:
                    hits.append(self._best_by_scores(k, query, words, near, mode == "sentences"))
                else:
                    hits.append(self._best(k, words, near))
        return hits

    def _best_by_scores(
        self, k: int, query: str, words: NDArray[np.float32], cosines: NDArray[np.float64], closely: bool
    ) -> list[Hit]:
        scores = np.round(_deviations(words) + _deviations(cosines), DIGITS)
        best = np.argsort(-scores, kind="stable")[: max(k, POOL)]
        if closely:
            # In the same unit as the cosines of whole items: a sentence's count as much as its item's.
            unit = float(cosines.std()) or 1.0
            near = np.array([self._nearest_sentence(int(place), query) for place in best]) / unit
            found = np.round(scores[best] + near, DIGITS)
            order = np.argsort(-found, kind="stable")
            scores[best], best = found, best[order]
        return [self._hit(int(place), float(scores[place])) for place in best[:k]]

    def _nearest_sentence(self, place: int, query: str) -> float:
        """The largest cosine of a sentence of an item (its title with each) and the query."""
        assert self._embedder is not None  # `_cosines` has asked for it
        with self._splitting:
            if place not in self._sentences:
                item = self.items[place]
                parts = [part for part in _SENTENCE.split(item.text) if part.strip()] or [item.text]
                whole = [f"{item.title}\n{part}" if item.title else part for part in parts]
                self._sentences[place] = self._embedder.embed(whole).astype(np.float64)
        return float((self._sentences[place] @ self._query_vector(query)).max())

    def _best(self, k: int, words: NDArray[np.float32] | None, cosines: NDArray[np.float64] | None) -> list[Hit]:
        """Items are sorted by key, so a stable sort by score leaves ties in order of their keys."""
        if words is None or cosines is None:
            scores = np.asarray(cosines if words is None else words, np.float64)
            wanted = len(self.items) if words is None else int((scores > 0).sum())
        else:
            scores = _reciprocal_ranks(cosines) + np.where(words > 0, _reciprocal_ranks(words), 0.0)
            wanted = len(self.items)
        best = np.argsort(-scores, kind="stable")[: min(k, wanted)]
        return [self._hit(int(place), float(scores[place])) for place in best]

    def _hit(self, place: int, score: float) -> Hit:
        item = self.items[place]
        return Hit(item.key, item.text, score, item.title)

    def _cosines(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """[queries, items]. Each query is embedded alone, so that its hits do not depend on the others."""
        if self._vectors is None or self._embedder is None:
            missing = "was built without an embedder" if self._vectors is None else "was opened without its embedder"
            raise RetrievalError(
                f"this index {missing}: it cannot be searched by meaning",
                fix='search it with mode="lexical", or give build_index and Index.open an embedder',
            )
        embedded = {query: self._query_vector(query) for query in dict.fromkeys(queries)}
        wanted = np.stack([embedded[query] for query in queries])
        # Adding 0 turns -0.0 into 0.0.
        return np.round(wanted @ self._vectors.T, DIGITS) + 0.0

    def _query_vector(self, query: str) -> NDArray[np.float64]:
        """Of the last queries it is still known: one search asks for it more than once."""
        found = self._asked.get(query)
        if found is None:
            assert self._embedder is not None  # callers have looked
            found = self._embedder.embed_query(query).astype(np.float64)
            if len(self._asked) >= QUERIES_KEPT:
                self._asked = {}
            self._asked[query] = found
        return found


def build_index(items: Sequence[IndexItem], folder: Path, *, embedder: Embedder | None) -> Index:
    """Builds an index of `items` in `folder`, whole or not at all; one that is there already is opened instead.

    Raises:
        RetrievalError: no items, two with one key, or text that UTF-8 cannot hold.
        DiskFullError: no room; what was in `folder` is untouched.
    """
    ordered = sorted(items, key=lambda item: item.key)
    _check_items(ordered)
    _check_place(folder)
    identity = _identity(ordered, embedder)
    if (index := _reusable(folder, identity, embedder)) is not None:
        return index
    texts = [item.searched for item in ordered]
    vectors = None if embedder is None else embedder.embed(texts)
    with new_folder(folder) as building:
        content = building / "content"
        lines = [json.dumps({"key": i.key, "title": i.title, "text": i.text}, ensure_ascii=False) for i in ordered]
        write_text_atomic(content / "items.jsonl", "".join(f"{line}\n" for line in lines))
        LexicalIndex.build(texts).save(content / "words")
        if vectors is not None:
            _save_vectors(content / "vectors.safetensors", vectors)
        about = {
            "format": FORMAT,
            "identity": identity,
            "content": hash_folder(content),
            "embedder": None if embedder is None else {"name": embedder.name, "identity": embedder.identity},
        }
        write_json(building / "index.json", about)
    return Index.open(folder, embedder)


def _identity(ordered: Sequence[IndexItem], embedder: Embedder | None) -> str:
    return content_hash(
        {
            "format": FORMAT,
            "items": [[item.key, item.title, item.text] for item in ordered],
            "embedder": None if embedder is None else embedder.identity,
        }
    )


def _check_items(ordered: Sequence[IndexItem]) -> None:
    if not ordered:
        raise RetrievalError("there is nothing to index", fix="give at least one document or example with text")
    problems = [
        Problem(f"key {key!r} is used {n} times") for key, n in Counter(i.key for i in ordered).items() if n > 1
    ]
    problems += [
        Problem(f"item {item.key!r} holds half a character (a lone surrogate)")
        for item in ordered
        if any(part != well_formed(part) for part in (item.key, item.title, item.text))
    ]
    if problems:
        raise RetrievalError(
            f"{len(problems)} item(s) cannot be indexed",
            fix="give each item a key of its own and whole text",
            problems=problems,
        )


def _check_place(folder: Path) -> None:
    """Refuses to replace anything but an index."""
    if folder.exists() and not (folder / "index.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RetrievalError(
            f"{folder} is there already and is not an index",
            why="building the index would replace it",
            fix="name a folder that does not exist yet",
        )


def _reusable(folder: Path, identity: str, embedder: Embedder | None) -> Index | None:
    try:
        index = Index.open(folder, embedder)
    except RetrievalError:  # nothing there, damaged, or made otherwise: it is built anew
        return None
    return index if index.identity == identity else None


def _about(folder: Path) -> dict[str, Any]:
    """`index.json`, after the content was found to be what it says."""
    if not (folder / "index.json").is_file():
        raise RetrievalError(f"there is no index in {folder}", fix="build it again: luthier decide")
    try:
        about: dict[str, Any] = read_json(folder / "index.json")
        if about["format"] > FORMAT:
            raise RetrievalError(
                f"{folder} was made by a newer luthier (format {about['format']}; this one reads up to {FORMAT})",
                fix="pip install -U luthier",
            )
        damaged = hash_folder(folder / "content") != about["content"]
    except (StoreError, KeyError, TypeError) as error:
        raise _damaged(folder) from error
    if damaged:
        raise _damaged(folder)
    return about


def _damaged(folder: Path) -> RetrievalError:
    return RetrievalError(
        f"the index in {folder} is not what was built",
        why="a file was changed, added or cut off since; its hits would not be those that were measured",
        fix=f"delete it (rm -r {folder}) and run the command again, or restore the release it belongs to",
    )


def _check_embedder(folder: Path, built_with: dict[str, str] | None, embedder: Embedder | None) -> None:
    if embedder is not None and built_with is not None and built_with["identity"] != embedder.identity:
        raise RetrievalError(
            f"{folder} was built with another embedder ({built_with['name']}) than the one given ({embedder.name})",
            why="vectors of two embedders cannot be compared",
            fix="open it with the embedder it was built with, or build it again",
        )


def _save_vectors(file: Path, vectors: Vectors) -> None:
    from safetensors.numpy import save

    file.write_bytes(save({"vectors": np.ascontiguousarray(vectors, np.float32)}))  # its own writing hides a full disk


def _load_vectors(file: Path) -> Vectors | None:
    from safetensors.numpy import load_file

    return load_file(file)["vectors"] if file.exists() else None


def _deviations(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Standard deviations above the mean; 0 for all where they are equal."""
    plain = np.asarray(scores, np.float64)
    spread = plain.std()
    return (plain - plain.mean()) / spread if spread else np.zeros_like(plain)


def _reciprocal_ranks(scores: NDArray[Any]) -> NDArray[np.float64]:
    """1 / (60 + rank) of each item; ranks from 1, ties in the items' order."""
    ranks = np.empty(len(scores), np.float64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    fused: NDArray[np.float64] = 1.0 / (FUSION + ranks)
    return fused
