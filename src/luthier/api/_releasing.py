"""From a verdict to a release in service: validate, publish, verify, export, serve, watch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier import models
from luthier.api._bench import open_bench
from luthier.api._data import Data
from luthier.api._decisions import Decision, last_decision
from luthier.data import Example
from luthier.decide import Bench, System, read_setup
from luthier.errors import EvidenceError, Problem, ReleaseError
from luthier.evaluate import Capability, Record, build_battery, measure, measure_capability
from luthier.models import Model, load_model
from luthier.release import (
    ExportKind,
    GateReport,
    Parity,
    Provenance,
    Release,
    champion,
    create_app,
    export,
    gate,
    measure_parity,
    publish,
    serve,
    system_messages_in,
    verify_release,
)
from luthier.release import promote as make_champion
from luthier.retrieve import Index, load_embedder
from luthier.store import Store
from luthier.upkeep import Seen, WatchReport, watch

if TYPE_CHECKING:
    from luthier.api._project import Project

VALIDATION_FORMAT = 1


@dataclass(frozen=True)
class Validated:
    """A system that was put to the gate, with what the gate saw."""

    system: System
    records: tuple[Record, ...]
    gate: GateReport
    capability: Capability | None


def open_system(folder: Path, base: Model | None = None) -> System:
    """Load a saved system; `base` is used instead of loading the same base a second time."""

    def open_model(name: str, adapter: Path | None, scale: float) -> Model:
        plain = base if base is not None and base.name == name else load_model(name)
        if adapter is None:
            return plain
        assert isinstance(plain, models.LocalModel)  # only local bases have adapters
        return plain.with_tuning(adapter, scale)

    def open_index(place: Path, embedding: str | None) -> Index:
        return Index.open(place, None if embedding is None else load_embedder(embedding))

    return System.load(folder, open_model, open_index)


def validate(project: Project, data: Data, rung: str | None, quick: bool) -> Validated:
    """Put the recommended (or the named) rung's system to the gate and store what came out."""
    decision = project.decision()
    chosen = _chosen_rung(decision, rung)
    if decision.split != data.split.hash:
        raise EvidenceError(
            "the examples changed since the decision", why="its evidence is on other test cases", fix="luthier decide"
        )
    bench, system = _opened(project, data, decision.systems[chosen])
    validated = put_to_gate(bench, system, chosen, decision, quick=quick)
    keep_validation(project.store, decision, validated)
    return validated


def keep_validation(store: Store, decision: Decision, validated: Validated) -> None:
    """Store what the gate saw, under the decision that it belongs to."""
    store.put_document(
        "validation",
        decision.key,
        {
            "format": VALIDATION_FORMAT,
            "decision": decision.key,
            "rung": validated.gate.rung,
            "system": validated.system.identity,
            "gate": validated.gate.as_dict(),
            "capability": None if validated.capability is None else validated.capability.as_dict(),
            "records": [record.as_dict() for record in validated.records],
        },
    )


def put_to_gate(bench: Bench, system: System, rung: str, decision: Decision, *, quick: bool) -> Validated:
    """Answer all test cases, measure what general capability is left, and compare serving with measuring."""
    done = 0

    def count(_: Record) -> None:
        nonlocal done
        done += 1
        bench.progress("validate: test cases", done, len(bench.test), rung)

    records = tuple(measure(system, bench.test, bench.scorer, bench.store, on_record=count))
    capability = _capability(bench.on(system.setup.base), system, quick)
    bench.progress("validate: serving path", 0, 1, "the same answers again, as a client would get them")
    parity: Parity = measure_parity(system, system, bench.test, records)
    bench.progress("validate: serving path", 1, 1, f"{parity.cases} cases")
    report = gate(
        decision.verdict,
        records,
        capability,
        bench.task.bar,
        rung=rung,
        system=system.identity,
        trained=system.setup.adapter is not None,
        parity=parity,
    )
    return Validated(system, records, report, capability)


def _capability(bench: Bench, system: System, quick: bool) -> Capability | None:
    if system.setup.adapter is None:
        return None
    assert isinstance(bench.base, models.LocalModel)  # adapters stand on local bases
    assert isinstance(system.model, models.LocalModel)
    battery = build_battery(
        bench.base,
        extra=bench.task.general,
        cache=bench.store.artefact_path("battery", "items").parent,
        size="quick" if quick else "full",
    )
    return measure_capability(bench.base, system.model, battery, progress=bench.progress)


def _chosen_rung(decision: Decision, rung: str | None) -> str:
    chosen = rung or decision.verdict.rung
    if chosen is None:
        raise EvidenceError(
            f"the verdict adopts no rung: {decision.verdict.kind}",
            why=decision.verdict.sentence,
            fix="follow the verdict's advice, or name a rung to look at: luthier validate --rung NAME",
        )
    if chosen not in decision.systems:
        raise EvidenceError(
            f"{chosen!r} was not measured",
            fix=f"choose one of: {', '.join(decision.systems)}, or: luthier decide --all",
        )
    return chosen


def _system_folder(store: Store, identity: str) -> Path:
    return store.artefact_path("systems", identity[:20])


def _opened(project: Project, data: Data, identity: str) -> tuple[Bench, System]:
    """A stored system, and the bench of the base that it stands on."""
    folder = _system_folder(project.store, identity)
    bench = open_bench(project.task, project.store, data, project.progress, base=read_setup(folder).base)
    return bench, open_system(folder, bench.base)


def promote(project: Project, data: Data) -> Release:
    """Release the system of the last validation and make it champion; the champion itself is left as it is.

    Raises:
        ReleaseError: nothing was validated since the last decision.
        GateError: the gate was not passed.
    """
    decision = project.decision()
    found = project.store.get_document("validation", decision.key)
    if found is None:
        raise ReleaseError("nothing was validated since the last decision", fix="luthier validate")
    serving = champion(project.store, project.task.task)
    if serving is not None and serving.lock["system"]["identity"] == found["system"]:
        return serving
    report = GateReport.from_dict(found["gate"])
    report.demand()
    bench, system = _opened(project, data, found["system"])
    capability = None if found["capability"] is None else Capability.from_dict(found["capability"])
    records = tuple(Record(**row) for row in found["records"])
    return release_system(bench, data, decision, Validated(system, records, report, capability))


def release_system(bench: Bench, data: Data, decision: Decision, validated: Validated) -> Release:
    """Publish a validated system and make it champion."""
    rung = next((r for r in decision.evidence.rungs if r.rung == validated.gate.rung), None)
    trained = validated.system.setup.adapter is not None
    override = bench.store.get_document("tuned without a warrant", bench.task.task)
    provenance = Provenance(
        task=bench.task,
        split=data.split,
        evidence=decision.evidence,
        verdict=decision.verdict,
        gate=validated.gate,
        capability=validated.capability,
        recipe=dict((rung.choices or {}).get("training", {})) if rung is not None and trained else None,
        system_messages=system_messages_in(bench.test, validated.system.setup.instructions),
        warrant_override=override["reason"] if override is not None and trained else "",
    )
    release = publish(bench.store, validated.system, provenance, bench.test, validated.records)
    return make_champion(bench.store, bench.task.task, release.version)


def measured_records(store: Store, release: Release) -> tuple[Record, ...]:
    """A release's answers to the test cases with their scores, as measured when it was validated.

    Raises:
        ReleaseError: the store holds none.
    """
    identity = release.lock["system"]["identity"]
    for _, _, found in reversed(store.documents("validation")):
        if found["system"] == identity:
            return tuple(Record(**row) for row in found["records"])
    raise ReleaseError(
        f"the store holds no measurement of {release.name}", fix="luthier validate, then: luthier release promote"
    )


def verify(project: Project, version: int | None) -> list[Problem]:
    """Everything in a release and its base that is not what the lock says."""
    release = project.release(version)
    setup = read_setup(release.folder)
    if not release.lock["base"]["files"]:
        return verify_release(release, None)
    base = load_model(setup.base)
    assert isinstance(base, models.LocalModel)  # only local bases have files in the lock
    return verify_release(release, base.folder)


def export_release(project: Project, out: Path, kind: ExportKind, version: int | None) -> Path:
    """Write a release for other tools."""
    release = project.release(version)
    if kind == "system":
        return export(release, out, kind)
    system = open_system(release.folder)
    base = load_model(system.setup.base)
    return export(release, out, kind, system=system, base=base if isinstance(base, models.LocalModel) else None)


def serve_release(project: Project, *, host: str, port: int, token: str | None, ready: Callable[[str], None]) -> None:
    """Serve the champion until interrupted."""
    release = project.release()
    app = create_app(
        open_system(release.folder),
        store=project.store,
        release=release.version,
        token=token,
        model_name=project.task.task,
        system_messages=release.lock["system"]["system_messages"],
    )
    serve(app, host=host, port=port, ready=ready)


def watch_release(project: Project, train: Sequence[Example]) -> WatchReport:
    """Look at the champion and at what it depends on."""
    release = project.release()
    setup = read_setup(release.folder)
    base = _base_folder(setup.base) if release.lock["base"]["files"] else None
    decision = last_decision(project.store)
    logged = [_turns(row.request) for row in project.store.traffic()]
    seen = Seen(
        today=dt.datetime.now(dt.UTC).date(),
        base=base,
        documents=project.task.documents,
        openings=max(release.lock["openings"], 0 if decision is None else decision.evidence.openings),
        logged=logged,
        reference=[example.input_text for example in train],
    )
    return watch(release, seen, lambda texts: load_embedder(project.task.retrieval.embedding).embed(texts))


def _base_folder(name: str) -> Path | None:
    from luthier.errors import ModelError

    try:
        model = load_model(name)
    except ModelError:  # the watch reports a missing base as a finding, with what to type
        return None
    return model.folder if isinstance(model, models.LocalModel) else None


def _turns(request: Mapping[str, Any]) -> str:
    return "\n".join(str(m["content"]) for m in request["messages"] if m["role"] != "system")


def judged_against_champion(report: GateReport, not_worse: bool, reason: str, figure: float) -> GateReport:
    """The gate of a refreshed system: the champion is its bar."""
    checks = tuple(
        replace(check, name="behaviour", passed=not_worse, reason=reason, figure=figure)
        if check.name == "behaviour"
        else check
        for check in report.checks
    )
    return replace(report, checks=checks)
