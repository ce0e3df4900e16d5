"""Knowledge or behaviour? What the wanted answers hold that neither the input nor the other answers give.

The lexical part of the question, without a model, joined with what the rungs measured with and without documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.audit import stated_facts
from luthier.decide._bench import Bench
from luthier.decide._system import System
from luthier.evaluate import Record

_WORD = re.compile(r"[^\W_]+(?:[.,:/-][^\W_]+)*", re.UNICODE)


def diagnose(bench: Bench, systems: Mapping[str, System], records: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """What is known about missing knowledge, for `Evidence.knowledge`.

    Keys: `kind` (behaviour, mixed, knowledge), `novel_rows` (share of training rows whose answer states what neither
    its input nor the other answers give, as the audit counts them), `samples` of such words; where documents were
    searched: `recall` (share of development cases whose wanted answer stands in what was found), `closed_book` and
    `with_documents` (mean scores on the common test cases).
    """
    facts = stated_facts(bench.split.train, bench.task)
    found: dict[str, Any] = {"kind": facts.kind, "novel_rows": round(facts.share, 4), "samples": list(facts.words)}
    if "retrieval" in systems:
        found["recall"] = _recall(bench, systems["retrieval"])
        closed = next((name for name in ("prompt", "few-shot") if name in records), None)
        if closed is not None:
            n = min(len(records[closed]), len(records["retrieval"]))
            found["closed_book"] = _mean(records[closed][:n])
            found["with_documents"] = _mean(records["retrieval"][:n])
            found["cases"] = n
    return found


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _recall(bench: Bench, system: System) -> float:
    hits = 0
    for case in bench.development:
        found = " ".join(_words(" ".join(system.passages(case.input_text))))
        hits += " ".join(_words(case.output)) in found
    return hits / len(bench.development)


def _mean(records: Sequence[Record]) -> float:
    return sum(record.score for record in records) / len(records)
