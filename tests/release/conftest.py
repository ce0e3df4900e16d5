"""A small released task without weights: a scripted model that classifies, its cases, evidence and verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from luthier.data import Example, Message, Split
from luthier.decide import Cost, Evidence, RungEvidence, RungVerdict, Setup, State, System, Verdict, Warrant
from luthier.evaluate import Record
from luthier.models import ScriptedModel
from luthier.release import GateReport, Parity, Provenance, Release, gate, measure_parity, publish
from luthier.spec import Task, load_task
from luthier.store import Store

INSTRUCTIONS = "Say which team a customer's message is for."


def example(text: str, output: str) -> Example:
    return Example((Message("user", text),), output)


TRAIN = tuple(example(f"training message {i}", "billing") for i in range(6))
CASES = tuple(example(f"test message {i}", "billing" if i % 2 else "shipping") for i in range(10))


def label(text: str) -> str:
    """What the scripted model says: right on every case."""
    return next((case.output for case in CASES if case.messages[-1].content == text), "other")


def make_system() -> System:
    model = ScriptedModel(lambda request: label(request.messages[-1].content), identity="labels")
    return System(
        Setup(
            method="prompt",
            base="scripted",
            base_identity=model.identity,
            instructions=INSTRUCTIONS,
            max_tokens=16,
        ),
        model,
    )


def records_of(system: System, cases: tuple[Example, ...] = CASES) -> list[Record]:
    requests = [system.request(case.messages) for case in cases]
    answers = dict(system.model.answer(requests))
    return [
        Record(
            case=case.id,
            answer=answers[i].text,
            score=float(answers[i].text == case.output),
            details={},
            prompt_tokens=answers[i].prompt_tokens,
            shared_tokens=0,
            completion_tokens=answers[i].completion_tokens,
            seconds=0.01,
            finish=answers[i].finish,
        )
        for i, case in enumerate(cases)
    ]


def evidence_of(system: System, records: list[Record]) -> Evidence:
    cost = Cost(0.12, 12.0, None, 20.0, 1.0, 0.5, 0.25, "measured tokens at the sheet's price")
    rung = RungEvidence("prompt", "prompt", "scripted", system.identity, tuple(r.score for r in records), cost)
    tuned = RungEvidence("fine-tune", "fine-tune", "scripted", "", (), skipped="a cheaper rung meets the bar")
    cases = tuple(r.case for r in records)
    return Evidence(cases, cases, (rung, tuned), binary=True, scorer="label", openings=1)


def verdict_of(records: list[Record], *, state: State = State.MEETS) -> Verdict:
    mean = sum(r.score for r in records) / len(records)
    n = len(records)
    rungs = (
        RungVerdict("prompt", "prompt", state, n, n, mean, 0.88, 1.0, 0.84, 1.0, 0.001, more_cases=40),
        RungVerdict("fine-tune", "fine-tune", State.NOT_RUN, 0, n, None, None, None, None, None, None),
    )
    return Verdict(
        kind="prompt",
        rung="prompt",
        sentence="prompt meets the bar of 0.8",
        reasons=("every case was answered right",),
        advice=(),
        flips=(),
        rungs=rungs,
        comparisons=(),
        warrant=Warrant(False, "a cheaper rung meets the bar"),
        bar=0.8,
        alpha_each=0.025,
        answers_saved=10,
    )


def task_in(folder: Path) -> Task:
    rows = [{"prompt": e.messages[-1].content, "completion": e.output} for e in TRAIN + CASES]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "luthier.yaml").write_text(
        "task: triage\ngoal: Route a customer's message | to its team.\nexamples: examples.jsonl\n"
        "score: {kind: label}\nbar: 0.8\nbase: scripted\n"
    )
    return load_task(folder)


@dataclass(frozen=True)
class Shop:
    """Everything that a release is made from, and the makers of variants."""

    task: Task
    store: Store
    system: System
    records: list[Record]

    cases = CASES
    split = Split(TRAIN, TRAIN[:2], CASES, seed=0)
    verdict = staticmethod(verdict_of)
    measure = staticmethod(records_of)

    def parity(self, **changes: Any) -> Parity:
        return replace(Parity(10, True, True, (), ()), **changes)

    def gate(self, **changes: Any) -> GateReport:
        given: dict[str, Any] = {
            "verdict": verdict_of(self.records),
            "records": self.records,
            "capability": None,
            "bar": 0.8,
            "rung": "prompt",
            "system": self.system.identity,
            "trained": False,
            "parity": measure_parity(self.system, self.system, CASES, self.records),
        }
        return gate(**(given | changes))

    def made_from(self, **changes: Any) -> Provenance:
        given = Provenance(
            task=self.task,
            split=self.split,
            evidence=evidence_of(self.system, self.records),
            verdict=verdict_of(self.records),
            gate=self.gate(),
        )
        return replace(given, **changes)

    def with_setup(self, **changes: Any) -> Shop:
        """The same shop with another system."""
        system = replace(self.system, setup=replace(self.system.setup, **changes))
        return replace(self, system=system, records=records_of(system))

    def publish(self, **changes: Any) -> Release:
        return publish(self.store, self.system, self.made_from(**changes), CASES, self.records)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    system = make_system()
    with Store.open(tmp_path) as store:
        yield Shop(task_in(tmp_path), store, system, records_of(system))
