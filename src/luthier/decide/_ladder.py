"""Climbing the ladder: every rung built at its best on development cases, then measured on the same test cases."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from luthier.data import content_hash
from luthier.decide._bench import Bench
from luthier.decide._choose import Prepared
from luthier.decide._cost import cost_of
from luthier.decide._diagnose import diagnose
from luthier.decide._elsewhere import projected_cheaper
from luthier.decide._evidence import NOT_NEEDED, Evidence, Repeat, Rules, RungEvidence, State, Timing
from luthier.decide._inputs import inputs_of
from luthier.decide._judged import judge_evidence
from luthier.decide._latency import too_slow
from luthier.decide._optimise import require_search
from luthier.decide._planned import Planned, planned_rungs
from luthier.decide._rungs import constrained, few_shot, few_shot_nearest, prompt, retrieval, self_consistency
from luthier.decide._system import System
from luthier.decide._timing import measure_timing
from luthier.decide._tuning import tuned
from luthier.decide.failures import Failures, diagnose_failures
from luthier.errors import BudgetError, ModelError, TooLongError, TrainingError
from luthier.evaluate import LOOK_EVERY, JudgeScorer, Record, adequacy_state, measure
from luthier.spec import JudgeScore, MethodName, Task
from luthier.train import require_tracker


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


def climb(bench: Bench, how: Climb, findings: tuple[str, ...] = ()) -> Climbed:
    """Build and measure the rungs, cheapest first, until one meets the bar (or all of them, if asked).

    Where a rung of a dearer base meets it, fine-tuning a cheaper one goes on if it is projected to cost less to own.

    Args:
        bench: task, cases, scorer, bases and store.
        how: how far to go.
        findings: codes of data findings that block.

    A rung that does not fit the model's context or the budget is left out, and the evidence says so.

    Raises:
        TooLongError: no rung fits.
        BudgetError: the budget allows no rung.
        TrainingError: the package of the tracker that the task names is not installed.
        SpecError: the package of the search that it names is not installed.
        StoreError, ModelError: the price sheet cannot be used.
    """
    planned = planned_rungs(bench)
    if isinstance(bench.scorer, JudgeScorer):
        # A judge's scores are corrected once all are there: before, they may all err in favour of one rung, so neither
        # stopping early nor leaving dearer rungs out may rest on them; and people label answers of all rungs at once.
        how = replace(how, everything=True)
    require_search(bench.task)
    inputs_of(bench.task.prices)  # a price sheet that cannot be used is refused before anything is spent
    if how.train and any(step.trained for step in planned):
        require_tracker(bench.task.train.track)
    openings = bench.store.open_test(bench.split.hash, _ladder_hash(bench, planned))
    ascent = _Ascent(bench, how, len(planned))
    for step in planned:
        ascent.take(step)
    if ascent.stopped is not None and not ascent.records:
        raise ascent.stopped
    return Climbed(ascent.evidence(openings, findings), ascent.systems, ascent.records)


class _Ascent:
    """The way up: what was built and measured so far, and whether a rung has settled the question."""

    def __init__(self, bench: Bench, how: Climb, rungs: int) -> None:
        self._bench, self._how, self._rungs = bench, how, rungs
        self._prepared: dict[str, dict[MethodName, Prepared]] = defaultdict(dict)  # by base
        self._steps: dict[str, Planned] = {}
        self._found: list[RungEvidence] = []
        self._settled: RungEvidence | None = None
        self.records: dict[str, tuple[Record, ...]] = {}
        self.systems: dict[str, System] = {}
        self.stopped: BudgetError | TooLongError | None = None

    def take(self, step: Planned) -> None:
        """Build and measure a rung, or note why not."""
        reason = self._why_not(step)
        if reason:
            self._found.append(_unmeasured(step, reason))
            return
        known = self._prepared[step.bench.base.name]
        try:
            built = _prepare(step.method, step.bench, known)
            records = _measure(step, built.system, self._rungs, self._how.everything)
            timing = measure_timing(built.system, records, step.bench)
        except (BudgetError, TooLongError) as error:
            self.stopped = error
            self._found.append(_unmeasured(step, error.what))
            return
        known[step.method] = built
        self._steps[step.rung], self.systems[step.rung] = step, built.system
        self.records[step.rung] = records
        repeats, cut_short = self._repeats(step, len(records))
        found = replace(_evidence(step, built, records, timing), repeats=repeats, repeats_stopped=cut_short)
        self._found.append(found)
        if not too_slow(found, self._bench.task.latency) and _meets(records, step.bench, self._rungs):
            self._settled = found if step.trained else self._settled or found

    def _why_not(self, step: Planned) -> str:
        settled = self._settled is not None and not self._how.everything
        if step.trained and not self._how.train and not settled:
            return "training was not allowed (--no-train)"
        if self._settled is None or not settled:
            return ""
        if not step.trained or not self._how.train:
            return NOT_NEEDED
        try:
            return "" if projected_cheaper(step, self._settled, self._found) else NOT_NEEDED
        except (TrainingError, ModelError) as error:
            return f"{self._settled.rung} meets the bar, and what training would cost cannot be told: {error.what}"

    def _repeats(self, step: Planned, cases: int) -> tuple[tuple[Repeat, ...], str]:
        """The same rung trained again with other seeds, on the cases that the first one answered; and what ended it."""
        task = step.bench.task
        seeds = range(task.train.seed + 1, task.train.seed + task.train.seeds) if step.trained else ()
        found: list[Repeat] = []
        try:
            for seed in seeds:
                found.append(self._repeat(step, seed, cases))
        except BudgetError as error:  # what is measured stays
            self.stopped = error
            return tuple(found), error.what
        return tuple(found), ""

    def _repeat(self, step: Planned, seed: int, cases: int) -> Repeat:
        task, shown = step.bench.task, step.bench.progress
        seeded = task.model_copy(update={"train": task.train.model_copy(update={"seed": seed})})

        def progress(stage: str, done: int, total: int, remark: str) -> None:
            shown(f"{stage}, seed {seed}", done, total, remark)

        bench = replace(step.bench, task=seeded, progress=progress)
        built = _prepare(step.method, bench, self._prepared[bench.base.name])
        count = _counter(step.rung, bench, 0)
        records = measure(built.system, bench.test[:cases], bench.scorer, bench.store, on_record=count)
        return Repeat(seed, built.system.identity, sum(r.score for r in records) / len(records), len(records))

    def evidence(self, openings: int, findings: tuple[str, ...]) -> Evidence:
        """What was measured, with what is known about why cases fail."""
        bench, best = self._bench, self._best()
        ask = self._settled is None and not findings and self.stopped is None
        systems, records = self._on(best)
        failures = None if best is None else diagnose_failures(best.bench, systems, records, ask=ask)
        return Evidence(
            cases=tuple(case.id for case in bench.test),
            groups=tuple(bench.groups[case.id] for case in bench.test),
            rungs=tuple(self._found),
            binary=bench.scorer.binary,
            scorer=bench.scorer.name,
            openings=openings,
            findings=findings,
            knowledge=diagnose(bench if best is None else best.bench, systems, records),
            failures=None if failures is None or best is None else self._named(failures, best),
            served=self._served(),
            judge=judge_evidence(bench, self.records),
            bars=(*(bar for bar in bench.bars if bar != bench.task.bar), bench.task.bar),
        )

    def _best(self) -> Planned | None:
        """The measured rung with the highest mean."""

        def mean(rung: str) -> float:
            return sum(r.score for r in self.records[rung]) / len(self.records[rung])

        return None if not self.records else self._steps[max(self.records, key=mean)]

    def _on(self, best: Planned | None) -> tuple[dict[str, System], dict[str, tuple[Record, ...]]]:
        """Systems and records of the best rung's base, by method."""
        here = [s for s in self._steps.values() if best is not None and s.bench.base.name == best.bench.base.name]
        return {s.method: self.systems[s.rung] for s in here}, {s.method: self.records[s.rung] for s in here}

    def _named(self, failures: Failures, best: Planned) -> Failures:
        """The failures of a method on the best base, under the rung's own name."""
        names = {s.method: s.rung for s in self._steps.values() if s.bench.base.name == best.bench.base.name}
        return replace(failures, rung={str(method): rung for method, rung in names.items()}[failures.rung])

    def _served(self) -> dict[str, int]:
        """Test answers by the model that the endpoint named, of the base whose endpoint named most models."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for name, step in self._steps.items():
            counts[step.bench.base.name].update(r.served for r in self.records[name] if r.served)
        most = max(counts, key=lambda base: len(counts[base]), default=None)
        return {} if most is None else dict(counts[most])


def _unmeasured(step: Planned, reason: str) -> RungEvidence:
    return RungEvidence(step.rung, step.method, step.bench.base.name, "", (), skipped=reason)


def _prepare(method: MethodName, bench: Bench, prepared: Mapping[MethodName, Prepared]) -> Prepared:
    def chosen(other: MethodName, build: Callable[[Bench], Prepared]) -> System:
        return (prepared[other] if other in prepared else build(bench)).system

    def reader(bench: Bench) -> Prepared:
        return retrieval(bench, chosen("prompt", prompt))

    builders: dict[MethodName, Callable[[], Prepared]] = {
        "prompt": lambda: prompt(bench),
        "constrained": lambda: constrained(bench, chosen("prompt", prompt) if bench.task.decide.optimise else None),
        "few-shot": lambda: few_shot(bench, chosen("prompt", prompt)),
        "few-shot nearest": lambda: few_shot_nearest(bench, chosen("prompt", prompt)),
        "self-consistency": lambda: self_consistency(bench, chosen("prompt", prompt)),
        "retrieval": lambda: reader(bench),
        "fine-tune": lambda: tuned(bench),
        "fine-tune + retrieval": lambda: tuned(bench, chosen("retrieval", reader)),
    }
    return builders[method]()


def _measure(step: Planned, system: System, rungs: int, everything: bool) -> tuple[Record, ...]:
    """Answer the test cases in the common order, a few at a time, until the rung is settled."""
    bench = step.bench
    whole = everything or bench.task.bar is None
    size = len(bench.test) if whole else 2 * LOOK_EVERY
    records: list[Record] = []
    bench.progress(f"measuring {step.rung}", 0, len(bench.test), "test cases")
    while len(records) < len(bench.test):
        known = len(records)
        part = bench.test[known : known + size]
        counted = _counter(step.rung, bench, known)
        records += measure(system, part, bench.scorer, bench.store, on_record=counted, prices=bench.task.prices)
        if not whole and _state(records, bench, rungs) is not State.OPEN:
            bench.progress(f"measuring {step.rung}", len(bench.test), len(bench.test), f"settled after {len(records)}")
            break
    return tuple(records)


def _counter(rung: str, bench: Bench, known: int) -> Callable[[Record], None]:
    numbers = itertools.count(known + 1)
    return lambda _: bench.progress(f"measuring {rung}", next(numbers), len(bench.test), "test cases")


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


def _evidence(step: Planned, prepared: Prepared, records: tuple[Record, ...], timing: Timing) -> RungEvidence:
    bench = step.bench
    return RungEvidence(
        rung=step.rung,
        method=step.method,
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
        silent=_silent(records),
    )


def _silent(records: Sequence[Record]) -> dict[str, int]:
    """How many answers hold no text, by why."""
    causes = {"content_filter": "withheld by the provider's filter", "tool_calls": "a call of a tool instead"}
    kinds = [causes.get(r.finish, "empty") for r in records if r.finish == "content_filter" or not r.answer.strip()]
    return dict(Counter(kinds).most_common())


def _examples(system: System, bench: Bench) -> int:
    """Labelled examples that a system draws on: all training rows where they are looked up or trained on."""
    whole = system.setup.adapter is not None or system.setup.nearest is not None
    return len(bench.split.train) if whole else len(system.setup.demonstrations)


def _ladder_hash(bench: Bench, planned: tuple[Planned, ...]) -> str:
    """What makes an opening a new one: another ladder, another bar, another base or other training data."""
    task = bench.task
    return content_hash(
        [
            [step.rung for step in planned],
            bench.base.identity,
            sorted(e.id for e in bench.split.train),
            task.instructions,
            task.bar,
            bench.score_hash,
            task.train.model_dump(mode="json", exclude={"micro_batch_tokens", "track", "seeds", "prompt"}),
            task.retrieval.model_dump(mode="json", exclude_defaults=True) | {"embedding": task.retrieval.embedding},
            # what came later is in it only where it is used, so that tasks without it keep their count
            *([task.train.prompt] if task.train.prompt != "goal" else []),
            *([task.decide.optimise, task.decide.optimiser] if task.decide.optimise else []),
            *([task.decide.search] if task.decide.search != "built-in" else []),
            *([task.decide.votes] if any(step.method == "self-consistency" for step in planned) else []),
            *(base.identity for base in bench.others),
        ]
    )
