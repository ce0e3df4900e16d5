"""What `decide` and `tune` may spend: time, memory, disk and money, from a few answers and steps on this machine."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from luthier import models
from luthier.decide import (
    SCALES,
    Bench,
    Method,
    Planned,
    System,
    answers_to_choose,
    draw_demonstrations,
    forecast_training,
    most_probes,
    most_written,
    optimiser_answers,
    own_machine_price,
    plain_system,
    planned_rungs,
    require_search,
    variant_count,
)
from luthier.evaluate import JudgeScorer, Record, make_scorer, measure
from luthier.models import Answer, Outline, price_of
from luthier.spec import ExactScore, MethodName

CALIBRATION_CASES = 4


@dataclass(frozen=True)
class PlanStep:
    """One step: `amount` in words, `seconds` of wall time, `usd` where a price is known."""

    name: str
    amount: str
    seconds: float
    usd: float | None


@dataclass(frozen=True)
class TrainingPlan:
    """Training by one method.

    `tokens` will be run and `scored` answers given in development scores, if it does not stop early. `memory` is bytes
    by part at the peak, which is in `phase`; `limit` is what there is. `seconds` is by part, None where the weights are
    not here or do not fit. `disk` and `free_disk` are bytes. `usd` is None without a price of the machine. `changes`
    would lower the memory, each to so many bytes: what to write in `luthier.yaml`, least harm first.
    """

    method: str
    chosen: bool
    tokens: int
    scored: int
    memory: Mapping[str, int]
    phase: str
    limit: int
    seconds: Mapping[str, float] | None
    disk: int
    free_disk: int
    usd: float | None
    changes: tuple[tuple[str, int], ...]

    @property
    def peak(self) -> int:
        """Bytes of memory at the peak."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether memory and disk are enough."""
        return self.peak <= self.limit and self.disk <= self.free_disk

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"peak": self.peak, "fits": self.fits}


@dataclass(frozen=True)
class Plan:
    """The upper bound of what `decide` spends; stopping early makes it less.

    `training` is empty where nothing is trained.
    """

    base: str  # that would be trained
    steps: tuple[PlanStep, ...]
    training: tuple[TrainingPlan, ...]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> TrainingPlan | None:
        """Training by the method of the task."""
        return next((training for training in self.training if training.chosen), None)

    @property
    def fits(self) -> bool:
        """Whether the chosen method fits memory and disk."""
        return self.chosen is None or self.chosen.fits

    @property
    def seconds(self) -> float | None:
        """Wall time of all steps and of the chosen training; None where it is unknown."""
        if self.chosen is not None and self.chosen.seconds is None:
            return None
        training = {} if self.chosen is None else self.chosen.seconds or {}
        return sum(step.seconds for step in self.steps) + sum(training.values())

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        training = [method.as_dict() for method in self.training]
        return asdict(self) | {"training": training, "seconds": self.seconds, "fits": self.fits}


@dataclass(frozen=True)
class _Speed:
    """Seconds per answer as a line in the prompt's length, through two measured points; mean answer length."""

    fixed: float
    per_token: float
    completion: float

    def seconds(self, prompt_tokens: float) -> float:
        return self.fixed + self.per_token * prompt_tokens


def plan(bench: Bench) -> Plan:
    """Calibrate on development cases and a few training steps, and add up the planned rungs and each way to train.

    Raises:
        SpecError: the package of the search that the task names is not installed.
    """
    require_search(bench.task)
    notes = ["an upper bound: a rung that is settled early, or not needed, costs less"]
    if isinstance(bench.scorer, JudgeScorer):
        notes.append(_judging(bench, bench.scorer))
    if bench.task.decide.optimise:
        notes.append(_writing(bench))
    steps: list[PlanStep] = []
    planned = planned_rungs(bench)
    for one in bench.each:
        if isinstance(one.base, Outline):
            notes.append(f"the weights of {one.base.name} are not on this machine: times are known once they are")
        else:
            rungs = [step for step in planned if step.bench is one]
            last = [step for step in planned if not step.trained][-1:]  # the dearest base is taken to be diagnosed
            steps += _rung_steps(one, rungs, diagnosed=not last or last[0].bench is one)
    training: list[TrainingPlan] = []
    tuned = list(dict.fromkeys(step.bench for step in planned if step.trained))
    if tuned:
        training = [_training_plan(tuned[0], method) for method in _methods(bench)]
        notes.append("training happens only where every cheaper rung does not meet the bar")
        notes += [f"training {one.base.name} comes on top: plan it with it as `base:`" for one in tuned[1:]]
    return Plan((tuned[0] if tuned else bench).base.name, tuple(steps), tuple(training), tuple(notes))


def _judging(bench: Bench, judge: JudgeScorer) -> str:
    """Said of a judge: how often it is asked, which no figure of a plan holds."""
    times = 2 if judge.settings.mode == "pairwise" else 1
    tests = times * len(bench.test) * len(planned_rungs(bench))
    return f"judging comes on top: {judge.settings.model} is asked {tests:,} times about test answers, and about tries"


def _writing(bench: Bench) -> str:
    """Said of the search for instructions: they count as answers, but are longer than those that a rung gives."""
    writer = bench.task.decide.optimiser or bench.base.name
    return (
        f"some of the answers that the search may ask for are instructions, up to {most_written(bench.task):,} tokens "
        f"each, by {writer}: they take longer, and may cost more, than is counted here"
    )


def _rung_steps(bench: Bench, planned: Sequence[Planned], *, diagnosed: bool) -> list[PlanStep]:
    instructions = bench.task.instructions or bench.task.goal
    plain = plain_system(bench, "prompt", instructions)
    shown = replace(plain, setup=replace(plain.setup, demonstrations=draw_demonstrations(bench, 4, 0)))
    lengths = {name: _prompt_tokens(system, bench) for name, system in (("plain", plain), ("shown", shown))}
    speed = _calibrate(bench, plain, shown, lengths)
    steps = [_choosing_step(method, bench, speed, lengths) for method in _underneath(step.method for step in planned)]
    steps += [_rung_step(step, bench, speed, lengths) for step in planned]
    if diagnosed:
        steps.append(_step("diagnose failures", most_probes(len(bench.test)), bench, speed, 1.5 * lengths["shown"]))
    return steps


def _methods(bench: Bench) -> list[Method]:
    """The ways to train, the task's own first; 4 bits where there is an accelerator or what they need is installed."""
    import torch

    methods: tuple[Method, ...] = get_args(Method)
    four_bits = torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is not None
    possible = [method for method in methods if method != "qlora" or four_bits]
    return sorted(possible, key=lambda method: method != bench.task.train.method)


def _training_plan(bench: Bench, method: Method) -> TrainingPlan:
    bench.progress("calibrate training", 0, 1, method)
    found = forecast_training(bench, method)
    bench.progress("calibrate training", 1, 1, method)
    estimate, price = found.estimate, own_machine_price(bench.task.prices)
    seconds, seeds = None, bench.task.train.seeds
    if estimate.parts is not None and found.replay_seconds is not None:
        parts = {part: seeds * spent for part, spent in estimate.parts.items()}
        seconds = parts | {"replay": found.replay_seconds}  # the base answers once for all seeds
    usd = None if price is None or seconds is None else sum(seconds.values()) / 3600 * price.usd_per_hour
    return TrainingPlan(
        method=method,
        chosen=method == bench.task.train.method,
        tokens=seeds * estimate.tokens,
        scored=seeds * estimate.evaluations * len(bench.development),
        memory=dict(estimate.memory.parts),
        phase=estimate.memory.phase,
        limit=estimate.limit,
        seconds=seconds,
        disk=estimate.disk.peak,
        free_disk=estimate.free_disk,
        usd=usd,
        changes=tuple((change.write, change.bytes) for change in found.changes),
    )


def _underneath(planned: Iterable[MethodName]) -> list[MethodName]:
    """Methods that are no rungs themselves but are chosen for one that stands on them."""
    methods = set(planned)
    found: list[MethodName] = []
    for method in ("fine-tune + retrieval", "retrieval", "few-shot nearest", "few-shot", "self-consistency"):
        under: MethodName = "retrieval" if method == "fine-tune + retrieval" else "prompt"
        if method in methods.union(found) and under not in methods.union(found):
            found.insert(0, under)
    return found


def _choosing_step(method: MethodName, bench: Bench, speed: _Speed, lengths: dict[str, float]) -> PlanStep:
    answers = answers_to_choose(variant_count(method, bench), len(bench.development)) + optimiser_answers(method, bench)
    tokens = lengths["plain"] if method == "prompt" else 1.5 * lengths["shown"]
    return _step(f"choose {method}", answers, bench, speed, tokens)


def _rung_step(step: Planned, bench: Bench, speed: _Speed, lengths: dict[str, float]) -> PlanStep:
    cases, method = len(bench.development), step.method
    if step.trained:  # an adapter as it was trained has been scored while training
        choosing = cases * (len(SCALES) - 1 if bench.task.train.method != "full" else 1)
    else:
        choosing = answers_to_choose(variant_count(method, bench), cases) + optimiser_answers(method, bench)
    votes = bench.task.decide.votes if method == "self-consistency" else 1
    times = bench.task.train.seeds if step.trained else votes
    answers = times * (choosing + len(bench.test))
    tokens = lengths["plain"] if method in ("prompt", "constrained", "fine-tune") else 1.5 * lengths["shown"]
    return _step(f"measure {step.rung}", answers, bench, speed, tokens)


def _step(name: str, answers: int, bench: Bench, speed: _Speed, tokens: float) -> PlanStep:
    price = price_of(bench.base.name, bench.task.prices)
    usd = None if price is None else answers * (tokens * price.input + speed.completion * price.output) / 1e6
    return PlanStep(name, f"{answers} answers", answers * speed.seconds(tokens), usd)


def _prompt_tokens(system: System, bench: Bench) -> float:
    cases = bench.development[:CALIBRATION_CASES]
    return sum(bench.base.count_tokens(system.request(c.messages).messages) for c in cases) / len(cases)


def _calibrate(bench: Bench, plain: System, shown: System, lengths: dict[str, float]) -> _Speed:
    bench.progress("calibrate", 0, 2, "a few answers")
    short, answers = _timed(bench, plain)
    bench.progress("calibrate", 1, 2, "a few answers with demonstrations")
    long, _ = _timed(bench, shown)
    bench.progress("calibrate", 2, 2, "")
    per_token = max(0.0, (long - short) / max(1.0, lengths["shown"] - lengths["plain"]))
    completion = sum(answer.completion_tokens for answer in answers) / len(answers)
    return _Speed(max(0.0, short - per_token * lengths["plain"]), per_token, completion)


def _timed(bench: Bench, system: System) -> tuple[float, Sequence[Answer | Record]]:
    """Seconds of an answer, and the answers; those of a hosted base are kept, as they are paid for."""
    if isinstance(bench.base, models.EndpointModel):
        cases = bench.development[:CALIBRATION_CASES]
        unjudged = make_scorer(ExactScore(kind="exact"), ())  # only the time matters here: no judge is asked
        records = measure(system, cases, unjudged, bench.store, prices=bench.task.prices)
        return sum(record.seconds for record in records) / len(records), records
    requests = [system.request(case.messages) for case in bench.development[:CALIBRATION_CASES]]
    began = time.monotonic()
    answers = [answer for _, answer in bench.base.answer(requests)]
    return (time.monotonic() - began) / len(requests), answers
