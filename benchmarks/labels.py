"""Wrong labels planted in `banking77` and in the intents of `snips`, and what the audit says of the sets as they are.

    python benchmarks/labels.py [--seed 0] [--list N]

For each share and kind of wrong labels: AUC of the ranking, precision among as many rows as were planted, precision
and recall of `wrong-label`, of `wrong-label` and `doubtful-label` together, and the estimated share of wrong labels.
`uniform` draws any other label, `confusable` one of the three whose rows have the words most alike. Rows found in the
set as it is are left out of precision: they may well be wrong. `--list N` prints the N worst rows of `banking77`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import roc_auc_score

from luthier.audit.labels._noise import Doubts, doubts
from luthier.data import near_duplicate_groups

SHARED = Path(__file__).parents[2] / "shared" / "data"


def read(name: str) -> tuple[list[str], np.ndarray, list[str]]:
    """Inputs, label numbers and labels of a set."""
    lines = (SHARED / name / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    labels = [json.loads(r["completion"])["intent"] if name == "snips" else r["completion"] for r in rows]
    names = sorted(set(labels))
    return [r["prompt"] for r in rows], np.array([names.index(label) for label in labels]), names


def confusable(texts: Sequence[str], y: np.ndarray) -> np.ndarray:
    """For each label the three others whose rows have the words most alike (cosine of mean word counts)."""
    counts = CountVectorizer().fit_transform(texts)
    means = np.stack([np.asarray(counts[y == k].mean(axis=0))[0] for k in range(y.max() + 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    near = means @ means.T
    np.fill_diagonal(near, -1)
    return np.argsort(-near, axis=1)[:, :3]


def planted(y: np.ndarray, share: float, near: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with some wrong ones, and which."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(y), round(share * len(y)), replace=False)
    changed = y.copy()
    for i in chosen:
        others = np.setdiff1d(np.arange(y.max() + 1), y[i]) if near is None else near[y[i]]
        changed[i] = rng.choice(others)
    mask = np.zeros(len(y), dtype=bool)
    mask[chosen] = True
    return changed, mask


def flagged(found: Doubts) -> tuple[np.ndarray, np.ndarray]:
    wrong = found.wrong >= 0.5
    return wrong, wrong | found.confident


def measure(name: str, seed: int) -> None:
    texts, y, _ = read(name)
    families = near_duplicate_groups(texts)
    start = time.process_time()
    before, before_all = flagged(plain := doubts(texts, y.tolist(), families))
    seconds = time.process_time() - start
    print(
        f"{name}: as it is, {before.sum()} wrong and {(before_all & ~before).sum()} doubtful of {len(y)};"
        f" estimated {plain.rate:.1%}; skill {plain.skill:.3f}; {seconds:.1f} s"
    )
    for kind, near in (("uniform", None), ("confusable", confusable(texts, y))):
        for share in (0.02, 0.05, 0.1):
            changed, mask = planted(y, share, near, seed)
            found = doubts(texts, changed.tolist(), families)
            wrong, everything = flagged(found)
            ranking = np.argsort(-found.wrong, kind="stable")[: mask.sum()]
            print(
                f"{name:10}{kind:11}{share:5.0%}  AUC {roc_auc_score(mask, found.wrong):.3f}"
                f"  P@k {mask[ranking].mean():.3f}  wrong-label P {precision(wrong, mask, before):.3f}"
                f" R {wrong[mask].mean():.3f}  with doubtful P {precision(everything, mask, before_all):.3f}"
                f" R {everything[mask].mean():.3f}  estimated {found.rate:.1%}",
                flush=True,
            )


def precision(found: np.ndarray, mask: np.ndarray, before: np.ndarray) -> float:
    counted = found & (mask | ~before)
    return float(mask[counted].mean()) if counted.any() else float("nan")


def show(name: str, count: int) -> None:
    texts, y, names = read(name)
    found = doubts(texts, y.tolist(), near_duplicate_groups(texts))
    for i in np.argsort(-found.wrong, kind="stable")[:count]:
        print(f"{i + 1:6} {found.wrong[i]:.2f} {names[y[i]]} | {names[found.likely[i]]} | {texts[i]!r}")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", type=int, metavar="N", help="print the N worst rows of banking77, and nothing else")
    options = parser.parse_args(arguments)
    if options.list:
        show("banking77", options.list)
        return 0
    for name in ("snips", "banking77"):
        measure(name, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
