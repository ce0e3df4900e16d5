"""What a model that reads passages is trained on: the answer's passage among distractors, and now and then without it.

Trained on what the search finds alone, a model learns to copy from whatever stands first where the search is good, and
to ignore the passages where it is not. So a share of the rows loses the passage that holds the answer, and rows whose
search missed it get it, among the others, where the documents have it (RAFT, Zhang et al. 2024).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from luthier.audit import Passages
from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._passages import asked_of_documents, stands_in
from luthier.decide._system import System, looked_up
from luthier.train import TrainingRow

WITHOUT = 0.2  # of the rows with the answer's passage lose it
FURTHER = 8  # hits that a passage is replaced from, beside those that are shown


def open_book_rows(
    bench: Bench, untrained: System, without: float = WITHOUT
) -> tuple[list[TrainingRow], dict[str, int]]:
    """The training examples as the system asks them, with passages put in and taken out, and how many of each.

    Keys of the counts: `rows`; of them `found` (the answer's passage was looked up and stays), `taken_out`, `put_in`
    (it was not looked up, and the documents have it), and `missing` (neither). Where answers do not usually stand in
    the documents, all rows are as they are looked up, and the counts are of `rows` only. The same bench gives the same.
    """
    index = untrained.document_index
    assert index is not None  # set together with `passages`
    train = bench.split.train
    usual = bool(asked_of_documents(bench, index))
    holding = Passages(index) if usual else None
    rows, counts = [], dict.fromkeys(("rows", "found", "taken_out", "put_in", "missing") if usual else ("rows",), 0)
    for done, example in enumerate(train, start=1):
        shown = untrained.passages(example.input_text)
        if holding is not None:
            shown, kind = _changed(bench, untrained, example, shown, holding, without)
            counts[kind] += 1
        asked = untrained.request(example.messages, found=shown)
        rows.append(TrainingRow(example.id, asked.messages, example.output, str(example.source)))
        bench.progress("look up passages", done, len(train), "training rows")
    return rows, counts | {"rows": len(rows)}


def _changed(
    bench: Bench, system: System, example: Example, shown: list[str], holding: Passages, without: float
) -> tuple[list[str], str]:
    rng = random.Random(f"passages {bench.split.seed} {example.id}")
    places = [i for i, text in enumerate(shown) if stands_in(example.output, [text])]
    if places and rng.random() >= without:
        return shown, "found"
    if places:
        return _without(system, example, shown, places), "taken_out"
    support = holding.supporting(example.input_text, example.output)
    if not support or not shown:
        return shown, "missing"
    place = rng.randrange(len(shown))
    kept = shown[:-1]  # the last is the least like the question
    return [*kept[:place], holding.texts[support[0].passage], *kept[place:]], "put_in"


def _without(system: System, example: Example, shown: Sequence[str], places: Sequence[int]) -> list[str]:
    """What was looked up, with the next best passages that do not hold the answer in place of those that do."""
    lookup, index = system.setup.passages, system.document_index
    assert lookup is not None and index is not None  # both are set where passages are shown
    hits = looked_up(index, example.input_text, lookup, system.reranker, k=lookup.k + FURTHER)
    others = [h.text for h in hits if h.text not in shown and not stands_in(example.output, [h.text])]
    spare = iter(others)
    kept = [next(spare, None) if i in places else text for i, text in enumerate(shown)]
    return [text for text in kept if text is not None]
