"""The shipped example task is what a careful person would hand over."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import as_file, files

import jsonschema
import pytest

from luthier.data import near_duplicate_groups

FOLDER = files("luthier.api") / "examples" / "triage"
FIELDS = ["bike", "part", "desk", "when"]


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, dict[str, object], str]]:
    return [(row["prompt"], json.loads(row["completion"]), row["completion"]) for row in _rows("examples.jsonl")]


Rows = list[tuple[str, dict[str, object], str]]


def test_there_are_enough_examples_and_unlabelled_messages(rows: Rows) -> None:
    assert len(rows) >= 300
    assert len(_rows("traffic.jsonl")) >= 50


def test_records_fit_the_schema_and_are_written_one_way(rows: Rows) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((FOLDER / "triage.schema.json").read_text()))
    for message, record, text in rows:
        assert validator.is_valid(record), message
        assert list(record) == [name for name in FIELDS if name in record], message
        assert text == json.dumps(record, separators=(",", ":")), message


def test_a_tag_is_copied_from_the_message_and_never_overlooked(rows: Rows) -> None:
    for message, record, _ in rows:
        tags = [
            kind.upper() + digits for kind, digits in re.findall(r"\b([cegkt])[- ]?(\d\d)\b", message, re.IGNORECASE)
        ]
        assert ("bike" in record) == bool(tags), message
        assert record.get("bike") in [None, *tags], message


def test_rules_of_the_handbook_hold(rows: Rows) -> None:
    """The nearest day that is named counts, unless somebody is in trouble; trouble and parts have their desks."""
    for message, record, _ in rows:
        named = message.lower()
        if record["when"] == "now":
            assert record["desk"] in ("road", "found"), message
        elif re.search(r"\b(today|tonight|this (morning|afternoon|evening)|right now)\b", named):
            assert record["when"] == "today", message
        elif "tomorrow" in named:
            assert record["when"] in ("today", "tomorrow"), message
        else:
            assert record["when"] != "tomorrow", message
        if "part" in record:
            assert record["desk"] in ("road", "till"), message


def test_labels_are_balanced_enough_to_be_learnt(rows: Rows) -> None:
    for field, least in (("desk", 0.10), ("when", 0.05), ("part", 0.03)):
        counts = Counter(record.get(field) for _, record, _ in rows)
        for value, count in counts.items():
            assert count >= least * len(rows), (field, value, count)
        assert counts.most_common(1)[0][1] <= 0.75 * len(rows)


def test_no_message_stands_twice(rows: Rows) -> None:
    texts = [message for message, _, _ in rows] + [row["prompt"] for row in _rows("traffic.jsonl")]
    assert len(set(near_duplicate_groups(texts))) == len(texts)


def test_messages_are_not_filled_in_templates(rows: Rows) -> None:
    """Few messages share their first three words, and words are many for so little text."""
    starts = Counter(" ".join(message.lower().split()[:3]) for message, _, _ in rows)
    assert starts.most_common(1)[0][1] <= 5
    words = [word for message, _, _ in rows for word in re.findall(r"[a-z]+", message.lower())]
    assert len(set(words)) / len(words) > 0.2


def test_the_task_loads_and_its_data_has_no_blocking_finding() -> None:
    from luthier.audit import Dataset, audit
    from luthier.data import read_examples, split_examples
    from luthier.spec import load_task

    with as_file(FOLDER) as folder:
        task = load_task(folder)
        examples = read_examples(task.examples)
        split = split_examples(examples, task.split)
        assert not [finding for finding in audit(Dataset(task, examples, split)) if finding.severity == "blocks"]
        assert "json" in task.instructions.lower()
