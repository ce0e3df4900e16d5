"""Real sets are read whole and divided without a leak."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from luthier.audit import Dataset, audit
from luthier.data import groups_of, read_examples, read_inputs, split_examples
from luthier.spec import SplitSettings, Task

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _shared() -> None:
    if not SHARED.is_dir():
        assert os.environ.get("CI") != "true", f"{SHARED} is missing"
        pytest.skip(f"{SHARED} is missing")


@pytest.mark.parametrize(
    ("name", "rows", "group"),
    [
        ("snips/train.jsonl", 2100, None),
        ("banking77/train.jsonl", 10003, None),
        ("xquad/questions.jsonl", 1190, "document"),
        ("tldr/examples.jsonl", 6000, "page"),
        ("polite_pairs/pairs.jsonl", 1100, None),
    ],
)
def test_divided_without_a_leak(name: str, rows: int, group: str | None) -> None:
    examples = read_examples(SHARED / name, group=group)
    assert len(examples) == rows
    start = time.process_time()
    split = split_examples(examples, SplitSettings(group=group))
    assert time.process_time() - start < 30
    of = groups_of(examples)
    sides = [{of[e.id] for e in side} for side in (split.train, split.development, split.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    distinct = len({e.id for e in examples})
    assert abs(len(split.test) - 0.15 * distinct) <= 2
    assert abs(len(split.development) - 0.15 * distinct) <= 2
    assert max(map(len, sides)) > 0.5 * len({e.group or e.id for e in examples})


def test_a_separate_test_file() -> None:
    train, test = (read_examples(SHARED / "snips" / f"{name}.jsonl") for name in ("train", "test"))
    split = split_examples(train, SplitSettings(), test=test)
    of = groups_of([*train, *test])
    tested = {of[e.id] for e in test}
    left = {e.id for e in (*split.train, *split.development)}
    assert not any(of[i] in tested for i in left)
    assert 1 <= len({e.id for e in train} - left) < 30
    task = Task.model_validate(
        {"task": "snips", "goal": "g", "examples": "x", "score": {"kind": "json"}, "base": "b", "test_examples": "y"}
    )
    findings = {f.code: f.severity for f in audit(Dataset(task, train, split, test))}
    assert findings["leakage-removed"] == "note" and "blocks" not in findings.values()


def test_traffic_and_tables() -> None:
    assert len(read_inputs(SHARED / "general" / "ifeval.jsonl")) == 541
    assert len(read_examples(SHARED / "general" / "gsm8k_test.jsonl")) == 1319
