"""What a judge is worth after labels of people corrected it: coverage, false adoptions, spread.

    python benchmarks/judges.py                    # 2,000 tasks a setting; about 25 minutes on a busy core
    python benchmarks/judges.py --tasks 200        # a first look

Every task has 200 cases and two rungs, `prompt` and `fine-tune`, whose scores by people are 0 or 1 and correlate;
people labelled n of the cases, of both rungs. A judge of J = q1 + q0 - 1 errs evenly on both rungs, or (style) passes
more of the wrong answers of the fine-tune, where its J is the second figure. The bar is 0.75, the fine-tune truly 0.73,
the prompt 0.60: adopting any is wrong. Columns:

- covered: the 95 % interval of PPI++ holds the true mean of the fine-tune (its paired difference from the prompt), in
  per cent; `below` is the part of the misses in which the truth lies below the lower bound: 2.5 at most;
- adopted wrongly: a rung is recommended by the verdict, in per cent of the tasks, alpha is 5; `alone` by the judge's
  scores without labels, `corrected` as `luthier decide` does (with its refusals), `no refusal` by the corrected bounds
  alone; `refused` is how often the verdict is refused because J is below 0.5 on the rung or over all;
- SD of the estimate of the fine-tune's mean: `people` from the labels alone, `PPI++`, and `RG`, Rogan & Gladen's (1978)
  correction by sensitivity and specificity, within [0, 1]; where a denominator is 0 or less RG says nothing and the
  labels alone are taken.

A second table has the same with a fine-tune of 0.90 against the bar: `adopted` is then right.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from luthier.decide import Evidence, JudgeEvidence, Rules, RungEvidence, State, decide, judged_standing
from luthier.evaluate import corrected_difference, corrected_mean

CASES = 200
GROUPS = tuple(str(i) for i in range(CASES))
RULES = Rules(bar=0.75, margin=0.03, alpha=0.05, volume=None)
PROMPT = 0.60
SHARED = 0.5


@dataclass(frozen=True)
class Judge:
    """Sensitivity and specificity on the prompt, and on the fine-tune."""

    name: str
    prompt: tuple[float, float]
    tuned: tuple[float, float]


JUDGES = (
    Judge("J .9", (0.95, 0.95), (0.95, 0.95)),
    Judge("J .7", (0.90, 0.80), (0.90, 0.80)),
    Judge("J .5", (0.80, 0.70), (0.80, 0.70)),
    Judge("J .9, style: .53", (0.95, 0.95), (0.98, 0.55)),
    Judge("J .7, style: .40", (0.90, 0.80), (0.95, 0.45)),
    Judge("J .5, style: .20", (0.80, 0.70), (0.90, 0.30)),
)


def people(rng: np.random.Generator, means: tuple[float, ...]) -> np.ndarray:
    hard = rng.normal(size=CASES)
    noise = rng.normal(size=(len(means), CASES))
    return (np.sqrt(SHARED) * hard + np.sqrt(1 - SHARED) * noise < ndtri(np.array(means))[:, None]).astype(float)


def judged(rng: np.random.Generator, truth: np.ndarray, judge: Judge) -> np.ndarray:
    draw = rng.random(truth.shape)
    q1, q0 = (np.array([judge.prompt[k], judge.tuned[k]])[:, None] for k in (0, 1))
    return np.where(truth == 1, draw < q1, draw >= q0).astype(float)


def rogan_gladen(f: np.ndarray, y: np.ndarray, said: np.ndarray) -> float:
    """The mean from the judge's mean and its sensitivity and specificity on the labels."""
    good = y == 1
    if not 0 < good.sum() < len(y):
        return float(y.mean())
    q1, q0 = said[good].mean(), 1 - said[~good].mean()
    if q1 + q0 - 1 <= 0:
        return float(y.mean())
    return float(np.clip((f.mean() + q0 - 1) / (q1 + q0 - 1), 0, 1))


def evidence(truth: np.ndarray, scores: np.ndarray, labelled: int) -> Evidence:
    names = ("prompt", "fine-tune")
    rungs = tuple(
        RungEvidence(name, name, "base", name, tuple(map(float, row)))  # type: ignore[arg-type]  # both are methods
        for name, row in zip(names, scores, strict=True)
    )
    labels = {
        n: dict(zip(GROUPS[:labelled], map(float, row), strict=False)) for n, row in zip(names, truth, strict=True)
    }
    about = JudgeEvidence("judge", {}, "", "pass/fail", "rubric", "", {}, None, labels)
    return Evidence(GROUPS, GROUPS, rungs, False, "judge", judge=about)


def setting(judge: Judge, labelled: int, tuned: float, tasks: int, rng: np.random.Generator) -> list[float]:
    means = (PROMPT, tuned)
    counts = dict.fromkeys(("held", "below", "pair held", "pair below", "alone", "corrected", "free", "refused"), 0)
    estimates = []
    for _ in range(tasks):
        truth = people(rng, means)
        scores = judged(rng, truth, judge)
        human = [dict(enumerate(map(float, row[:labelled]))) for row in truth]
        mean = corrected_mean(scores[1], human[1], GROUPS)
        pair = corrected_difference(scores[1], scores[0], human[1], human[0], GROUPS)
        for what, found, true in (("", mean, tuned), ("pair ", pair, tuned - PROMPT)):
            low, high = found.bounds(0.025)
            counts[f"{what}held"] += low <= true <= high
            counts[f"{what}below"] += true < low
        there = evidence(truth, scores, labelled)
        counts["alone"] += decide(RULES, replace(there, judge=None, binary=True)).rung is not None
        counts["corrected"] += decide(RULES, there).rung is not None
        counts["free"] += mean.bounds(RULES.alpha / 2)[0] >= 0.75
        assert there.judge is not None
        field = judged_standing(RULES, there, there.judge)
        counts["refused"] += bool(field.refused(there.rungs[1]))
        assert not field.refused(there.rungs[1]) or field.state(there.rungs[1]) is State.OPEN
        y, said = truth[1, :labelled], scores[1, :labelled]
        estimates.append((y.mean(), mean.estimate, rogan_gladen(scores[1], y, said)))
    return [100 * count / tasks for count in counts.values()] + list(np.std(estimates, axis=0))


def table(tuned: float, tasks: int, seed: int) -> None:
    print(f"\nfine-tune truly {tuned}, bar {RULES.bar}, {tasks:,} tasks a setting\n")
    adopted = "adopted wrongly" if tuned < 0.75 else "adopted"
    heads = ["judge", "labels", "covered", "below", "pair covered", "pair below"]
    heads += [f"{adopted}: alone", "corrected", "no refusal", "refused", "SD people", "SD PPI++", "SD RG"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for number, judge in enumerate(JUDGES):
        for labelled in (60, 120):
            found = setting(judge, labelled, tuned, tasks, np.random.default_rng([seed, number, labelled]))
            cells = [f"{value:.1f}" for value in found[:8]] + [f"{value:.3f}" for value in found[8:]]
            print(f"| {judge.name} | {labelled} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuned", type=float, nargs="+", default=[0.73, 0.90], help="true means of the fine-tune")
    chosen = parser.parse_args()
    began = time.process_time()
    for tuned in chosen.tuned:
        table(tuned, chosen.tasks, chosen.seed)
    print(f"\n{(time.process_time() - began) / 60:.0f} minutes of processor time")


if __name__ == "__main__":
    main()
