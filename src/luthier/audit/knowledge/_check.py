"""Findings on knowledge, from the words alone: answers that state what nothing gives, and what of it will change."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding, sample
from luthier.audit.knowledge._label import is_candidate, verdict_of
from luthier.audit.knowledge._leaves import leaves_of, spans_of
from luthier.audit.knowledge._novelty import Novelties
from luthier.audit.knowledge._stated import showable
from luthier.audit.knowledge._volatile import volatile
from luthier.audit.knowledge._words import Piece
from luthier.data import Example

SHOWN = 5
NAMED = 6
LEAST = 3  # rows

_KINDS = {
    "knowledge": "this is knowledge more than behaviour",
    "mixed": "behaviour with facts in it",
    "behaviour": "behaviour with few facts in it",
}

Noted = tuple[tuple[str, str], ...]  # texts that are new, each with what is said of it


def check_knowledge(data: Dataset) -> Iterable[Finding]:
    """Rows whose answer states a fact that the prompt does not give, and facts that will not stay true."""
    novelties = Novelties(data.examples, data.task)
    today = dt.date.today()
    facts: list[tuple[Example, Noted]] = []
    changing: list[tuple[Example, Noted]] = []
    reasons: Counter[str] = Counter()
    for example in data.examples:
        novelty = novelties.of(example)
        if not is_candidate(novelty):
            continue
        facts.append((example, noted(novelty.counted)))
        pieces = () if novelty.skill else novelty.counted
        found = _changing(example, pieces, today)
        if found:
            changing.append((example, tuple((text, why) for why, text in found.items())))
            reasons.update(found.keys())
    yield from _teaches_facts(data, facts)
    yield from _volatile_facts(changing, reasons)


def _changing(example: Example, pieces: Sequence[Piece], today: dt.date) -> dict[str, str]:
    """Why facts of an answer will change, each with one that does.

    Of JSON only the value counts that a piece stands in: keys are the form. Where there are several values, the
    question is not about one of them, so its words do not count.
    """
    values = [value for _, value in leaves_of(example.output)]
    spans = spans_of(example.output, values)
    question = example.messages[-1].content if len(values) == 1 else ""
    found: dict[str, str] = {}
    for piece in pieces:
        own = (piece.start, piece.end)
        start, end = next(((a, b) for a, b in spans if a <= piece.start and piece.end <= b), own)
        moved = replace(piece, start=piece.start - start, end=piece.end - start)
        if why := volatile(example.output[start:end], moved, question, today):
            found[why] = piece.text
    return found


def _teaches_facts(data: Dataset, rows: Sequence[tuple[Example, Noted]]) -> Iterable[Finding]:
    if len(rows) < LEAST:
        return
    share = len(rows) / len(data.examples)
    kind = verdict_of(share, share)
    severity: Severity = "harms" if kind == "knowledge" else "note"
    reason = (
        f"answers that state what neither their prompt gives nor other answers repeat ({share:.1%} of the rows):"
        f" {_KINDS[kind]} (judged by their words)"
    )
    where = (
        "run luthier check --deep to ask the base which of them it knows, and where the documents hold them"
        if data.task.documents
        else "run luthier check --deep to ask the base which of them it knows; write the rest into documents, name them"
        " in luthier.yaml (documents: folder), and let retrieval give them"
    )
    yield finding("teaches-facts", severity, [e for e, _ in rows], reason, where, samples=shown(rows))


def _volatile_facts(rows: Sequence[tuple[Example, Noted]], reasons: Counter[str]) -> Iterable[Finding]:
    if not rows:
        return
    kinds = ", ".join(f"{why} ({count:,})" for why, count in reasons.most_common(4))
    reason = f"answers state facts that will change: {kinds}"
    fix = "keep them in documents and retrieve them; or put them into the prompt of these rows, as serving will"
    yield finding("volatile-facts", "note", [e for e, _ in rows], reason, fix, samples=shown(rows))


def noted(pieces: Sequence[Piece]) -> Noted:
    """The texts of pieces, each once, with nothing to say of them."""
    return tuple((text, "") for text in dict.fromkeys(piece.text for piece in pieces))


def shown(rows: Sequence[tuple[Example, Noted]]) -> list[Sample]:
    """A few rows to look at, from all over the set, with what is new in them. Parts of personal data are left out."""
    step = max(1, len(rows) // SHOWN)
    return [sample(example, remark=_remark(example, new)) for example, new in rows[::step][:SHOWN]]


def _remark(example: Example, new: Noted) -> str:
    seen = showable(example, (text for text, _ in new))
    texts = [f"{text} ({why})" if why else text for text, why in new if text in seen]
    return "new: " + ", ".join(texts[:NAMED]) + (", …" if len(texts) > NAMED else "") if texts else ""
