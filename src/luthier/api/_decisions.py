"""Taking a decision, keeping it with all its evidence, and computing it again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.api._data import Data
from luthier.data import content_hash
from luthier.decide import Bench, Climb, Climbed, Evidence, System, Verdict, climb, decide, prepare_tuned, rules_of
from luthier.evaluate import Record
from luthier.models import has_own_weights
from luthier.spec import Task
from luthier.store import Store, new_folder

DECISION_FORMAT = 1


@dataclass(frozen=True)
class Decision:
    """A verdict with everything that it rests on, as stored.

    `records` and `systems` (identity) are by rung; `cases` hold id, input, wanted output and source of every test case.
    """

    key: str
    created: str
    verdict: Verdict
    evidence: Evidence
    records: Mapping[str, tuple[Record, ...]]
    systems: Mapping[str, str]
    cases: tuple[Mapping[str, str], ...]
    split: str
    data: str
    findings: tuple[Mapping[str, Any], ...]


def take_decision(bench: Bench, data: Data, *, everything: bool, train: bool) -> Decision:
    """Climb, decide, and store the decision and its systems."""
    climbed = climb(bench, Climb(everything=everything, train=train), data.blocking)
    verdict = decide(rules_of(bench.task), climbed.evidence)
    return keep_decision(decision_of(bench, data, climbed, verdict), bench.store)


def bars_before(store: Store, split: str) -> tuple[float | None, ...]:
    """The bars under which the test cases of a split were decided on, each once, the latest one last."""
    last = last_decision(store)
    return () if last is None or last.split != split else last.evidence.bars


def decision_of(bench: Bench, data: Data, climbed: Climbed, verdict: Verdict) -> Decision:
    """A decision from a climb, with its systems saved."""
    for system in climbed.systems.values():
        keep_system(system, bench.store)
    return Decision(
        key="",
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        verdict=verdict,
        evidence=climbed.evidence,
        records=climbed.records,
        systems={rung: system.identity for rung, system in climbed.systems.items()},
        cases=tuple(
            {"id": c.id, "input": c.input_text, "wanted": c.output, "source": str(c.source)} for c in bench.test
        ),
        split=bench.split.hash,
        data=data.hash,
        findings=tuple(finding.as_dict() for finding in data.findings),
    )


def keep_decision(decision: Decision, store: Store) -> Decision:
    """Store a decision under its content hash; the latest one is what the other verbs read."""
    value = _as_dict(decision)
    key = content_hash({k: v for k, v in value.items() if k != "created"})[:16]
    store.put_document("decision", key, value)
    return replace(decision, key=key)


def keep_system(system: System, store: Store) -> Path:
    """Save a system under its identity, at once or not at all; gives its folder."""
    folder = store.artefact_path("systems", system.identity[:20])
    if not folder.is_dir():
        with new_folder(folder) as fresh:
            system.save(fresh)
    return folder


def last_decision(store: Store) -> Decision | None:
    """The latest decision, or None."""
    found = store.latest_document("decision")
    return None if found is None else _from_dict(*found)


def replayed(decision: Decision, task: Task) -> Verdict:
    """The verdict of stored evidence under the task's present rules: pure, nothing is asked or measured."""
    return decide(rules_of(task), decision.evidence)


def base_to_tune(task: Task, store: Store) -> str:
    """The base to train: that of the fine-tuned rung of which the last verdict speaks, if the task still names it.

    Else the first of the task's bases that has weights of its own.
    """
    bases, decision = (task.base, *task.other_bases), last_decision(store)
    if decision is not None:
        rung = decision.verdict.warrant.rung
        said = next((r.base for r in decision.evidence.rungs if r.rung == rung), None)
        if said in bases:
            return said
    return next((base for base in bases if has_own_weights(base)), task.base)


def tune(bench: Bench, *, shard: bool = False) -> Mapping[str, Any]:
    """Train the fine-tuned rung and keep its system; the next `decide` measures it without training again."""
    prepared = prepare_tuned(bench, shard=shard)
    folder = keep_system(prepared.system, bench.store)
    result = {"system": prepared.system.identity, "folder": str(folder), **prepared.choices}
    bench.store.put_document("tuned", prepared.system.identity, result)
    return result


def _as_dict(decision: Decision) -> dict[str, Any]:
    return {
        "format": DECISION_FORMAT,
        "created": decision.created,
        "verdict": decision.verdict.as_dict(),
        "evidence": decision.evidence.as_dict(),
        "records": {rung: [r.as_dict() for r in records] for rung, records in decision.records.items()},
        "systems": dict(decision.systems),
        "cases": [dict(case) for case in decision.cases],
        "split": decision.split,
        "data": decision.data,
        "findings": [dict(finding) for finding in decision.findings],
    }


def _from_dict(key: str, value: Mapping[str, Any]) -> Decision:
    return Decision(
        key=key,
        created=value["created"],
        verdict=Verdict.from_dict(value["verdict"]),
        evidence=Evidence.from_dict(value["evidence"]),
        records={rung: tuple(Record(**row) for row in rows) for rung, rows in value["records"].items()},
        systems=value["systems"],
        cases=tuple(value["cases"]),
        split=value["split"],
        data=value["data"],
        findings=tuple(value["findings"]),
    )
