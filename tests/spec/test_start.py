"""Starting a task from a data file: what is guessed from the outputs, and rows that cannot be used."""

import json

import pytest

from luthier.api import Project, init_task
from luthier.errors import DataError

KINDS = {
    "label": ["refund", "parcel"] * 20,
    "json": [json.dumps({"id": i}) for i in range(40)],
    "answer": [f"word {i}" for i in range(40)],
    "chrf": [f"a longer answer in a sentence of its own, number {i}" for i in range(40)],
}


def write(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_score_and_goal_follow_from_the_outputs(kind, tmp_path):
    rows = [{"prompt": f"question {i}", "completion": wanted} for i, wanted in enumerate(KINDS[kind])]
    init_task(tmp_path / "task", write(tmp_path / "rows.jsonl", rows), "scripted:x.json")
    task = Project(tmp_path / "task").task
    assert task.score.kind == kind
    assert task.goal.endswith(".") and "say it" not in task.goal


def test_rows_that_cannot_be_used_are_left_to_check(tmp_path):
    rows = [{"prompt": f"question {i}", "completion": "yes" if i % 2 else "no"} for i in range(40)]
    init_task(
        tmp_path / "task", write(tmp_path / "rows.jsonl", [*rows, {"prompt": "x"}, "not json\n"]), "scripted:x.json"
    )
    found = {finding.code: finding for finding in Project(tmp_path / "task").check().findings}
    assert found["wrong-keys"].severity == found["bad-json"].severity == "blocks"
    assert found["bad-json"].rows[0].line == 42


def test_a_file_of_which_nothing_can_be_used_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(DataError, match="no row of"):
        init_task(tmp_path / "task", write(tmp_path / "rows.jsonl", [{"prompt": "x"}]), "scripted:x.json")
    assert not (tmp_path / "task").exists()
