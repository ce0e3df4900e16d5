"""What `check --deep` finds of kinds of traffic that no training row covers, and how often it is alarmed for nothing.

    python benchmarks/coverage.py [--vectors FOLDER]

`snips`: one of 7 intents is taken out of the training rows and stays in the traffic, each in turn. `banking77`: 5 of 77
labels, ten draws. A row of traffic counts as found where the finding names it; a kind where more than half of its rows
are found. False alarms: training rows and traffic are drawn from the same rows, 20 times. `--vectors` keeps embeddings.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from luthier.audit import Dataset
from luthier.audit._coverage import check_coverage
from luthier.data import Example, Message, Source
from luthier.retrieve import load_embedder
from luthier.spec import Task

SHARED = Path(__file__).parents[2] / "shared" / "data"
CODES = ("uncovered-traffic", "over-represented", "traffic-differs")
ROWS = {"snips": (2100, 700), "banking77": (4000, 2000)}  # training rows and traffic


@dataclass(frozen=True)
class Row:
    """An input and what kind it is of."""

    text: str
    kind: str


class Known:
    """Embeddings of all texts of a set, made once."""

    def __init__(self, texts: list[str], file: Path | None) -> None:
        if file is not None and file.is_file():
            kept = np.load(file)
            self._vectors = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))
            return
        vectors = load_embedder("minilm").embed(texts)
        self._vectors = dict(zip(texts, vectors, strict=True))
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, texts=np.array(texts), vectors=vectors)

    def embed(self, texts: list[str]) -> np.ndarray:
        """As an embedder does."""
        return np.stack([self._vectors[text] for text in texts])


def read(name: str) -> tuple[list[Row], list[Row]]:
    """Training rows and traffic: the rows of the two files, some of them at random."""
    sides = []
    for side, count in zip(("train", "test"), ROWS[name], strict=True):
        rows = [json.loads(line) for line in (SHARED / name / f"{side}.jsonl").read_text("utf-8").splitlines()]
        kind = (lambda row: json.loads(row["completion"])["intent"]) if name == "snips" else lambda r: r["completion"]
        distinct = list({row["prompt"]: Row(row["prompt"], kind(row)) for row in rows}.values())
        sides.append(random.Random(0).sample(distinct, min(count, len(distinct))))
    return sides[0], sides[1]


def found(train: list[Row], traffic: list[Row], known: Known) -> dict[str, set[int]]:
    """Places of the traffic (or of the training rows) that each finding names."""
    task = Task(task="t", goal="g", examples=Path("e"), traffic=Path("t"), score={"kind": "exact"}, base="b")
    data = Dataset(
        task,
        [Example((Message("user", row.text),), row.kind, source=Source("train", i)) for i, row in enumerate(train)],
        traffic=[(Message("user", row.text),) for row in traffic],
        traffic_sources=[Source("traffic", i) for i in range(len(traffic))],
    )
    instruments = SimpleNamespace(embedder=known, progress=lambda *_: None)
    return {f.code: {row.line for row in f.rows} for f in check_coverage(data, instruments)}


def missing_kinds(name: str, known: Known, train: list[Row], traffic: list[Row]) -> None:
    kinds = sorted({row.kind for row in train})
    left_out = (
        [{kind} for kind in kinds] if name == "snips" else [set(random.Random(s).sample(kinds, 5)) for s in range(10)]
    )
    right = named = planted = 0
    kinds_found: list[bool] = []
    for gone in left_out:
        rows = found([row for row in train if row.kind not in gone], traffic, known).get("uncovered-traffic", set())
        of_kind = {kind: {i for i, row in enumerate(traffic) if row.kind == kind} for kind in gone}
        wanted = set().union(*of_kind.values())
        right, named, planted = right + len(rows & wanted), named + len(rows), planted + len(wanted)
        kinds_found += [len(rows & places) > len(places) / 2 for places in of_kind.values()]
    print(
        f"{name}: uncovered traffic, precision {right / max(1, named):.3f}, recall {right / planted:.3f}; "
        f"kinds found {sum(kinds_found)} of {len(kinds_found)}",
        flush=True,
    )


def false_alarms(name: str, known: Known, rows: list[Row]) -> None:
    alarms = dict.fromkeys(CODES, 0)
    for seed in range(20):
        drawn = random.Random(seed).sample(rows, len(rows))
        half = ROWS[name][1]
        for code in found(drawn[half:], drawn[:half], known):
            alarms[code] += 1
    print(f"{name}: false alarms in 20 draws: " + ", ".join(f"{code} {n}" for code, n in alarms.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path)
    given = parser.parse_args()
    for name in ROWS:
        train, traffic = read(name)
        rows = list({row.text: row for row in [*train, *traffic]}.values())
        known = Known([row.text for row in rows], given.vectors and given.vectors / f"{name}.npz")
        missing_kinds(name, known, train, traffic)
        false_alarms(name, known, rows)


if __name__ == "__main__":
    main()
