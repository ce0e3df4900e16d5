"""Points of a learning curve that are trained."""

from __future__ import annotations

import json

from luthier.api import Project
from luthier.audit import Subset
from luthier.decide._curve import _trained


def test_only_the_adapter_of_all_rows_stays(tmp_path, tiny_model_folder):
    rows = [{"prompt": f"word{i % 3} no {i}", "completion": f"l{i % 3}"} for i in range(30)]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = {
        "task": "t",
        "goal": "Say it.",
        "examples": "e.jsonl",
        "score": {"kind": "label"},
        "base": str(tiny_model_folder),
    }
    task |= {"decide": {"development_cases": 4}, "train": {"epochs": 1, "batch_size": 16}}
    (tmp_path / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    bench = Project(tmp_path, allow_outside=True)._bench()
    adapters, every = tmp_path / ".luthier" / "adapters", len(bench.split.train)
    for subset, left in ((Subset(4, 0, (0, 1, 2, 3)), 0), (Subset(every, 0, tuple(range(every))), 1)):
        [(measured, scores)] = _trained(bench, [subset])
        assert measured == subset and len(scores) == len(bench.development)
        assert len(list(adapters.iterdir())) == left
