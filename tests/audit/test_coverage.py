"""Traffic against examples: what has no example near it is found and named, what is alike raises no alarm."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from luthier.api import Project
from luthier.api._data import scan_data
from luthier.audit import Dataset, audit
from luthier.audit._coverage import check_coverage
from luthier.audit._neighbours import auc_of
from luthier.data import Example, Message, Source, Split
from luthier.spec import Task

KINDS = ("refund", "parcel", "invoice", "password", "opening", "warranty")


class Blobs:
    """Texts of one kind (their first word) lie around one point."""

    def embed(self, texts):
        centres = {kind: np.random.default_rng(place).normal(size=24) for place, kind in enumerate(KINDS)}
        drawn = [centres[t.split()[0]] + 0.8 * np.random.default_rng(int(t.split()[-1])).normal(size=24) for t in texts]
        return np.array([vector / np.linalg.norm(vector) for vector in drawn], np.float32)


def texts(n, kinds, start):
    rng = np.random.default_rng(start)
    return [f"{rng.choice(kinds)} question number {start + place}" for place in range(n)]


def found(train, traffic, tests=(), traffic_file=Path("traffic.jsonl")):
    task = Task(task="t", goal="g", examples=Path("e"), traffic=traffic_file, score={"kind": "exact"}, base="b")

    def rows(some, name):
        return tuple(Example((Message("user", t),), "o", source=Source(name, i)) for i, t in enumerate(some, start=1))

    examples = rows(train, "train.jsonl")
    data = Dataset(
        task,
        examples,
        Split(examples, (), rows(tests, "test.jsonl"), 0),
        traffic=[(Message("system", "s"), Message("user", t)) for t in traffic],
        traffic_sources=[Source("traffic.jsonl", i) for i in range(1, len(traffic) + 1)],
    )
    return {f.code: f for f in check_coverage(data, SimpleNamespace(embedder=Blobs(), progress=lambda *_: None))}


def test_a_kind_of_traffic_without_examples_is_found_and_named():
    traffic = texts(300, KINDS, 10_000)
    findings = found(texts(500, KINDS[:5], 0), traffic)
    uncovered = findings["uncovered-traffic"]
    wanted = {place for place, text in enumerate(traffic, start=1) if text.startswith("warranty")}
    named = {row.line for row in uncovered.rows}
    assert len(named & wanted) >= 0.8 * len(wanted) and len(named - wanted) <= 2
    assert "warranty" in uncovered.reason and uncovered.severity == "harms"
    assert all(sample.text.startswith("warranty") for sample in uncovered.samples)
    assert {row.file for row in uncovered.rows} == {"traffic.jsonl"}


def test_a_kind_of_examples_that_nobody_asks_for_is_found():
    train = texts(500, KINDS, 0)
    over = found(train, texts(300, KINDS[1:], 10_000))["over-represented"]
    wanted = {place for place, text in enumerate(train, start=1) if text.startswith("refund")}
    assert len({row.line for row in over.rows} & wanted) >= 0.7 * len(wanted)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_alike_raises_no_alarm(seed):
    start = 100_000 * (seed + 1)
    drawn = found(texts(600, KINDS, start), texts(300, KINDS, start + 10_000), texts(250, KINDS, start + 20_000))
    assert drawn == {}


def test_a_test_set_of_another_kind_is_found_without_traffic():
    findings = found(texts(300, KINDS, 0), (), texts(250, KINDS[:2], 10_000), traffic_file=None)
    assert list(findings) == ["test-differs"] and findings["test-differs"].severity == "harms"
    assert found(texts(300, KINDS, 0), (), texts(50, KINDS[:2], 10_000), traffic_file=None) == {}  # too few to tell


def test_traffic_of_other_kinds_is_told_apart_by_its_words():
    differs = found(texts(300, KINDS[:3], 0), texts(300, KINDS[2:], 10_000))["traffic-differs"]
    assert differs.severity == "harms" and "warranty" in differs.reason and differs.samples


def test_too_little_traffic_says_how_much_is_missing():
    few = found(texts(150, KINDS, 0), texts(120, KINDS, 10_000) * 2)["few-traffic"]
    assert "80 more different inputs of traffic and 50 more rows" in few.reason and few.severity == "note"


def test_the_p_value_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(0)
    values = [auc_of(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)), seed)[1] for seed in range(60)]
    assert 0.35 < np.mean(values) < 0.65 and sum(p <= 0.1 for p in values) <= 14


def task_folder(folder, traffic):
    rows = [{"prompt": f"invoice {i} of mine", "completion": "paid" if i % 2 else "due"} for i in range(40)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "traffic.jsonl").write_text(traffic, "utf-8")
    task = {"task": "t", "goal": "g", "examples": "examples.jsonl", "traffic": "traffic.jsonl", "base": "b"}
    (folder / "luthier.yaml").write_text(json.dumps(task | {"score": {"kind": "exact"}}), "utf-8")
    return Project(folder)


def test_the_traffic_of_a_task_is_read_with_its_lines(tmp_path):
    project = task_folder(tmp_path, '{"prompt": "one"}\nnot json\n{"prompt": "two"}\n')
    data = scan_data(project.task, project.store)
    assert [messages[0].content for messages in data.traffic] == ["one", "two"]
    assert [str(source) for source in data.traffic_sources] == ["traffic.jsonl:1", "traffic.jsonl:3"]
    [unusable] = [f for f in audit(data) if f.code == "unusable-traffic"]
    assert [str(row) for row in unusable.rows] == ["traffic.jsonl:2"] and unusable.severity == "harms"


def test_a_traffic_file_that_cannot_be_read_spoils_nothing_else(tmp_path):
    project = task_folder(tmp_path, "")
    data = scan_data(project.task, project.store)
    assert not data.traffic and data.split is not None
    assert "is empty" in next(f for f in audit(data) if f.code == "unusable-traffic").reason
