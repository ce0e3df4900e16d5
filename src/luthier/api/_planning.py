"""What `decide` may spend: time, memory and money, from a few answers and one step on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from luthier.decide import (
    SCALES,
    Bench,
    System,
    answers_to_choose,
    draw_demonstrations,
    estimate_training,
    plain_system,
    planned_rungs,
    variant_count,
)
from luthier.models import Answer, LocalModel, price_of

CALIBRATION_CASES = 4


@dataclass(frozen=True)
class PlanStep:
    """One step: `amount` in words, `seconds` of wall time, `usd` where a price is known."""

    name: str
    amount: str
    seconds: float
    usd: float | None


@dataclass(frozen=True)
class Plan:
    """The upper bound of what `decide` spends; stopping early makes it less.

    `memory` is bytes at the peak of training (0 where nothing is trained).
    """

    base: str
    steps: tuple[PlanStep, ...]
    memory: int
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all steps."""
        return sum(step.seconds for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"seconds": self.seconds}


@dataclass(frozen=True)
class _Speed:
    """Seconds per answer as a line in the prompt's length, through two measured points; mean answer length."""

    fixed: float
    per_token: float
    completion: float

    def seconds(self, prompt_tokens: float) -> float:
        return self.fixed + self.per_token * prompt_tokens


def plan(bench: Bench) -> Plan:
    """Calibrate on development cases and add up the planned rungs."""
    instructions = bench.task.instructions or bench.task.goal
    plain = plain_system(bench, "prompt", instructions)
    shown = replace(plain, setup=replace(plain.setup, demonstrations=draw_demonstrations(bench, 4, 0)))
    lengths = {name: _prompt_tokens(system, bench) for name, system in (("plain", plain), ("shown", shown))}
    speed = _calibrate(bench, plain, shown, lengths)
    steps = [_rung_step(method, bench, speed, lengths) for method in planned_rungs(bench)]
    memory, notes = 0, ["an upper bound: a rung that is settled early, or not needed, costs less"]
    if isinstance(bench.base, LocalModel) and any(m.startswith("fine-tune") for m in planned_rungs(bench)):
        cost = estimate_training(bench)
        scored = cost.evaluations * len(bench.development)
        steps.append(PlanStep("training", f"{cost.tokens:,} tokens", cost.seconds, None))
        seconds = scored * speed.seconds(lengths["plain"])
        steps.append(PlanStep("scores while training", f"{scored} answers", seconds, None))
        memory = cost.bytes
        notes.append("training happens only where every cheaper rung does not meet the bar")
    return Plan(bench.base.name, tuple(steps), memory, tuple(notes))


def _rung_step(method: str, bench: Bench, speed: _Speed, lengths: dict[str, float]) -> PlanStep:
    cases, tuned = len(bench.development), method.startswith("fine-tune")
    if tuned:  # an adapter as it was trained has been scored while training
        choosing = cases * (len(SCALES) - 1 if bench.task.train.method != "full" else 1)
    else:
        choosing = answers_to_choose(variant_count(method, bench), cases)
    answers = choosing + len(bench.test)
    tokens = lengths["plain"] if method in ("prompt", "constrained", "fine-tune") else 1.5 * lengths["shown"]
    price = price_of(bench.base.name, bench.task.prices)
    usd = None if price is None else answers * (tokens * price.input + speed.completion * price.output) / 1e6
    return PlanStep(f"measure {method}", f"{answers} answers", answers * speed.seconds(tokens), usd)


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


def _timed(bench: Bench, system: System) -> tuple[float, Sequence[Answer]]:
    requests = [system.request(case.messages) for case in bench.development[:CALIBRATION_CASES]]
    began = time.monotonic()
    answers = [answer for _, answer in bench.base.answer(requests)]
    return (time.monotonic() - began) / len(requests), answers
