"""Knowledge or behaviour? What the wanted answers hold that neither the input nor the other answers give.

The lexical part of the question, without a model, joined with what the rungs measured with and without documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.audit import stated_facts
from luthier.decide._bench import Bench
from luthier.decide._passages import read, retrieved
from luthier.decide._system import System
from luthier.decide.failures import right_from
from luthier.evaluate import Record


def diagnose(bench: Bench, systems: Mapping[str, System], records: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """What is known about missing knowledge, for `Evidence.knowledge`.

    Keys: `kind` (behaviour, mixed, knowledge), `novel_rows` (share of training rows whose answer states what neither
    its input nor the other answers give, as the audit counts them), `samples` of such words; where documents were
    searched: `recall` (share of development cases whose wanted answer stands in what was found), `closed_book` and
    `with_documents` (mean scores on the common test cases); `passages`, by rung that looks them up: what became of the
    wanted answers of its test cases (see `_passages.read`), left out where they do not stand in the documents.
    """
    facts = stated_facts(bench.split.train, bench.task)
    found: dict[str, Any] = {"kind": facts.kind, "novel_rows": round(facts.share, 4), "samples": list(facts.words)}
    if "retrieval" in systems:
        counts = retrieved(systems["retrieval"], bench.development)
        found["recall"] = counts["retrieved"] / counts["cases"]
        closed = next((name for name in ("prompt", "few-shot") if name in records), None)
        if closed is not None:
            n = min(len(records[closed]), len(records["retrieval"]))
            found["closed_book"] = _mean(records[closed][:n])
            found["with_documents"] = _mean(records["retrieval"][:n])
            found["cases"] = n
    passages = {name: _read(bench, system, records[name]) for name, system in systems.items() if _looks_up(system)}
    told = {name: counts for name, counts in passages.items() if counts is not None}
    return found | ({"passages": told} if told else {})


def _looks_up(system: System) -> bool:
    return system.setup.passages is not None


def _read(bench: Bench, system: System, records: Sequence[Record]) -> dict[str, Any] | None:
    measured = {record.case for record in records}
    return read(system, [case for case in bench.test if case.id in measured], records, right_from(bench))


def _mean(records: Sequence[Record]) -> float:
    return sum(record.score for record in records) / len(records)
