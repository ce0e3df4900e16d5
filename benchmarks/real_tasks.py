"""Real tasks: written as folders for `luthier run`, or decided with several seeds and compared.

    python benchmarks/real_tasks.py write snips OUT [--bar 0.65]     # then: luthier run -C OUT
    python benchmarks/real_tasks.py decide OUT [--tasks snips xquad] [--seeds 0 1 2]

A seed decides which cases are held out (where the data name no test set, which of its rows are taken), which
demonstrations are drawn and in what order is trained. `decide` keeps what it has: called again it goes on. The data are
read from the folder of shared data and copied into OUT, never into the project.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

BASE = "smollm2-135m"


def read(path: Path) -> list[dict]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def write(path: Path, rows: list[dict]) -> None:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def snips(out: Path, data: Path, bar: float) -> dict:
    """Utterance to JSON with intent and slots: all training rows, 160 of the test rows."""
    train = read(data / "snips" / "train.jsonl")
    write(out / "train.jsonl", train)
    write(out / "test.jsonl", read(data / "snips" / "test.jsonl"))
    records = [json.loads(row["completion"]) for row in train]
    intents = sorted({record["intent"] for record in records})
    slots = sorted({slot for record in records for slot in record["slots"]})
    text = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}  # a few rows name two
    schema = {
        "type": "object",
        "properties": {
            "intent": {"enum": intents},
            "slots": {
                "type": "object",
                "properties": {slot: text for slot in slots},
                "additionalProperties": False,
            },
        },
        "required": ["intent", "slots"],
        "additionalProperties": False,
    }
    (out / "snips.schema.json").write_text(json.dumps(schema, indent=1), "utf-8")
    (out / "prompt.md").write_text(
        "Turn what the user says into JSON with two keys: intent and slots.\n"
        f"intent is one of: {', '.join(intents)}.\n"
        "slots holds the parts of the sentence that matter, copied word for word, under these names: "
        f"{', '.join(slots)}. Leave out slots that are not mentioned.\n",
        "utf-8",
    )
    return {
        "task": "snips",
        "goal": "Turn an utterance into JSON with its intent and slots.",
        "examples": "train.jsonl",
        "test_examples": "test.jsonl",
        "instructions": "prompt.md",
        "score": {"kind": "json", "schema": "snips.schema.json"},
        "bar": bar,
        "split": {"train": 0.92, "development": 0.06, "test": 0.02, "test_cases": 160},
    }


def xquad(out: Path, data: Path, bar: float) -> dict:
    """Questions over 240 documents; test questions are about documents that no training question is about.

    Scored by whether the answer holds the wanted phrase: the small base answers in sentences, and what is asked here is
    who has the fact, not how briefly it is said.
    """
    write(out / "questions.jsonl", read(data / "xquad" / "questions.jsonl"))
    shutil.copytree(data / "xquad" / "documents", out / "documents")
    return {
        "task": "xquad",
        "goal": "Answer the question with the shortest possible phrase.",
        "examples": "questions.jsonl",
        "documents": "documents/",
        "score": {"kind": "contains"},
        "bar": bar,
        "split": {"group": "document", "train": 0.72, "development": 0.08, "test": 0.20},
        "decide": {"methods": ["prompt", "few-shot", "few-shot nearest", "retrieval", "fine-tune"]},
    }


def banking(out: Path, data: Path, bar: float, *, labels: int) -> dict:
    """Customer questions with one of the first labels of banking77."""
    train, test = (read(data / "banking77" / f"{side}.jsonl") for side in ("train", "test"))
    kept = sorted({row["completion"] for row in train})[:labels]
    write(out / "train.jsonl", [row for row in train if row["completion"] in kept])
    write(out / "test.jsonl", [row for row in test if row["completion"] in kept])
    return {
        "task": f"banking{labels}",
        "goal": "Name the intent of a bank customer's question.",
        "examples": "train.jsonl",
        "test_examples": "test.jsonl",
        "score": {"kind": "label"},
        "bar": bar,
        "split": {"train": 0.88, "development": 0.10, "test": 0.02, "test_cases": 200},
    }


def tldr(out: Path, data: Path, bar: float) -> dict:
    """A tool and a wish to a shell command, 1,200 rows, the pages of a tool on one side; the command has to match."""
    write(out / "examples.jsonl", read(data / "tldr" / "examples.jsonl")[:1200])
    return {
        "task": "tldr",
        "goal": "Write the shell command that does what is wished. Answer with the command only.",
        "examples": "examples.jsonl",
        "score": {"kind": "exact"},
        "bar": bar,
        "split": {"group": "page", "train": 0.70, "development": 0.10, "test": 0.20},
    }


def manners(out: Path, data: Path, bar: float) -> dict:
    """Is an answer polite? The two answers of each preference pair, a pair on one side."""
    pairs = read(data / "polite_pairs" / "pairs.jsonl")[:600]
    rows = [
        {"prompt": pair[key], "completion": label, "pair": str(number)}
        for number, pair in enumerate(pairs)
        for key, label in (("chosen", "polite"), ("rejected", "impolite"))
    ]
    write(out / "answers.jsonl", rows)
    return {
        "task": "manners",
        "goal": "Say whether the answer is polite or impolite.",
        "examples": "answers.jsonl",
        "score": {"kind": "label"},
        "bar": bar,
        "split": {"group": "pair", "train": 0.70, "development": 0.10, "test": 0.20},
    }


def triage(out: Path, data: Path, bar: float) -> dict:
    """The task that the package ships, as it is shipped."""
    from luthier.api import init_example

    init_example(out)
    return yaml.safe_load((out / "luthier.yaml").read_text("utf-8")) | {"bar": bar}


Build = Callable[[Path, Path, float], dict]
TASKS: dict[str, tuple[Build, float]] = {
    "snips": (snips, 0.50),
    "banking10": (lambda out, data, bar: banking(out, data, bar, labels=10), 0.80),
    "banking77": (lambda out, data, bar: banking(out, data, bar, labels=77), 0.60),
    "xquad": (xquad, 0.15),
    "tldr": (tldr, 0.50),
    "manners": (manners, 0.85),
    "triage": (triage, 0.60),
}


def make(name: str, out: Path, shared: Path, bar: float | None, seed: int = 0) -> None:
    """Write one task folder."""
    build, usual = TASKS[name]
    out.mkdir(parents=True)
    task = {"base": BASE, "volume": 100_000} | build(out, shared / "data", bar or usual)
    task["decide"] = {"development_cases": 24} | task.get("decide", {})  # half of the default, for a small machine
    task["split"] = task.get("split", {}) | {"seed": seed}
    task["train"] = task.get("train", {}) | {"seed": seed}
    (out / "luthier.yaml").write_text(yaml.safe_dump(task, sort_keys=False, allow_unicode=True), "utf-8")


def decided(folder: Path) -> dict:
    """What `luthier decide` says in a folder, asked once; with the processor seconds that it took."""
    kept = folder / "decided.json"
    if not kept.is_file():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call = [sys.executable, "-m", "luthier", "decide", "-C", str(folder), "--json"]
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode not in (0, 1, 3) or not done.stdout.startswith("{"):
            raise SystemExit(f"luthier decide -C {folder} ended with {done.returncode}: {done.stdout[:2000]}")
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found = json.loads(done.stdout)
        if "verdict" not in found:
            raise SystemExit(f"luthier decide -C {folder}: {done.stdout[:2000]}")
        kept.write_text(json.dumps(found | {"processor_seconds": spent}), "utf-8")
    return json.loads(kept.read_text("utf-8"))


def shown(rung: dict) -> str:
    """A rung in the table: mean, interval, cases and state."""
    if rung["mean"] is None:
        return "not run"
    interval = f"[{rung['display_low']:.3f}, {rung['display_high']:.3f}]"
    return f"{rung['mean']:.3f} {interval} on {rung['answered']}: {rung['state']}"


def compare(out: Path, names: list[str], seeds: list[int], shared: Path) -> bool:
    """Decide every task with every seed, print the tables; whether each task had the same verdict with all seeds."""
    same = True
    for name in names:
        found = []
        for seed in seeds:
            folder = out / f"{name}-{seed}"
            if not folder.is_dir():
                make(name, folder, shared, None, seed)
            found.append(decided(folder))
        verdicts = [one["verdict"] for one in found]
        print(f"\n### {name}, bar {verdicts[0]['bar']:.2f}\n")
        print("| rung | " + " | ".join(f"seed {seed}" for seed in seeds) + " |")
        print("|---|" + "---|" * len(seeds))
        for rungs in zip(*(v["rungs"] for v in verdicts), strict=True):
            print(f"| {rungs[0]['rung']} | " + " | ".join(map(shown, rungs)) + " |")
        print("| **verdict** | " + " | ".join(f"**{v['kind']}** ({v['rung'] or 'none'})" for v in verdicts) + " |")
        print("| answers saved | " + " | ".join(str(v["answers_saved"]) for v in verdicts) + " |")
        print("| processor seconds | " + " | ".join(f"{one['processor_seconds']:.0f}" for one in found) + " |")
        for seed, verdict in zip(seeds, verdicts, strict=True):
            print(f"\nseed {seed}: {verdict['sentence']} {' '.join(verdict['reasons'])}")
        same = same and len({v["kind"] for v in verdicts}) == 1
        print(
            f"\nthe same verdict with all seeds: {'yes' if len({v['kind'] for v in verdicts}) == 1 else 'NO'}",
            flush=True,
        )
    return same


def main() -> None:
    """Write one task folder, or decide several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("write", help="write the folder of one task")
    one.add_argument("task", choices=TASKS)
    one.add_argument("out", type=Path)
    one.add_argument("--bar", type=float)
    one.add_argument("--seed", type=int, default=0)
    several = verbs.add_parser("decide", help="decide tasks with several seeds")
    several.add_argument("out", type=Path)
    several.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    several.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    if given.verb == "decide":
        sys.exit(0 if compare(given.out, given.tasks, given.seeds, given.shared) else 1)
    make(given.task, given.out, given.shared, given.bar, given.seed)
    print(f"wrote {given.out}; next: luthier run -C {given.out}")


if __name__ == "__main__":
    main()
