"""Answers of other rows planted in real sets, and what `surprising-answer` makes of them beside plain likelihoods.

    python benchmarks/surprise.py [--sets NAME ...] [--rows 120] [--seed 0] [--store FOLDER] [--clean]

Of the first 240 rows of a set 8 are shifted by one in a block, 8 swapped and 8 given the answer of a row that asks the
like; these and as many others as make 120 are looked at. Told are the area under the ROC curve of four rankings, over
all damages and for each: negative log-likelihood per content token without demonstrations and behind them, the rank
among the answers that were tried, and how well the answer fits (the one that is used); precision and recall of the
finding, and its estimate. `--clean` plants nothing, and tells what is found nevertheless. What the base was asked is
kept in `--store`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from audit import SCORES, read
from damages import Row
from damages.elsewhere import KINDS, ROWS, with_document
from luthier.audit import Dataset, Instruments
from luthier.audit.surprise._asked import Asker
from luthier.audit.surprise._check import Judged, judge, rows_of
from luthier.data import Example, Message, Source
from luthier.models import load_model
from luthier.spec import Task
from luthier.store import Store

EACH = 8
SETS = ("tldr", "snips", "xquad", "xquad with document")


def planted(rows: Sequence[Row], seed: int) -> tuple[list[Row], dict[int, str]]:
    """The rows with all three kinds of damage, none on another, and which row has which."""
    rng = random.Random(seed)
    new: dict[int, str] = {}
    kinds: dict[int, str] = {}
    for name, change in KINDS.items():
        found = change(rows, rng, EACH)
        while set(found) & set(new):
            found = change(rows, rng, EACH)
        new |= found
        kinds |= {i: name for i, answer in found.items() if answer != rows[i]["completion"]}
    return [row | {"completion": new.get(i, row["completion"])} for i, row in enumerate(rows)], kinds


def look(name: str, options: argparse.Namespace, store: Store) -> None:
    """Measures one set and prints its line."""
    rows = [row if name in SCORES else with_document(row) for row in read(name.split()[0])[:ROWS]]
    kinds: dict[int, str] = {}
    if not options.clean:
        rows, kinds = planted(rows, options.seed)
    examples = [
        Example((Message("user", row["prompt"]),), row["completion"], source=Source("rows", i))
        for i, row in enumerate(rows)
    ]
    score = SCORES[name.split()[0]]
    task = Task.model_validate(
        {"task": "t", "goal": "g", "examples": Path("rows"), "score": score, "base": "smollm2-135m"}
    )
    rng = random.Random(options.seed)
    others = rng.sample([i for i in range(len(rows)) if i not in kinds], options.rows - len(kinds))
    chosen = sorted([*kinds, *others])
    instruments = Instruments(task, store, lambda *_: None)
    asker = Asker(load_model("smollm2-135m"), "", store, progress)
    start = time.process_time()
    judged = judge(rows_of(Dataset(task, examples), instruments), chosen, asker)
    seconds = time.process_time() - start
    assert judged is not None and len(judged.trials) == len(chosen)
    tell(name, judged, [kinds.get(i, "") for i in chosen], seconds, asker)


def tell(name: str, judged: Judged, kinds: Sequence[str], seconds: float, asker: Asker) -> None:
    found = judged.doubts
    listed = np.zeros(len(kinds), dtype=bool)
    listed[list(found.listed)] = True
    print(
        f"{name}: {len(kinds)} rows, {sum(map(bool, kinds))} planted, {seconds:.0f} s; own answer fits better in"
        f" {found.skill:.2f}; estimated {found.rate:.3f} [{found.low:.3f}, {found.high:.3f}]; listed {listed.sum()}"
    )
    if not any(kinds):
        return
    kind = np.array(kinds)
    alone = asker.ask([replace(trial, shown=(), others=()) for trial in judged.trials], (), "alone")
    rankings = {
        "NLL, no demonstrations": [-one.own if one else 0.0 for one in alone],
        "NLL behind demonstrations": [-one.own for one in judged.scores],
        "rank among others": [float(np.mean(np.array(one.others) >= one.own)) for one in judged.scores],
        "fit (used)": (-found.fits).tolist(),
    }
    for ranking, values in rankings.items():
        areas = [area(kind != "", values), *(area(kind == k, values, (kind == k) | (kind == "")) for k in KINDS)]
        print(f"    {ranking:28}" + "".join(f"{value:8.3f}" for value in areas))
    recalls = " ".join(f"{k} {listed[kind == k].mean():.2f}" for k in KINDS)
    precision = float((kind[listed] != "").mean()) if listed.any() else float("nan")
    print(f"    finding: precision {precision:.2f}, recall {listed[kind != ''].mean():.2f}: {recalls}", flush=True)


def area(wrong: np.ndarray, values: Sequence[float], inside: np.ndarray | None = None) -> float:
    """Area under the ROC curve among the rows inside."""
    kept = np.ones(len(wrong), dtype=bool) if inside is None else inside
    return float(roc_auc_score(wrong[kept], np.asarray(values)[kept]))


def progress(stage: str, done: int, total: int, remark: str) -> None:
    print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="folder that keeps what the base was asked")
    parser.add_argument("--clean", action="store_true", help="plant nothing")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Store.open(options.store or Path(folder)) as store:
        for name in options.sets:
            look(name, options, store)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
