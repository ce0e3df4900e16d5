"""Does a learning curve that is measured on 40 % of the training rows foretell the score with all of them?

    python benchmarks/learning_curve.py measure OUT [--sets snips banking77] [--seeds 10] [--cases 32]
    python benchmarks/learning_curve.py report OUT

`measure` does, for each set and seed, what `luthier check --curve` does with 40 % of the rows (other rows and other
development cases for each seed), then measures the score with all rows on the same cases. It goes on where it was
interrupted. `report` fits the curves and says how often the score lies in the 80 % band.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.api import Project
from luthier.audit import Point, Subset, fit_curve
from luthier.data import Example, groups_of, read_examples, split_examples
from luthier.decide import Bench, measure_curve
from luthier.decide._curve import SHOWN, nearest_system
from luthier.evaluate import make_scorer, measure
from luthier.models import Model, load_model

SHARED = Path(__file__).parents[2] / "shared" / "data"
KNOWN = 0.4  # of the training rows
BASE = "smollm2-135m"
TASKS = {
    "snips": ("Turn an utterance into JSON with its intent and slots.", {"kind": "json"}),
    "banking77": ("Name the intent of a bank customer's question.", {"kind": "label"}),
}


def task_folder(out: Path, name: str, cases: int) -> Path:
    """A task over the training rows of a real set."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    goal, score = TASKS[name]
    (folder / "train.jsonl").write_text((SHARED / name / "train.jsonl").read_text("utf-8"), "utf-8")
    task = {"task": name, "goal": goal, "examples": "train.jsonl", "score": score, "base": BASE}
    task |= {"decide": {"development_cases": cases}}
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return folder


@dataclass(frozen=True)
class Bed:
    """A real set that curves are measured on."""

    name: str
    project: Project
    examples: Sequence[Example]
    base: Model


def measure_seed(bed: Bed, seed: int, shown: int, file: Path) -> None:
    """A curve on 40 % of the rows, and the score with all of them on the same cases."""
    began, task = time.monotonic(), bed.project.task
    split = split_examples(bed.examples, task.split.model_copy(update={"seed": seed}))
    scorer = make_scorer(task.score, split.train + split.development)
    whole = Bench(task, split, groups_of(split.test), scorer, bed.base, bed.project.store)
    rows = sorted(random.Random(f"known {seed}").sample(range(len(split.train)), round(KNOWN * len(split.train))))
    part = replace(whole, split=replace(split, train=tuple(split.train[row] for row in rows)))
    points = measure_curve(part, "few-shot", shown=shown)
    everything = Subset(len(split.train), 0, tuple(range(len(split.train))))
    truth = measure(nearest_system(whole, everything, shown), whole.development, scorer, bed.project.store)
    found = {
        "set": bed.name,
        "seed": seed,
        "shown": shown,
        "rows": len(split.train),
        "points": [[p.size, p.repeat, p.scores] for p in points],
        "truth": [record.score for record in truth],
        "seconds": time.monotonic() - began,
    }
    file.write_text(json.dumps(found), "utf-8")
    means = " ".join(f"{p.size}:{p.mean:.3f}" for p in points)
    score = sum(found["truth"]) / len(truth)
    print(f"{bed.name} seed {seed}: {means} -> {score:.3f}, {found['seconds']:.0f} s", flush=True)


def report(out: Path) -> int:
    """How often the score with all rows lies in the band that was foretold from 40 % of them."""
    held: dict[tuple[str, int], list[bool]] = {}
    print("| set | seed | score, 40 % of the rows | expected, 100 % | 80 % band | measured, 100 % | in the band |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for file in sorted(out.glob("*.json"), key=lambda file: (file.stem.rpartition("-")[0], len(file.stem), file.stem)):
        found = json.loads(file.read_text("utf-8"))
        points = [Point(size, repeat, tuple(scores)) for size, repeat, scores in found["points"]]
        known = max(point.size for point in points)
        [at] = [e for e in fit_curve(points).expected if e.size == round(known * 2.5)]
        truth = sum(found["truth"]) / len(found["truth"])
        inside = at.low - 1e-9 <= truth <= at.high + 1e-9
        held.setdefault((found["set"], found["shown"]), []).append(inside)
        now = next(point.mean for point in points if point.size == known)
        band = f"{at.low:.3f} – {at.high:.3f}"
        print(
            f"| {found['set']} | {found['seed']} | {now:.3f} | {at.score:.3f} | {band} | {truth:.3f} "
            f"| {'yes' if inside else 'no'} |"
        )
    for (name, shown), seeds in held.items():
        print(f"{name}, {shown} nearest: in the band in {sum(seeds)} of {len(seeds)} seeds")
    return 0 if held and all(sum(seeds) >= 0.8 * len(seeds) for seeds in held.values()) else 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--shown", type=int, default=SHOWN, help="demonstrations")
    given = parser.parse_args(arguments)
    if given.what == "measure":
        base = load_model(BASE)
        projects = {name: Project(task_folder(given.out, name, given.cases)) for name in given.sets}
        beds = [Bed(name, p, read_examples(p.task.examples), base) for name, p in projects.items()]
        for seed in range(given.seeds):
            for bed in beds:
                file = given.out / f"{bed.name}-{given.shown}-{seed}.json"
                if not file.is_file():
                    measure_seed(bed, seed, given.shown, file)
        return 0
    return report(given.out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
