"""A split that was frozen keeps its test cases, whatever was learned about dividing since."""

from __future__ import annotations

import json
import random
from pathlib import Path

from luthier.api._data import read_data
from luthier.data import content_hash, read_examples, split_examples
from luthier.spec import load_task
from luthier.store import Store


def test_a_split_frozen_before_labels_were_divided_in_proportion_keeps_its_cases(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("bran", "dunx", "felly", "gost", "pim")]
    rows = [{"prompt": " ".join(rng.choices(words, k=8)), "completion": rng.choice("aaab")} for _ in range(120)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "luthier.yaml").write_text(
        "task: t\ngoal: g\nexamples: rows.jsonl\nscore: {kind: label}\nbase: smollm2-135m\n"
    )
    task = load_task(tmp_path)
    old = split_examples(read_examples(task.examples), task.split)
    new = split_examples(read_examples(task.examples), task.split, stratify=True)
    assert {e.id for e in old.test} != {e.id for e in new.test}
    settings = {"train": 0.7, "development": 0.15, "test": 0.15, "test_cases": None, "group": None, "seed": 0}
    sides = {side: sorted(e.id for e in getattr(old, side)) for side in ("train", "development", "test")}
    with Store.open(tmp_path) as store:
        store.put_document("split", content_hash(settings | {"separate": False}), sides)
        assert {e.id for e in read_data(task, store).split.test} == {e.id for e in old.test}
    with Store.open(tmp_path / "fresh") as store:
        assert {e.id for e in read_data(task, store).split.test} == {e.id for e in new.test}
