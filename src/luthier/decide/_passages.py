"""Whether the passage with the wanted answer is looked up, and the search that does so most often on training rows.

An answer stands in a text where its words do, in their order, whatever their case and marks between them: what open-
domain question answering counts as a retrieved answer (Karpukhin et al. 2020). It says nothing where answers are labels
or records, so nothing is counted where fewer than half of them stand in any document.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._system import Lookup, SearchMode, System, looked_up
from luthier.evaluate import Record
from luthier.retrieve import Index

ROWS = 100  # training rows that searches are compared on
HELD = 0.5  # of the answers stand in the documents: below, what is looked up cannot be judged by them
BETTER = 0.01  # recall that a dearer search has to add
SEARCHES: tuple[SearchMode, ...] = ("hybrid", "scores", "sentences")  # cheapest first

_WORD = re.compile(r"[^\W_]+(?:[.,:/-][^\W_]+)*", re.UNICODE)


def said(text: str) -> str:
    """The words of a text in lower case, one space around each."""
    return f" {' '.join(word.casefold() for word in _WORD.findall(text))} "


def stands_in(answer: str, texts: Sequence[str]) -> bool:
    """Whether one of these texts says an answer word for word; an answer without words stands nowhere."""
    words = said(answer)
    return bool(words.strip()) and any(words in said(text) for text in texts)


class Held:
    """Which answers stand in the items of an index at all, found or not."""

    def __init__(self, index: Index) -> None:
        self._said = [said(item.text) for item in index.items]

    def of(self, cases: Sequence[Example]) -> list[Example]:
        """Those of the cases whose wanted answer stands in some item."""
        wanted = [(case, said(case.output)) for case in cases]
        return [case for case, words in wanted if words.strip() and any(words in text for text in self._said)]


def asked_of_documents(bench: Bench, index: Index) -> list[Example]:
    """Training rows, at most `ROWS`, whose answers stand in the documents; none where that is not usual in the task."""
    rows = sorted(bench.split.train, key=lambda row: row.id)
    some = random.Random(f"searches {bench.split.seed}").sample(rows, min(ROWS, len(rows)))
    held = Held(index).of(some)
    return held if len(held) >= HELD * len(some) else []


def best_search(bench: Bench, index: Index, k: int, rows: Sequence[Example]) -> tuple[Lookup, list[dict[str, Any]]]:
    """The cheapest search of which no dearer one finds clearly more of the rows' answers, and what each found.

    A cross-encoder that the task names comes last; where the rows tell nothing it is taken, as it was asked for.
    """
    hybrid = Lookup(k=k, mode="hybrid", embedding=bench.task.retrieval.embedding, index=index.identity)
    ways = [Lookup(k=k, mode=mode, embedding=hybrid.embedding, index=hybrid.index) for mode in SEARCHES]
    reranker = bench.reranker
    if reranker is not None:
        ways.append(
            Lookup(k, "scores", hybrid.embedding, hybrid.index, reranker=reranker.name, reranking=reranker.identity)
        )
    if not rows:
        return (hybrid if reranker is None else ways[-1]), []
    best, most, table = hybrid, -1.0, []
    for way in ways:
        found = 0
        for done, row in enumerate(rows, start=1):
            texts = [hit.text for hit in looked_up(index, row.input_text, way, reranker)]
            found += stands_in(row.output, texts)
            bench.progress("choosing a search", done, len(rows), f"{way.words}, {k} of {len(index.items)} passages")
        recall = found / len(rows)
        table.append({"search": way.words, "passages": k, "rows": len(rows), "recall": round(recall, 4)})
        if recall >= most + BETTER:
            best, most = way, recall
    return best, table


def retrieved(system: System, cases: Sequence[Example]) -> dict[str, int]:
    """How many of the cases have their wanted answer in what a system looks up for them."""
    found = sum(stands_in(case.output, system.passages(case.input_text)) for case in cases)
    return {"cases": len(cases), "retrieved": found}


def read(system: System, cases: Sequence[Example], records: Sequence[Record], right: float) -> dict[str, Any] | None:
    """What became of the wanted answers of measured cases; None where they do not usually stand in the documents.

    Keys: `cases`; of them `held` (the answer stands in the documents) and `retrieved` (in what was looked up); of these
    `used`: answered right, with a score of at least `right`; `words` say it, telling a bad index from a bad reader.
    """
    assert system.document_index is not None  # callers ask about systems that look something up
    held = Held(system.document_index).of(cases)
    if not cases or len(held) < HELD * len(cases):
        return None
    scores = {record.case: record.score for record in records}
    found = [case for case in held if stands_in(case.output, system.passages(case.input_text))]
    used = sum(scores[case.id] >= right for case in found)
    counts = {"cases": len(cases), "held": len(held), "retrieved": len(found), "used": used}
    return counts | {"right": right, "words": _words(**counts)}


def _words(cases: int, held: int, retrieved: int, used: int) -> str:
    line = f"the passage with the answer was retrieved in {retrieved / cases:.0%} of {cases} cases"
    if held < cases:
        line += f" (for {cases - held} no document holds it)"
    return line if not retrieved else f"{line}; the reader used it in {used / retrieved:.0%} of these"
