"""Knowledge or behaviour: how well `luthier check` tells rows that state facts, on labelled rows from real data.

    python benchmarks/knowledge.py [--rows 60] [--seed 1] [--deep] [--cache FOLDER]

The sets and their labels are described in knowledge_rows.py. Each set is a task of its own, scored by "exact", so that
the kind of score gives nothing away. Printed are the area under the ROC curve with a 95 % interval (bootstrap over
rows), for the sets that the detector was written on and for those that were held out; precision and recall at the
threshold that `check` uses; the worst errors; and how far the share of facts that is found in mixtures lies from the
true one. `--deep` asks the base too (SmolLM2-135M): what it knows of the facts, whether documents are told apart that
hold them and that do not, and the share of unknown facts in mixtures. It takes about 8 processor-minutes; with --cache
a second run takes seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from knowledge_rows import APART, HELD_OUT, SHARED, TUNED, LabelledSet, Row, labelled
from luthier.audit.knowledge._label import FACT
from luthier.audit.knowledge._novelty import Novelties, Novelty
from luthier.audit.knowledge._rows import Judge, JudgedRow
from luthier.data import Example
from luthier.models import load_model
from luthier.retrieve import Index, build_index, chunk_documents, load_embedder, read_documents
from luthier.spec import Task
from luthier.store import Store

BASE = "smollm2-135m"
ASKED = 30  # rows of each set that the base is asked about; each costs about half a processor-second
BOOTSTRAPS = 2000
LEAST_AUC = 0.9
MIXED = (
    ("xquad closed", "xquad open"),
    ("mmlu open", "snips"),
    ("xquad closed", "banking77"),
    ("mmlu open", "last words"),
)
SHARES = (0.0, 0.1, 0.2, 0.5, 1.0)
Scored = list[tuple[Row, Novelty]]


def task(documents: Path | None = None) -> Task:
    """A task about which nothing is said."""
    values = {"task": "t", "goal": "as in the examples", "examples": Path("rows.jsonl"), "score": {"kind": "exact"}}
    return Task.model_validate(values | {"base": BASE, "documents": documents})


def scored(some: LabelledSet) -> Scored:
    """Each labelled row with what is new in its answer, the set being a task of its own."""
    novelties = Novelties([*(row.example for row in some.rows), *some.others], task())
    return [(row, novelties.of(row.example)) for row in some.rows]


def auc(rows: Scored, seed: int) -> str:
    """Area under the ROC curve with its bootstrap interval."""
    facts = np.array([row.fact for row, _ in rows])
    evidence = np.array([novelty.evidence for _, novelty in rows])
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, len(rows), len(rows)) for _ in range(BOOTSTRAPS))
    spread = [roc_auc_score(facts[some], evidence[some]) for some in drawn]
    low, high = np.quantile(spread, [0.025, 0.975])
    return f"{roc_auc_score(facts, evidence):.3f} [{low:.3f}, {high:.3f}]"


def at_threshold(rows: Scored) -> str:
    """Precision and recall of the decision that `check` makes."""
    right = sum(row.fact and novelty.evidence >= FACT for row, novelty in rows)
    said = sum(novelty.evidence >= FACT for _, novelty in rows)
    facts = sum(row.fact for row, _ in rows)
    return f"precision {right / said:.3f}, recall {right / facts:.3f}"


def errors(rows: Scored, most: int) -> list[str]:
    """The rows that are ranked worst: facts with the least evidence, others with the most."""
    wrong = sorted(rows, key=lambda pair: pair[1].evidence if pair[0].fact else 1 - pair[1].evidence)
    found = []
    for row, novelty in wrong[:most]:
        new = ", ".join(piece.text for piece in novelty.novel) or "nothing"
        text = " ".join(row.example.input_text.split())[-70:]
        label = "fact" if row.fact else "not"
        found.append(
            f"{row.set:18} {label:5}{novelty.evidence:.2f}  …{text} → {row.example.output[:60]!r}; new: {new[:60]}"
        )
    return found


def mixture(sets: dict[str, LabelledSet], facts: str, others: str, share: float, size: int, seed: int) -> list[Row]:
    """Rows of two sets in one file, a share of them facts."""
    rng = random.Random(f"{facts} {others} {share} {seed}")
    count = round(share * size)
    rows = rng.sample(sets[facts].rows, count) + rng.sample(sets[others].rows, size - count)
    rng.shuffle(rows)
    return rows


def report_words(sets: dict[str, LabelledSet], seed: int) -> bool:
    """The figures that take no model; whether what is asked of the held-out sets is kept."""
    found = {name: scored(some) for name, some in sets.items()}
    print(f"{'set':22}{'rows':>5}{'facts':>6}{'flagged':>8}{'mean evidence':>15}")
    for name, rows in found.items():
        flagged = sum(novelty.evidence >= FACT for _, novelty in rows)
        mean = sum(novelty.evidence for _, novelty in rows) / len(rows)
        kind = "" if name not in APART else "  (reported apart)"
        print(f"{name:22}{len(rows):5}{sum(row.fact for row, _ in rows):6}{flagged:8}{mean:15.2f}{kind}")
    groups = {"looked at": TUNED, "held out": HELD_OUT, "all": TUNED + HELD_OUT}
    for label, names in groups.items():
        rows = [pair for name in names for pair in found[name]]
        print(f"{label}: {len(rows)} rows of {len(names)} sets: AUC {auc(rows, seed)}; {at_threshold(rows)}")
    print("\nworst errors")
    for line in errors([pair for name in TUNED + HELD_OUT for pair in found[name]], 20):
        print("  " + line)
    print("\nshare of facts in mixtures (rows flagged by their words)")
    for facts, others in MIXED:
        size = min(len(sets[facts].rows), len(sets[others].rows))
        line = []
        for share in SHARES:
            rows = mixture(sets, facts, others, share, size, seed)
            novelties = Novelties([row.example for row in rows], task())
            flagged = sum(novelties.of(row.example).evidence >= FACT for row in rows)
            line.append(f"{share:.1f}: {flagged / size:.2f}")
        print(f"  {facts} in {others}: " + ", ".join(line))
    held = [pair for name in HELD_OUT for pair in found[name]]
    facts_of = [row.fact for row, _ in held]
    return bool(roc_auc_score(facts_of, [novelty.evidence for _, novelty in held]) >= LEAST_AUC)


class Asked:
    """The base, the documents of xquad, and a store that keeps what was asked."""

    def __init__(self, store: Store) -> None:
        self.store, self.model = store, load_model(BASE)

    def judge(self, some: Sequence[Example], rows: Sequence[Row], passages: Index | None = None) -> list[JudgedRow]:
        """Labels of the rows that are not demonstrations."""
        judge = Judge(task(), some, self.model, passages, self.store, _quiet)  # type: ignore[arg-type]  # a local model
        return judge.judge([row.example for row in rows if row.example.id not in judge.shown])

    def passages(self) -> Index:
        """The documents that answer the questions of xquad."""
        chunks = chunk_documents(read_documents(SHARED / "xquad" / "documents"), max_chars=1000)
        return build_index(chunks, self.store.artefact_path("indexes", "xquad"), embedder=load_embedder("minilm"))


def _quiet(stage: str, done: int, total: int, remark: str) -> None:
    print(f"\r{stage} {done}/{total}", end="", file=sys.stderr)


def report_base(sets: dict[str, LabelledSet], asked: Asked, seed: int) -> None:
    """What the base adds: known and unknown, where the documents hold the facts, unknown facts in mixtures."""
    print(f"\nlabels with {BASE}, no documents")
    for name, some in sets.items():
        found = Counter(
            row.label for row in asked.judge(some.others or [r.example for r in some.rows], some.rows[:ASKED])
        )
        print(f"  {name:24}" + ", ".join(f"{label} {count}" for label, count in found.most_common()), flush=True)
    print("\nwith the documents of xquad: its facts stand in them, those of mmlu do not")
    passages = asked.passages()
    for name in ("xquad closed", "mmlu open"):
        some = sets[name]
        judged = asked.judge(some.others, some.rows[:ASKED], passages)
        found = Counter(row.label for row in judged)
        line = ", ".join(f"{label} {count}" for label, count in found.most_common())
        print(f"  {name:20}{line}; the base then says {sum(row.read for row in judged)}", flush=True)
    print("\nshare of unknown facts in mixtures; facts that the base knows are none")
    facts, others = MIXED[0]
    for share in SHARES:
        size = min(2 * ASKED, len(sets[facts].rows), len(sets[others].rows))
        mixed = mixture(sets, facts, others, share, size, seed)
        pool = [*(sets[others].others[: round((1 - share) * 100)]), *(sets[facts].others[: round(share * 100)])]
        judged = asked.judge(pool, mixed)
        unknown = sum(row.label == "unknown" for row in judged)
        print(f"  {facts} in {others}, {share:.1f}: {unknown / len(judged):.2f} of {len(judged)}", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60, help="labelled rows of each set, 100 at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deep", action="store_true", help="ask the base too")
    parser.add_argument("--cache", type=Path, help="folder that keeps what the base was asked")
    options: Any = parser.parse_args(arguments)
    sets = {name: labelled(name, options.rows, options.seed) for name in (*TUNED, *HELD_OUT, *APART)}
    kept = report_words(sets, options.seed)
    if options.deep:
        with tempfile.TemporaryDirectory() as folder, Store.open(options.cache or Path(folder)) as store:
            report_base(sets, Asked(store), options.seed)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
