"""The audit finds what would ruin a run; the corrected copy is readable and the original untouched."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from luthier.audit import Dataset, Finding, audit, write_fixed
from luthier.data import Example, Message, Split, read_examples, split_examples
from luthier.errors import DataError, SpecError
from luthier.spec import Task

WORDS = [
    a + b + c for a in ("ka", "lo", "mi", "ru", "te") for b in ("bra", "dun", "fel", "gos") for c in ("n", "x", "ly")
]


def example(text: str, output: str = "o") -> Example:
    return Example((Message("user", text),), output)


def different(n: int, seed: int = 0) -> list[Example]:
    """Rows that have nothing to do with each other."""
    rng = random.Random(seed)
    return [example(" ".join(rng.choices(WORDS, k=8)) + f" o{i}", f"o{i}") for i in range(n)]


def task(tmp_path: Path, score: dict[str, Any] | None = None, **more: Any) -> Task:
    values = {
        "task": "t",
        "goal": "g",
        "examples": tmp_path / "d.jsonl",
        "score": score or {"kind": "exact"},
        "base": "b",
    }
    return Task.model_validate(values | more)


def found(
    task: Task, rows: list[Example], split: Split | None = None, tests: list[Example] | None = None
) -> dict[str, Finding]:
    findings = audit(Dataset(task, rows, split, tests or []))
    severities = [f.severity for f in findings]
    assert severities == sorted(severities, key=["blocks", "harms", "note"].index)
    assert all(f.fix and f.reason and f.effect for f in findings)
    json.dumps([f.as_dict() for f in findings])
    return {f.code: f for f in findings}


def test_clean_rows_are_only_few(tmp_path: Path) -> None:
    rows = different(60)
    assert list(found(task(tmp_path), rows, split_examples(rows, task(tmp_path).split))) == ["small-test"]


def test_few_rows_block(tmp_path: Path) -> None:
    assert found(task(tmp_path), different(19))["few-rows"].severity == "blocks"
    assert "few-rows" not in found(task(tmp_path), different(20))
    assert found(task(tmp_path), different(5) * 10)["few-rows"].count == 5


def test_conflicts_bound_what_can_be_scored(tmp_path: Path) -> None:
    rows = different(96)
    rows += [example("Which one is it?", "a"), example("which one  is it?", "a"), example("Which one is it?", "b")]
    rows += [example("Which one is it?", "c")]
    conflict = found(task(tmp_path), rows)["conflict"]
    assert (conflict.severity, conflict.count) == ("harms", 4)
    assert "more than 98.00%" in conflict.reason
    assert found(task(tmp_path, {"kind": "rouge"}), rows)["conflict"].severity == "note"


def test_json_outputs_conflict_by_value_and_system_prompts_tell_inputs_apart(tmp_path: Path) -> None:
    rows = [*different(30), example("q q q", '{"a": 1, "b": 2}'), example("q q q", '{"b":2,"a":1}')]
    assert "conflict" not in found(task(tmp_path, {"kind": "json"}), rows)
    assert "conflict" in found(task(tmp_path), rows)
    personas = [Example((Message("system", s), Message("user", "hello you")), s) for s in ("polite", "rude")]
    assert "conflict" not in found(task(tmp_path), [*different(30), *personas])


def test_json_that_breaks_the_schema_blocks(tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_text(json.dumps({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}))
    good = [Example(e.messages, '{"a": 1}') for e in different(30)]
    checked = task(tmp_path, {"kind": "json", "schema": schema})
    assert "schema" not in found(checked, good)
    for bad in ('{"a": "x"}', "{}", '{"a": 1', '{"a": 1, "a": 2}', "[]", '```json\n{"a": 1}\n```'):
        finding = found(checked, [*good, example("one more", bad)])["schema"]
        assert (finding.severity, finding.count) == ("blocks", 1)
    plain = task(tmp_path, {"kind": "json"})
    assert found(plain, [*good, example("one more", "[1]")])["schema"].count == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"type": "objct"}', '{"$ref": "http://127.0.0.1:9/s.json"}', '{"$ref": "#/$defs/x"}']
)
def test_a_schema_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(SpecError) as caught:
        audit(Dataset(task(tmp_path, {"kind": "json", "schema": tmp_path / "s.json"}), [example("a", "{}")]))
    assert caught.value.problems[0].file == tmp_path / "s.json"


def test_labels(tmp_path: Path) -> None:
    rows = [Example(e.messages, "yes" if i < 30 else "no") for i, e in enumerate(different(35))]
    closed = found(task(tmp_path, {"kind": "label", "labels": ["yes", "never"]}), rows)
    assert (closed["unknown-label"].severity, closed["unknown-label"].count) == ("blocks", 5)
    rare = found(task(tmp_path, {"kind": "label"}), rows)["rare-label"]
    assert (rare.severity, rare.count) == ("note", 5) and "no (5)" in rare.reason
    assert "never (0)" in closed["rare-label"].reason


def test_leakage_blocks_when_a_split_has_it(tmp_path: Path) -> None:
    rows = different(40)
    twin = example(rows[0].input_text.upper() + "!", "other")
    broken = Split((twin, *rows[8:]), tuple(rows[4:8]), tuple(rows[:4]), 0)
    finding = found(task(tmp_path), [*rows, twin], broken)["leakage"]
    assert (finding.severity, finding.count) == ("blocks", 1)


def test_rows_left_out_for_a_separate_test_file_are_reported(tmp_path: Path) -> None:
    rows, test = different(60), different(20, seed=8)
    split = split_examples([*rows, test[0]], task(tmp_path).split, test=test)
    findings = found(task(tmp_path, test_examples="test.jsonl"), [*rows, test[0]], split, test)
    assert "leakage" not in findings
    assert (findings["leakage-removed"].severity, findings["leakage-removed"].count) == ("note", 1)


def test_copies_and_families(tmp_path: Path) -> None:
    rows = different(100)
    assert found(task(tmp_path), [*rows, *rows[:2]])["duplicate"].severity == "note"
    many = found(task(tmp_path), [*rows, *rows[:20]])["duplicate"]
    assert (many.severity, many.count) == ("harms", 20)
    family = found(task(tmp_path), [*rows, example(rows[0].input_text + "?", "x")])["near-duplicate"]
    assert (family.severity, family.count) == ("note", 2)
    assert "101 distinct rows ask 100 things" in family.reason


def test_lengths_preferences_and_empty(tmp_path: Path) -> None:
    rows = [*different(50), example(" ".join(e.input_text for e in different(60, seed=2)), "o")]
    assert found(task(tmp_path), rows)["input-length"].count == 1
    same = Example((Message("user", "same?"),), "yes", rejected=" yes")
    assert found(task(tmp_path), [*different(30), same])["same-preference"].severity == "harms"
    assert found(task(tmp_path), [*different(30), example("x", " ")])["empty"].severity == "blocks"
    assert found(task(tmp_path), [])["few-rows"].count == 0


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def test_the_corrected_copy(tmp_path: Path) -> None:
    lines = [
        '{"prompt": "q1", "completion": "{\\"a\\": 1}", "who": "x"}',
        '{"prompt": "q1", "completion": "{\\"a\\": 1}", "who": "x"}',
        '{"prompt": "q2", "completion": "```json\\n{\\"a\\": 2}\\n```", "who": "y"}',
        '{"prompt": "q3", "completion": "no json", "who": "y"}',
        '{"prompt": "q4", "completion": "", "who": "z"}',
        '{"prompt": "q5", "completion"',
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    before = digest(tmp_path)
    fixed = write_fixed(task(tmp_path, {"kind": "json"}, split={"group": "who"}))
    assert (fixed.kept, fixed.changed, fixed.dropped, fixed.group) == (2, 1, 4, "who")
    assert fixed.file == tmp_path / "d.fixed.jsonl"
    assert digest(tmp_path)["d.jsonl"] == before["d.jsonl"]
    again = read_examples(fixed.file, group="who")
    assert [(e.input_text, e.output, e.group) for e in again] == [("q1", '{"a": 1}', "x"), ("q2", '{"a": 2}', "y")]
    log = [json.loads(line) for line in fixed.log.read_text().splitlines()]
    assert [(entry["line"], entry["action"]) for entry in log] == [
        (2, "dropped"), (3, "changed"), (4, "dropped"), (5, "dropped"), (6, "dropped"),
    ]  # fmt: skip
    assert log[0]["reason"].startswith("a copy of") and log[1]["after"] == '{"a": 2}'
    assert sorted(digest(tmp_path)) == ["d.fixed.jsonl", "d.fixed.log.jsonl", "d.jsonl"]


def test_labels_are_repaired_and_pairs_keep_their_form(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        '{"prompt": "a", "chosen": "Card-Lost.", "rejected": "no"}\n{"prompt": "b", "chosen": "x", "rejected": "x"}\n'
    )
    fixed = write_fixed(task(tmp_path, {"kind": "label", "labels": ["card_lost", "x"]}))
    (row,) = read_examples(fixed.file)
    assert (row.output, row.rejected, fixed.group) == ("card_lost", "no", None)


def test_context_groups_survive_in_the_copy(tmp_path: Path) -> None:
    rows = [{"context": f"c{i % 2}", "question": f"q{i}", "answer": "a"} for i in range(4)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fixed = write_fixed(task(tmp_path))
    assert fixed.group == "group"
    assert len({e.group for e in read_examples(fixed.file, group="group")}) == 2


def test_nothing_is_written_when_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(DataError, match="no row"):
        write_fixed(task(tmp_path, {"kind": "json"}))
    assert sorted(digest(tmp_path)) == ["d.jsonl"]
