"""Climbing the ladder: every rung built at its best on development cases, then measured on the same test cases."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from luthier import models
from luthier.data import content_hash
from luthier.decide._bench import Bench
from luthier.decide._choose import Prepared
from luthier.decide._cost import cost_of
from luthier.decide._diagnose import diagnose
from luthier.decide._evidence import NOT_NEEDED, Evidence, Rules, RungEvidence, State, Timing
from luthier.decide._inputs import inputs_of
from luthier.decide._judged import judge_evidence
from luthier.decide._latency import too_slow
from luthier.decide._rungs import constrained, few_shot, few_shot_nearest, prompt, retrieval
from luthier.decide._system import System
from luthier.decide._timing import measure_timing
from luthier.decide._tuning import tuned
from luthier.decide.failures import diagnose_failures
from luthier.errors import BudgetError, TooLongError
from luthier.evaluate import LOOK_EVERY, JudgeScorer, Record, Scorer, adequacy_state, measure
from luthier.spec import JudgeScore, MethodName, Task
from luthier.train import require_tracker

LADDER: tuple[MethodName, ...] = (
    "prompt",
    "constrained",
    "few-shot",
    "few-shot nearest",
    "retrieval",
    "fine-tune",
    "fine-tune + retrieval",
)


@dataclass(frozen=True)
class Climbed:
    """What a climb leaves: the evidence, and the system and records of every rung that was measured."""

    evidence: Evidence
    systems: Mapping[str, System]
    records: Mapping[str, tuple[Record, ...]]


@dataclass(frozen=True)
class Climb:
    """How far to go. `everything` measures every rung on every case; `train` allows the fine-tuned rungs."""

    everything: bool = False
    train: bool = True


def rules_of(task: Task) -> Rules:
    """What the user fixed before looking. Without a margin of the user's: 0.03 for pass rates, 0.02 for grades.

    Raises:
        StoreError, ModelError: the price sheet cannot be used.
    """
    graded = task.score.kind in ("json", "answer", "chrf", "rouge") or (
        isinstance(task.score, JudgeScore) and task.score.scale == "1..5"
    )
    margin = task.decide.margin if task.decide.margin is not None else (0.02 if graded else 0.03)
    inputs = inputs_of(task.prices)
    return Rules(task.bar, margin, task.decide.alpha, task.volume, latency=task.latency, inputs=inputs)


def planned_rungs(bench: Bench) -> tuple[MethodName, ...]:
    """The rungs that are possible with this task and base, in order of cost and commitment."""
    return possible_rungs(bench.task, bench.scorer, trainable=isinstance(bench.base, models.LocalModel))


def possible_rungs(task: Task, scorer: Scorer, *, trainable: bool) -> tuple[MethodName, ...]:
    """The same before the base is loaded; `trainable` says whether its weights can be had."""
    possible: dict[MethodName, bool] = {
        "constrained": scorer.constraint() is not None,
        "retrieval": task.documents is not None,
        "fine-tune": trainable,
        "fine-tune + retrieval": trainable and task.documents is not None,
    }
    wanted = LADDER if task.decide.methods is None else task.decide.methods
    return tuple(method for method in LADDER if method in wanted and possible.get(method, True))


def climb(bench: Bench, how: Climb, findings: tuple[str, ...] = ()) -> Climbed:
    """Build and measure the rungs, cheapest first, until one meets the bar (or all of them, if asked).

    Args:
        bench: task, cases, scorer, base and store.
        how: how far to go.
        findings: codes of data findings that block.

    A rung that does not fit the model's context or the budget is left out, and the evidence says so.

    Raises:
        TooLongError: no rung fits.
        BudgetError: the budget allows no rung.
        TrainingError: the package of the tracker that the task names is not installed.
        StoreError, ModelError: the price sheet cannot be used.
    """
    planned = planned_rungs(bench)
    if isinstance(bench.scorer, JudgeScorer):
        # A judge's scores are corrected once all are there: before, they may all err in favour of one rung, so neither
        # stopping early nor leaving dearer rungs out may rest on them; and people label answers of all rungs at once.
        how = replace(how, everything=True)
    inputs_of(bench.task.prices)  # a price sheet that cannot be used is refused before anything is spent
    if how.train and any(method.startswith("fine-tune") for method in planned):
        require_tracker(bench.task.train.track)
    openings = bench.store.open_test(bench.split.hash, _ladder_hash(bench, planned))
    prepared: dict[str, Prepared] = {}
    records: dict[str, tuple[Record, ...]] = {}
    rungs: list[RungEvidence] = []
    settled, stopped = False, None
    for method in planned:
        reason = _why_not(method, settled, how)
        if reason:
            rungs.append(RungEvidence(method, method, bench.base.name, "", (), skipped=reason))
            continue
        try:
            found = _prepare(method, bench, prepared)
            records[method] = _measure(method, found.system, bench, len(planned), how.everything)
            timing = measure_timing(found.system, records[method], bench)
        except (BudgetError, TooLongError) as error:
            stopped = error
            rungs.append(RungEvidence(method, method, bench.base.name, "", (), skipped=error.what))
            continue
        prepared[method] = found
        rungs.append(_evidence(method, found, records[method], bench, timing))
        fast = not too_slow(rungs[-1], bench.task.latency)
        settled = settled or (fast and _meets(records[method], bench, len(planned)))
    if stopped is not None and not records:
        raise stopped
    systems = {method: p.system for method, p in prepared.items()}
    evidence = Evidence(
        cases=tuple(case.id for case in bench.test),
        groups=tuple(bench.groups[case.id] for case in bench.test),
        rungs=tuple(rungs),
        binary=bench.scorer.binary,
        scorer=bench.scorer.name,
        openings=openings,
        findings=findings,
        knowledge=diagnose(bench, systems, records),
        failures=diagnose_failures(bench, systems, records, ask=not settled and not findings and stopped is None),
        served=dict(Counter(r.served for rung in records.values() for r in rung if r.served)),
        judge=judge_evidence(bench, records),
    )
    return Climbed(evidence, systems, records)


def _why_not(method: MethodName, settled: bool, how: Climb) -> str:
    if settled and not how.everything:
        return NOT_NEEDED
    if method.startswith("fine-tune") and not how.train:
        return "training was not allowed (--no-train)"
    return ""


def _prepare(method: MethodName, bench: Bench, prepared: Mapping[str, Prepared]) -> Prepared:
    def chosen(other: MethodName, build: Callable[[Bench], Prepared]) -> System:
        return (prepared[other] if other in prepared else build(bench)).system

    def reader(bench: Bench) -> Prepared:
        return retrieval(bench, chosen("prompt", prompt))

    builders: dict[MethodName, Callable[[], Prepared]] = {
        "prompt": lambda: prompt(bench),
        "constrained": lambda: constrained(bench),
        "few-shot": lambda: few_shot(bench, chosen("prompt", prompt)),
        "few-shot nearest": lambda: few_shot_nearest(bench, chosen("prompt", prompt)),
        "retrieval": lambda: reader(bench),
        "fine-tune": lambda: tuned(bench),
        "fine-tune + retrieval": lambda: tuned(bench, chosen("retrieval", reader)),
    }
    return builders[method]()


def _measure(method: MethodName, system: System, bench: Bench, rungs: int, everything: bool) -> tuple[Record, ...]:
    """Answer the test cases in the common order, a few at a time, until the rung is settled."""
    whole = everything or bench.task.bar is None
    step = len(bench.test) if whole else 2 * LOOK_EVERY
    records: list[Record] = []
    bench.progress(f"measuring {method}", 0, len(bench.test), "test cases")
    while len(records) < len(bench.test):
        known = len(records)
        part = bench.test[known : known + step]
        counted = _counter(method, bench, known)
        records += measure(system, part, bench.scorer, bench.store, on_record=counted, prices=bench.task.prices)
        if not whole and _state(records, bench, rungs) is not State.OPEN:
            bench.progress(f"measuring {method}", len(bench.test), len(bench.test), f"settled after {len(records)}")
            break
    return tuple(records)


def _counter(method: MethodName, bench: Bench, known: int) -> Callable[[Record], None]:
    numbers = itertools.count(known + 1)
    return lambda _: bench.progress(f"measuring {method}", next(numbers), len(bench.test), "test cases")


def _state(records: list[Record] | tuple[Record, ...], bench: Bench, rungs: int) -> State:
    """Where a rung stands by the same rule that the verdict applies."""
    task = bench.task
    assert task.bar is not None  # callers look at the state only when there is a bar
    found = adequacy_state(
        [record.score for record in records],
        [bench.groups[case.id] for case in bench.test],
        bar=task.bar,
        alpha=task.decide.alpha / rungs,
        binary=bench.scorer.binary,
    )
    return State(found.state)


def _meets(records: tuple[Record, ...], bench: Bench, rungs: int) -> bool:
    return bench.task.bar is not None and _state(records, bench, rungs) is State.MEETS


def _evidence(
    method: MethodName, prepared: Prepared, records: tuple[Record, ...], bench: Bench, timing: Timing
) -> RungEvidence:
    return RungEvidence(
        rung=method,
        method=method,
        base=bench.base.name,
        system=prepared.system.identity,
        scores=tuple(record.score for record in records),
        cost=cost_of(
            records,
            bench.base,
            volume=bench.task.volume,
            sheet=bench.task.prices,
            build_seconds=prepared.choices.get("training", {}).get("seconds", 0.0),
            examples=_examples(prepared.system, bench),
        ),
        choices=prepared.choices,
        timing=timing,
    )


def _examples(system: System, bench: Bench) -> int:
    """Labelled examples that a system draws on: all training rows where they are looked up or trained on."""
    whole = system.setup.adapter is not None or system.setup.nearest is not None
    return len(bench.split.train) if whole else len(system.setup.demonstrations)


def _ladder_hash(bench: Bench, planned: tuple[MethodName, ...]) -> str:
    """What makes an opening a new one: another ladder, another bar, another base or other training data."""
    task = bench.task
    return content_hash(
        [
            list(planned),
            bench.base.identity,
            sorted(e.id for e in bench.split.train),
            task.instructions,
            task.bar,
            bench.score_hash,
            task.train.model_dump(mode="json", exclude={"micro_batch_tokens", "track"}),
            task.retrieval.model_dump(mode="json"),
        ]
    )
