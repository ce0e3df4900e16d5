"""Findings on knowledge, with the base: which facts it does not know, and where the documents hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding
from luthier.audit.knowledge._check import noted, shown
from luthier.audit.knowledge._label import Share
from luthier.audit.knowledge._probe import local
from luthier.data import Example

if TYPE_CHECKING:
    from luthier.audit._deep import Instruments
    from luthier.audit.knowledge._rows import JudgedRow, Label

_UNKNOWN: tuple[Label, ...] = ("unknown", "in documents", "missed", "nowhere")
_ADVICE = {
    "behaviour": "this is behaviour: the few facts do not stand in the way of a fine-tune",
    "mixed": "train on the behaviour; give the facts in the prompt of their rows, or leave these rows out",
    "knowledge": "this is knowledge: try retrieval first, and fine-tune at most to use what is retrieved",
}


def check_with_base(data: Dataset, instruments: Instruments) -> Iterable[Finding]:
    """Sampled rows, labelled with the base: facts it knows, facts it does not, and where those stand.

    Raises:
        ModelError: the base cannot be loaded, or its template refuses a conversation.
        RetrievalError: a document or the embedder cannot be read.
    """
    from luthier.audit.knowledge._label import is_candidate
    from luthier.audit.knowledge._novelty import Novelties
    from luthier.audit.knowledge._rows import Judge

    pool = data.examples if data.split is None else data.split.train
    novelties = Novelties(pool, data.task)
    if not any(is_candidate(novelties.of(example)) for example in pool):
        return
    model = local(instruments.model)
    if model is None:
        yield _not_asked(data)
        return
    judge = Judge(data.task, pool, model, instruments.passages, instruments.store, instruments.progress)
    rows = judge.judge(judge.sample(pool, data.task.split.seed))
    yield from findings_of(rows, with_documents=instruments.passages is not None)


def findings_of(rows: Sequence[JudgedRow], *, with_documents: bool) -> Iterable[Finding]:
    """The findings that labelled rows amount to."""
    judged = [row for row in rows if row.label != "too long"]
    unknown = [row for row in judged if row.label in _UNKNOWN]
    if not judged:
        return
    yield _unknown(judged, unknown, with_documents)
    if with_documents:
        yield from _placed(unknown)
    if len(judged) < len(rows):
        some = [row.example for row in rows if row.label == "too long"]
        yield finding(
            "facts-not-asked", "note", some, "rows too long for the base to be asked about", "use a base with more room"
        )


def _unknown(judged: Sequence[JudgedRow], unknown: Sequence[JudgedRow], with_documents: bool) -> Finding:
    share = Share(len(unknown), len(judged))
    known = sum(row.label == "known" for row in judged)
    skill = sum(row.label == "skill" for row in judged)
    reason = f"of the rows that were drawn, {share} state a fact that neither their prompt gives nor the base knows"
    if known:
        reason += f"; {known} more state one that it knows, which does no harm"
    if skill:
        reason += f"; {skill} show a skill (a calculation, code, another language), which can be taught"
    severity: Severity = "note" if share.verdict == "behaviour" or not unknown else "harms"
    fix = _ADVICE[share.verdict] if unknown else "nothing to do"
    if unknown and share.verdict != "behaviour" and not with_documents:
        fix += "; write the facts into documents and name them in luthier.yaml (documents: folder)"
    if share.verdict == "mixed" and unknown:
        fix += "; where they have to be trained on, few epochs (at most 2) and early stopping"
    examples, samples = _shown(unknown)
    return finding("unknown-facts", severity, examples, reason, fix, samples=samples)


def _placed(unknown: Sequence[JudgedRow]) -> Iterable[Finding]:
    """Unknown facts by where they stand."""
    places: tuple[tuple[Label, str, Severity, str, str], ...] = (
        (
            "in documents",
            "facts-in-documents",
            "note",
            "facts that the base does not know, and that a search of the documents finds",
            "leave them to retrieval: take these rows out of training, or put the passages into their prompts",
        ),
        (
            "missed",
            "facts-missed",
            "note",
            "facts that the documents hold, but that a search with the question does not find",
            "write headings and words of the questions into these documents, or use another embedding"
            " (retrieval: {embedding: ...})",
        ),
        (
            "nowhere",
            "facts-nowhere",
            "harms",
            "facts that neither the base knows nor the documents give",
            "write them into the documents first, or delete these rows",
        ),
    )
    for label, code, severity, reason, fix in places:
        rows = [row for row in unknown if row.label == label]
        if rows:
            share = Share(len(rows), len(unknown))
            examples, samples = _shown(rows)
            said = f"{reason}: {share} of the unknown ones"
            if label == "in documents":
                said += (
                    f"; given what is found, the base says {sum(row.read for row in rows)} of them as they are wanted"
                )
            yield finding(code, severity, examples, said, fix, samples=samples)


def _shown(rows: Sequence[JudgedRow]) -> tuple[list[Example], list[Sample]]:
    """The examples of labelled rows, and a few to look at."""
    pairs = [(row.example, noted(row.novelty.counted)) for row in rows]
    return [example for example, _ in pairs], shown(pairs)


def _not_asked(data: Dataset) -> Finding:
    return finding(
        "facts-not-asked",
        "note",
        (),
        f"{data.task.base} does not say how likely it finds a text, so what it knows could not be asked",
        "ask a model on this machine: set base to one in a copy of luthier.yaml, and run luthier check --deep there",
    )
