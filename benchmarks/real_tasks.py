"""Write task folders over real data, to be run with `luthier run -C FOLDER`.

    python benchmarks/real_tasks.py snips OUT [--bar 0.65] [--shared ../shared]
    python benchmarks/real_tasks.py xquad OUT
    python benchmarks/real_tasks.py banking10 OUT

The data are read from the folder of shared data and copied into OUT, never into the project.
"""

from __future__ import annotations

import argparse
import json
import shutil
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


def banking10(out: Path, data: Path, bar: float) -> dict:
    """Customer questions with one of the first ten labels of banking77."""
    train, test = (read(data / "banking77" / f"{side}.jsonl") for side in ("train", "test"))
    labels = sorted({row["completion"] for row in train})[:10]
    write(out / "train.jsonl", [row for row in train if row["completion"] in labels])
    write(out / "test.jsonl", [row for row in test if row["completion"] in labels])
    return {
        "task": "banking10",
        "goal": "Name the intent of a bank customer's question.",
        "examples": "train.jsonl",
        "test_examples": "test.jsonl",
        "score": {"kind": "label"},
        "bar": bar,
        "split": {"train": 0.88, "development": 0.10, "test": 0.02, "test_cases": 200},
    }


TASKS = {"snips": (snips, 0.60), "xquad": (xquad, 0.20), "banking10": (banking10, 0.80)}


def main() -> None:
    """Write one task folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bar", type=float)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    given = parser.parse_args()
    build, bar = TASKS[given.task]
    given.out.mkdir(parents=True)
    task = build(given.out, given.shared / "data", given.bar or bar) | {"base": BASE, "volume": 100_000}
    (given.out / "luthier.yaml").write_text(yaml.safe_dump(task, sort_keys=False, allow_unicode=True), "utf-8")
    print(f"wrote {given.out}; next: luthier run -C {given.out}")


if __name__ == "__main__":
    main()
