"""What the audit finds of damages planted in real data: precision and recall for each kind of damage and each set.

    python benchmarks/audit.py [--only NAME ...] [--seed 0]    # 262 measurements, about 30 minutes on one core
    python benchmarks/audit.py --only "answers shifted"        # takes the base, which is slow

A finding of one of the kind's codes on a damaged line counts as found; on another line, as a false alarm, unless the
unchanged rows of the set have it too: what is found there is no work of ours, and told apart in the column `before`.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import damages
from damages import Damage, Planted, Row
from luthier.api import Project

SHARED = Path(__file__).parents[2] / "shared" / "data"
KINDS = sorted(module.name for module in pkgutil.iter_modules(damages.__path__))
SCORES: dict[str, dict[str, Any]] = {
    "snips": {"kind": "json"},
    "banking77": {"kind": "label"},
    "xquad": {"kind": "answer"},
    "tldr": {"kind": "chrf"},
    "polite_pairs": {"kind": "chrf"},
}
ROWS = 1000
SEEN: dict[str, frozenset[tuple[str, str, int]]] = {}


def read(name: str) -> list[Row]:
    """The first 1,000 rows of a real set."""
    folder = SHARED / name
    file = next(
        f
        for f in (
            folder / "train.jsonl",
            folder / "questions.jsonl",
            folder / "examples.jsonl",
            *sorted(folder.glob("*.jsonl")),
        )
        if f.is_file()
    )
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:ROWS]]


def found(name: str, planted: Planted, deep: bool) -> set[int]:
    """Lines on which the audit has a finding of the codes."""
    rows = checked(name, planted, deep)
    return {line for code, file, line in rows if code in planted.codes and file == planted.where}


def checked(name: str, planted: Planted, deep: bool) -> frozenset[tuple[str, str, int]]:
    """Code, file and line of all that the audit finds; each set as it comes is looked at once only."""
    key = json.dumps([name, list(planted.lines), planted.files, planted.task, deep])
    if key not in SEEN:
        with tempfile.TemporaryDirectory() as folder:
            SEEN[key] = look(name, planted, Path(folder), deep)
    return SEEN[key]


def look(name: str, planted: Planted, folder: Path, deep: bool) -> frozenset[tuple[str, str, int]]:
    """Writes the task and runs `luthier check` on it."""
    examples = planted.task.get("examples", "examples.jsonl")
    (folder / examples).write_bytes(("\n".join(planted.lines) + "\n").encode("utf-8", "surrogateescape"))
    for file, text in planted.files.items():
        (folder / file).write_text(text, encoding="utf-8")
    task = {"task": name, "goal": "as in the examples", "examples": "examples.jsonl", "base": "smollm2-135m"}
    task |= {"score": SCORES[name]} | planted.task
    (folder / "luthier.yaml").write_text(json.dumps(task), encoding="utf-8")
    findings = Project(folder).check(deep=deep).findings
    return frozenset((finding.code, Path(row.file).name, row.line) for finding in findings for row in finding.rows)


def measure(damage: Damage, name: str, seed: int) -> dict[str, Any]:
    """Precision and recall of one kind of damage in one set."""
    rows = read(name)
    planted = damage.plant(rows, seed)
    plain = planted.undamaged or [json.dumps(row, ensure_ascii=False) for row in rows]
    whole = replace(planted, lines=plain, task=planted.task if planted.task_before is None else planted.task_before)
    before = found(name, whole, damage.deep)
    after = found(name, planted, damage.deep)
    right = len(after & planted.damaged)
    false = len(after - planted.damaged - before)
    return {
        "damage": damage.name,
        "set": name,
        "planted": len(planted.damaged),
        "found": right,
        "precision": right / (right + false) if right + false else float("nan"),
        "recall": right / len(planted.damaged),
        "before": len(before),
        "promised": damage.least,
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of damages; by default all that do not take the base")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    planned = [damage for kind in KINDS for damage in getattr(import_module(f"damages.{kind}"), "DAMAGES", ())]
    kept = True
    print(f"{'damage':32}{'set':12}{'planted':>8}{'found':>7}{'precision':>11}{'recall':>8}{'before':>8}  promised")
    for damage in planned:
        if damage.name not in options.only if options.only else damage.asks_base:
            continue
        for name in damage.sets:
            row = measure(damage, name, options.seed)
            least = damage.least
            kept &= least is None or (row["precision"] >= least and row["recall"] >= least)
            print(
                f"{damage.name:32}{name:12}{row['planted']:8}{row['found']:7}{row['precision']:11.3f}"
                f"{row['recall']:8.3f}{row['before']:8}  {'' if least is None else least}",
                flush=True,
            )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
