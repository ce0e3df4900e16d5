"""Whether knowledge is missing, judged by the words of the wanted answers: labels and calculations are none."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from luthier.api import Project
from luthier.decide._diagnose import diagnose

FIRST = "late early lost broken wrong double torn wet".split()
LABELS = [a + b for a in FIRST for b in "parcel invoice refund card label crate seal stamp".split()]


def answers(kind: str) -> list[tuple[str, str]]:
    """Prompts with answers: one of 64 labels, a sum, or a number that no prompt gives."""
    rng = random.Random(kind)
    if kind == "labels":
        return [(f"message {i} from {rng.random()}", LABELS[i % len(LABELS)]) for i in range(640)]
    if kind == "sums":
        pairs = [(rng.randrange(10, 900), rng.randrange(10, 900)) for _ in range(240)]
        return [(f"What is {a} plus {b}?", f"{a} + {b} = {a + b}") for a, b in pairs]
    return [(f"Which bin holds part number {i}?", f"bin Q-{rng.randrange(1000, 9999)}") for i in range(240)]


@pytest.mark.parametrize(("kind", "wanted"), [("labels", "behaviour"), ("sums", "behaviour"), ("bins", "knowledge")])
def test_what_is_asked_for(tmp_path: Path, kind: str, wanted: str) -> None:
    rows = [{"prompt": prompt, "completion": answer} for prompt, answer in answers(kind)]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "answers.json").write_text('{"*": "x"}', "utf-8")
    task = {"task": "t", "goal": "Answer.", "examples": "examples.jsonl", "score": {"kind": "exact"}}
    (tmp_path / "luthier.yaml").write_text(json.dumps(task | {"base": f"scripted:{tmp_path}/answers.json"}), "utf-8")
    found = diagnose(Project(tmp_path)._bench(), {}, {})
    assert found["kind"] == wanted and (found["novel_rows"] > 0.9) == bool(found["samples"]) == (wanted == "knowledge")
    assert all(word.startswith("Q-") for word in found["samples"])
