"""Checks that ask a model: the sentence embedder, or the base itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.audit._coverage import check_coverage
from luthier.audit._finding import Dataset, Finding
from luthier.audit._meaning import check_meaning
from luthier.audit._run import Progress, worst_first
from luthier.audit.knowledge import check_with_base
from luthier.audit.surprise import check_surprise
from luthier.data import content_hash
from luthier.models import Model, load_model
from luthier.retrieve import (
    Embedder,
    Index,
    IndexItem,
    build_index,
    chunk_documents,
    load_embedder,
    read_documents,
)
from luthier.spec import Task
from luthier.store import Store, new_folder

Vectors = NDArray[np.float32]

PASSAGE = 1000  # characters of a passage of the documents


@dataclass(frozen=True, eq=False)
class Instruments:
    """What checks with a model use; each is opened when it is first asked for. `store` keeps what took long."""

    task: Task
    store: Store
    progress: Progress

    @cached_property
    def embedder(self) -> Embedder:
        """The embedding model that the task names."""
        return load_embedder(self.task.retrieval.embedding)

    @cached_property
    def model(self) -> Model:
        """The base of the task.

        Raises:
            ModelError: it cannot be loaded.
        """
        self.progress(f"load {self.task.base}", 0, 1, "")
        return load_model(self.task.base)

    @cached_property
    def passages(self) -> Index | None:
        """The documents as an index of passages; None where the task has none.

        Raises:
            RetrievalError: a document cannot be read.
        """
        if self.task.documents is None:
            return None
        return self.index("documents", chunk_documents(read_documents(self.task.documents), max_chars=PASSAGE))

    def index(self, what: str, items: list[IndexItem]) -> Index:
        """An index over texts, built once for the same texts and embedder."""
        content = [[item.key, item.text, item.title] for item in items]
        folder = self.store.artefact_path("indexes", content_hash([what, content, self.embedder.identity])[:20])
        if folder.is_dir():
            return Index.open(folder, self.embedder)
        self.progress(f"index {what}", 0, len(items), "embedding")
        return build_index(items, folder, embedder=self.embedder)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """The vectors of texts, float32 [len(texts), d], made once for the same texts and embedder."""
        key = content_hash([list(texts), self.embedder.identity])[:20]
        folder = self.store.artefact_path("vectors", key)
        if not folder.is_dir():
            self.progress("embed", 0, len(texts), "inputs")
            with new_folder(folder) as building:
                np.save(building / "vectors.npy", self.embedder.embed(texts), allow_pickle=False)
        found: Vectors = np.load(folder / "vectors.npy", allow_pickle=False)
        return found


DEEP: tuple[tuple[str, Callable[[Dataset, Instruments], Iterable[Finding]]], ...] = (
    ("meaning", check_meaning),
    ("knowledge", check_with_base),
    ("coverage", check_coverage),
    ("answers of other rows", check_surprise),
)


def audit_deeply(data: Dataset, instruments: Instruments) -> list[Finding]:
    """Every finding that takes a model, those that block first.

    Raises:
        ModelError: the base cannot be loaded.
        RetrievalError: a document or the embedder cannot be read.
    """
    found: list[Finding] = []
    for number, (name, check) in enumerate(DEEP):
        instruments.progress("check with models", number, len(DEEP), name)
        found += check(data, instruments)
    return worst_first(found)
