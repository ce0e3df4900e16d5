"""How often is the verdict wrong? Tasks with a known truth, climbed and decided as `luthier decide` does.

    python benchmarks/verdict_simulation.py                    # 2,000 tasks per setting; about 15 minutes on one core
    python benchmarks/verdict_simulation.py --tasks 200        # a first look

Every line is one setting: what kind of scores, and the true mean of each rung; in the mixed setting every task has
other means, drawn as `mixed` says. Columns, in per cent of the tasks:

- adopted wrongly: a rung was recommended whose true mean is below the bar; must not exceed alpha (5);
- warranted wrongly: fine-tuning was warranted although a cheaper rung is good enough and the gain is below the margin;
  must not exceed alpha (5);
- right: the verdict that a judge who knows the truth would give; open: not enough evidence;
- answers: test answers that were needed, of those that answering everything would have needed;
- covered: the plain 95 % interval of the first rung, on all cases, holds its true mean.

Then the power of the test against the bar, beside that of the exact binomial test of fixed size at the same numbers of
cases: what looking early costs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import binom

from luthier.decide import Evidence, Rules, RungEvidence, VerdictKind
from luthier.decide._standing import standing
from luthier.decide._verdict import choose
from luthier.evaluate import display_interval, settle
from luthier.spec import MethodName

LADDER: tuple[MethodName, ...] = ("prompt", "few-shot", "retrieval", "fine-tune")
BAR = 0.80
RULES = Rules(bar=BAR, margin=0.03, alpha=0.05, volume=None)
SHARED = 0.5  # how much of what makes a case hard is common to all rungs
CONCENTRATION = 2.5  # of graded scores: about the spread of a field-level F1
POWERS = (
    (0.80, 0.85, 370),
    (0.80, 0.88, 150),
    (0.80, 0.90, 90),
    (0.90, 0.95, 180),
    (0.90, 0.98, 70),
    (0.95, 0.97, 650),
)

Kind = Literal["binary", "graded", "clustered", "uneven"]


@dataclass(frozen=True)
class Truth:
    """True means of the rungs, and the kinds of verdict that are right."""

    name: str
    means: tuple[float, float, float, float]
    right: tuple[VerdictKind, ...]


TRUTHS = (
    Truth("all just below the bar", (0.79, 0.79, 0.79, 0.79), ("no rung meets the bar", "not enough evidence")),
    Truth("a cheaper rung at the bar", (0.50, 0.80, 0.60, 0.80), ("few-shot", "not enough evidence")),
    Truth("the same, tuning adds 0.02", (0.50, 0.80, 0.60, 0.82), ("few-shot", "not enough evidence")),
    Truth("few-shot is enough", (0.40, 0.92, 0.60, 0.95), ("few-shot",)),
    Truth("fine-tuning is needed", (0.40, 0.60, 0.60, 0.93), ("fine-tune",)),
    Truth("nothing is good enough", (0.20, 0.35, 0.35, 0.50), ("no rung meets the bar",)),
)


def mixed(rng: np.random.Generator) -> Truth:
    """A task as they come: the prompt anywhere, demonstrations and documents of more or less use, tuning the best."""
    prompt = rng.uniform(0.2, 0.9)
    shown, read = prompt + rng.uniform(0, 0.25), prompt + rng.uniform(-0.1, 0.25)
    means = [min(mean, 0.98) for mean in (prompt, shown, read, max(shown, read) + rng.uniform(0, 0.25))]
    kinds: tuple[VerdictKind, ...] = ("prompt", "few-shot", "retrieve", "fine-tune")
    right = next((kind for kind, mean in zip(kinds, means, strict=True) if mean >= BAR), "no rung meets the bar")
    return Truth("mixed", (means[0], means[1], means[2], means[3]), (right,))


@dataclass(frozen=True)
class Outcome:
    """Shares of the simulated tasks."""

    adopted_wrongly: float
    warranted_wrongly: float
    right: float
    open: float
    answers: float
    covered: float


def draw(kind: Kind, means: tuple[float, ...], cases: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Groups and scores [rungs, cases]. Rungs find the same cases hard; cases of a group correlate with 0.3.

    Groups are three cases; in the uneven setting of any size, three on average (geometric).
    """
    size, icc = (3, 0.3) if kind in ("clustered", "uneven") else (1, 0.0)
    index = np.arange(cases) // size
    if kind == "uneven":
        index = np.repeat(np.arange(cases), rng.geometric(1 / size, cases))[:cases]

    def noise() -> np.ndarray:
        between = rng.normal(size=index[-1] + 1)[index]
        return np.sqrt(icc) * between + np.sqrt(1 - icc) * rng.normal(size=cases)

    hard = noise()
    rows = []
    for mean in means:
        latent = np.sqrt(SHARED) * hard + np.sqrt(1 - SHARED) * noise()
        if kind == "graded":
            rows.append(betaincinv(mean * CONCENTRATION, (1 - mean) * CONCENTRATION, ndtr(latent)))
        else:
            rows.append((latent < ndtri(mean)).astype(float))
    return [str(i) for i in index], np.array(rows)


def climb(kind: Kind, groups: list[str], scores: np.ndarray) -> Evidence:
    """What the ladder leaves: each rung answered until it is settled, none after the first that meets the bar."""
    alpha, binary = RULES.alpha / len(LADDER), kind != "graded"
    rungs: list[RungEvidence] = []
    met = False
    for method, row in zip(LADDER, scores.tolist(), strict=True):
        # one replay of all answers says after how many the ladder would have stopped: a test holds the two equal
        found = settle(row, groups, bar=BAR, alpha=alpha, binary=binary)
        answered = 0 if met else found.at or len(row)
        rungs.append(RungEvidence(method, method, "base", "", tuple(row[:answered])))
        met = met or found.state == "meets"
    return Evidence(tuple(f"c{i}" for i in range(len(groups))), tuple(groups), tuple(rungs), binary, "s")


def simulate(kind: Kind, setting: Truth | None, *, tasks: int, cases: int = 150, seed: int = 0) -> Outcome:
    """Climb and decide many tasks of one setting; None is the mixed one."""
    rng = np.random.default_rng(seed)
    counts = np.zeros(6)
    for _ in range(tasks):
        truth = setting or mixed(rng)
        enough = max(truth.means[:-1]) >= BAR and truth.means[-1] - max(truth.means[:-1]) < RULES.margin
        groups, scores = draw(kind, truth.means, cases, rng)
        evidence = climb(kind, groups, scores)
        choice = choose(standing(RULES, evidence))
        low, high = display_interval(scores[0].tolist(), groups, binary=kind != "graded")
        counts += (
            choice.rung is not None and truth.means[LADDER.index(choice.rung.method)] < BAR,
            choice.warrant.granted and enough,
            choice.kind in truth.right,
            choice.kind == "not enough evidence",
            sum(len(rung.scores) for rung in evidence.rungs) / scores.size,
            low <= truth.means[0] <= high,
        )
    return Outcome(*(counts / tasks))


def power(bar: float, mean: float, cases: int, *, tasks: int, seed: int = 0) -> tuple[float, float]:
    """How often one rung at alpha 0.05 is shown to meet the bar: by our rule, and by the exact test of fixed size."""
    rng = np.random.default_rng(seed)
    groups = [str(i) for i in range(cases)]
    met = 0
    for _ in range(tasks):
        scores = (rng.random(cases) < mean).astype(float).tolist()
        met += settle(scores, groups, bar=bar, alpha=0.05, binary=True).state == "meets"
    least = int(binom.isf(0.05, cases, bar)) + 1  # wins that the exact test asks for
    return met / tasks, float(binom.sf(least - 1, cases, mean))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=list(get_args(Kind)))
    args = parser.parse_args()
    columns = ("adopted wrongly", "warranted wrongly", "right", "open", "answers", "covered")
    print(f"{args.tasks} tasks a setting, {args.cases} cases, bar {BAR}, {len(LADDER)} rungs, alpha {RULES.alpha}\n")
    print("| scores | truth | means | " + " | ".join(columns) + " |")
    print("|---|---|---|" + "--:|" * len(columns))
    start = time.monotonic()
    for kind in args.kinds:
        for truth in (*TRUTHS, None):
            found = simulate(kind, truth, tasks=args.tasks, cases=args.cases, seed=args.seed)
            shares = " | ".join(f"{100 * getattr(found, name):.1f}" for name in Outcome.__dataclass_fields__)
            name, means = ("mixed", "") if truth is None else (truth.name, " ".join(f"{m:.2f}" for m in truth.means))
            print(f"| {kind} | {name} | {means} | {shares} |", flush=True)
    print("\n| bar | true mean | cases | shown to meet, % | exact test of fixed size, % |\n|--:|--:|--:|--:|--:|")
    for bar, mean, cases in POWERS:
        ours, fixed = power(bar, mean, cases, tasks=args.tasks, seed=args.seed)
        print(f"| {bar:.2f} | {mean:.2f} | {cases} | {100 * ours:.1f} | {100 * fixed:.1f} |", flush=True)
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
