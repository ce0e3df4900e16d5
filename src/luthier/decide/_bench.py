"""What every step of the ladder needs at hand: the task, the cases, the scorer, the base, the store, the indexes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from luthier.data import Example, Message, Split, content_hash
from luthier.evaluate import JudgeScorer, Scorer
from luthier.models import Model
from luthier.retrieve import (
    Embedder,
    Index,
    IndexItem,
    Reranker,
    build_index,
    chunk_documents,
    load_embedder,
    load_reranker,
    read_documents,
)
from luthier.spec import Task
from luthier.store import Store

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int, str], None]
"""Called with (what is being done, done so far, of how many (0: unknown), a short remark)."""


def silent(stage: str, done: int, total: int, remark: str) -> None:
    """A progress callback that shows nothing."""


@dataclass(frozen=True, eq=False)
class Bench:
    """The bench that systems are built and measured on.

    `groups` names the independent source of each test case (see `data.groups_of`). `others` are the bases that are
    tried beside `base`. `optimiser` writes new instructions where the task names one for it; otherwise the base does.
    `bars` are those under which the test cases were looked at before, the latest one last.
    """

    task: Task
    split: Split
    groups: Mapping[str, str]
    scorer: Scorer
    base: Model
    store: Store
    progress: Progress = silent
    others: tuple[Model, ...] = ()
    optimiser: Model | None = None
    bars: tuple[float | None, ...] = ()

    @cached_property
    def each(self) -> tuple[Bench, ...]:
        """The bench of every base by itself, that of `base` first."""
        if not self.others:
            return (self,)
        return tuple(replace(self, base=base, others=()) for base in (self.base, *self.others))

    def on(self, name: str) -> Bench:
        """The bench of the base of that name."""
        return next(bench for bench in self.each if bench.base.name == name)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedding model that the task names."""
        return load_embedder(self.task.retrieval.embedding)

    @cached_property
    def reranker(self) -> Reranker | None:
        """The cross-encoder that the task names, if it names one."""
        name = self.task.retrieval.reranker
        return None if name is None else load_reranker(name)

    @cached_property
    def pool(self) -> dict[str, Example]:
        """Training examples by id: what demonstrations are taken from."""
        return {example.id: example for example in self.split.train}

    @cached_property
    def demonstrations(self) -> Index:
        """The index over the inputs of the training examples."""
        items = [IndexItem(key, example.input_text) for key, example in sorted(self.pool.items())]
        return self._index("demonstrations", items)

    def documents(self, max_chars: int) -> Index:
        """The index over the documents, cut into chunks of at most `max_chars` characters.

        Raises:
            RetrievalError: a document cannot be read.
        """
        assert self.task.documents is not None  # rungs with retrieval are planned only when there are documents
        return self._index("documents", chunk_documents(read_documents(self.task.documents), max_chars=max_chars))

    def _index(self, what: str, items: list[IndexItem]) -> Index:
        content = [[item.key, item.text, item.title] for item in items]
        key = content_hash([what, content, self.embedder.identity])[:20]
        folder = self.store.artefact_path("indexes", key)
        if folder.is_dir():
            return Index.open(folder, self.embedder)
        self.progress(f"index {what}", 0, len(items), "embedding")
        index = build_index(items, folder, embedder=self.embedder)
        self.progress(f"index {what}", len(items), len(items), "done")
        return index

    @cached_property
    def score_hash(self) -> str:
        """Hash of how answers are scored: the settings, and the content (not the place) of the files they name."""
        if isinstance(self.scorer, JudgeScorer):
            return self.scorer.identity
        settings = self.task.score.model_dump(mode="json")
        for name in ("schema_file", "file"):
            if settings.get(name) is not None:
                settings[name] = content_hash(
                    Path(settings[name]).read_text("utf-8", "backslashreplace")
                )  # Python may be in latin-1
        return content_hash(settings)

    @cached_property
    def development(self) -> tuple[Example, ...]:
        """The development cases that choices are made on, in a seeded order."""
        ordered = sorted(self.split.development, key=lambda e: content_hash([self.split.seed, "dev", e.id]))
        return tuple(ordered[: self.task.decide.development_cases])

    @cached_property
    def test(self) -> tuple[Example, ...]:
        """All test cases in the common random order that every rung answers them in.

        Cases of one group stand together: a hopeless rung is then settled after few groups.
        """

        def shuffled(name: str) -> str:
            return content_hash([self.split.seed, "test", name])

        def place(case: Example) -> tuple[str, str]:
            return shuffled(self.groups[case.id]), shuffled(case.id)

        return tuple(sorted(self.split.test, key=place))

    @cached_property
    def max_tokens(self) -> int:
        """The length limit of an answer: a quarter above the longest wanted output, unless the task says it."""
        if self.task.max_answer_tokens is not None:
            return self.task.max_answer_tokens
        by_length = sorted({e.output for e in self.split.train + self.split.development}, key=len)[-8:]
        empty = self.base.count_tokens([Message("user", "x")])
        longest = max(
            self.base.count_tokens([Message("user", "x"), Message("assistant", text)]) - empty for text in by_length
        )
        return int(longest * 1.25) + 8
