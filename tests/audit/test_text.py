"""Damage in texts is found, what looks like it is left alone, and repairs change nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from luthier import data
from luthier.audit import Dataset, Finding, write_fixed
from luthier.audit._preference import check_preference
from luthier.audit._provenance import check_provenance
from luthier.audit.text._damage import check_text
from luthier.audit.text._form import UNUSABLE_FIXES, check_form
from luthier.audit.text._traces import without_hidden
from luthier.data import Example, Message, scan_examples
from luthier.spec import Task

WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch orbit plume".split()


def clean(n: int) -> list[Example]:
    rows = []
    for i in range(n):
        words = [WORDS[(i * k + k) % len(WORDS)] for k in (1, 3, 5, 7, 11)]
        rows.append(Example((Message("user", f"{' '.join(words)} {i * 37}?"),), f"{words[0]} answer {i * 91}."))
    return rows


def task(folder: Path) -> Task:
    return Task.model_validate(
        {"task": "t", "goal": "g", "examples": folder / "d.jsonl", "score": {"kind": "exact"}, "base": "b"}
    )


def audit(data: Dataset) -> list[Finding]:
    """The checks that this file is about."""
    return [f for check in (check_form, check_text, check_preference, check_provenance) for f in check(data)]


def codes(tmp_path: Path, *rows: Example) -> dict[str, Finding]:
    found = {f.code: f for f in audit(Dataset(task(tmp_path), [*clean(40), *rows]))}
    for finding in found.values():
        assert all(len(sample.text) <= 300 for sample in finding.samples)
    return found


def ask(text: str, output: str = "fine") -> Example:
    return Example((Message("user", text),), output)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("mojibake", "It costs 5 â\u201a¬ in the cafÃ©"),
        ("mojibake", "donâ€™t"),
        ("lost-character", "the caf\ufffd"),
        ("hidden-character", "zero\u200bwidth"),
        ("hidden-character", "bell\x07"),
        ("hidden-character", "abc\u202edef"),
        ("hidden-character", "join\u200der"),
        ("escaped-text", r"Dear Ann,\n\nThank you."),
        ("escaped-text", r"a caf\u00e9 in town"),
        ("escaped-text", r"She said \"no\" twice"),
        ("html-entity", "salt &amp; pepper"),
        ("html-entity", "it&#39;s"),
        ("html-tag", "<p>Hello</p>"),
        ("html-tag", "one<br/>two"),
        ("template-leftover", "[INST] hello [/INST]"),
        ("template-leftover", "<|im_start|>user\nhello"),
        ("template-leftover", "### Instruction:\nhello"),
        ("template-leftover", "Human: hello\n\nAssistant:"),
        ("template-leftover", "system\nBe brief.\nuser\nhello\nassistant\n"),
        ("template-leftover", "User\n\nhello there\n\nAssistant"),
        ("tool-text", '<tool_call>{"name": "x"}</tool_call>'),
        ("tool-text", '{"name": "look_up", "arguments": {}}'),
    ],
)
def test_damage_is_found(tmp_path: Path, code: str, text: str) -> None:
    for row in (ask(text), ask("What is it?", text)):
        found = codes(tmp_path, row)
        assert found[code].count == 1, found
        assert found[code].samples[0].remark


@pytest.mark.parametrize("answer", ["assistant\nIt is blue.", "It is blue.\nuser\n", "It is blue.\nuser\nAnd why?"])
def test_roles_on_lines_of_an_answer_are_leftovers(tmp_path: Path, answer: str) -> None:
    assert codes(tmp_path, ask("Which colour is it?", answer))["template-leftover"].count == 1


@pytest.mark.parametrize("answer", ["user", "root\nuser\nguest", "the user\nlogs in", "assistant", "a model\nof it"])
def test_roles_that_are_what_is_said_are_none(tmp_path: Path, answer: str) -> None:
    assert "template-leftover" not in codes(tmp_path, ask("Who may log in there?", answer))


@pytest.mark.parametrize(
    "text",
    [
        "{{ question }}",
        "Text: {user_input}",
        "{% if context %}",
        "Hi [prompt]",
        "%(query)s",
        "{item.text} now",
        "[row.question]",
    ],
)
def test_places_that_were_not_filled_in(tmp_path: Path, text: str) -> None:
    assert codes(tmp_path, ask(text))["unfilled-template"].count == 1
    assert "unfilled-template" not in codes(tmp_path, ask("What is it?", text))


@pytest.mark.parametrize(
    "text",
    [
        "a{2,3}",
        "{x | x > 0}",
        "`{{ question }}` here",
        "Write a Jinja template with {{ name }}",
        "[text](http://x)",
        "see [config.yaml]",
    ],
)
def test_braces_that_belong_to_the_question(tmp_path: Path, text: str) -> None:
    assert "unfilled-template" not in codes(tmp_path, ask(text))


@pytest.mark.parametrize(
    "text",
    [
        "Crème brûlée, naïve, 5 €, “so” – São Paulo, PÃO, Â, Łódź, Привет, 東京",
        "👨‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 می‌خواهم ‏\u05e9\u05dc\u05d5\u05dd‏ क्‍ष",
        r'printf("%d\n", x); C:\new\table $\nu \neq 0$ `a\nb` sed s/,/\n/g',
        json.dumps({"text": "café\nLine “two”"}),
        "AT&T; a && b; x < y; ?a=1&copy=2; List<String> <name> press <u> <3",
        "Write &amp; in HTML, as in <p>x</p>",
        "## Summary\n[link](http://x) <user> a | b || c [1]\nQ3: up\nNote: the assistant: a job",
        "line one\nline two\r\n\tindented",
    ],
)
def test_what_only_looks_like_damage_is_left_alone(tmp_path: Path, text: str) -> None:
    assert codes(tmp_path, ask(text, f"{text} yes")) == {}


def test_samples_cannot_steer_a_terminal(tmp_path: Path) -> None:
    found = codes(tmp_path, ask("red \x1b[31m and \u202ereversed"))["hidden-character"]
    assert r"red \x1b[31m and \u202ereversed" in found.samples[0].text
    assert not any(c in found.reason + found.samples[0].remark for c in "\x1b\u202e")


def test_markup_that_most_rows_have_is_what_the_data_are_like(tmp_path: Path) -> None:
    rows = [Example(e.messages, f"<b>{e.output}</b> &amp;") for e in clean(40)]
    assert not {"html-tag", "html-entity"} & {f.code for f in audit(Dataset(task(tmp_path), rows))}


def test_white_space_around_outputs(tmp_path: Path) -> None:
    assert codes(tmp_path, ask("q q", " yes"), ask("p p", "no\n"))["output-space"].count == 2
    assert "output-space" not in codes(tmp_path, ask("write code", "    return x\n    # done"))
    every = [Example(e.messages, f" {e.output}") for e in clean(40)]
    assert {f.code: f for f in audit(Dataset(task(tmp_path), every))}["output-space"].count == 40


def test_turns_that_repeat(tmp_path: Path) -> None:
    u, a, u2 = Message("user", "How are you?"), Message("assistant", "Well."), Message("user", "And now?")
    twice = codes(tmp_path, Example((u, u2), "Better."))["repeated-turn"]
    assert "turns 1 and 2 are both of the user" in twice.reason
    assert "exchanges 1 and 2 are the same" in codes(tmp_path, Example((u, a, u, a, u2), "x"))["repeated-turn"].reason
    assert "repeated-turn" not in codes(tmp_path, Example((u, a, u2, Message("assistant", "Yes."), u), "Well."))


def pairs(n: int) -> list[Example]:
    polite = ["Of course, {}.", "Gladly: {}.", "With pleasure, {}.", "Certainly, {}."]
    rude = ["Whatever, {}.", "Obviously {}, dummy.", "Ugh, {}.", "Figure it out: {}."]
    return [
        Example(e.messages, polite[i % 4].format(e.output), None, rude[(i // 4) % 4].format(e.output))
        for i, e in enumerate(clean(n))
    ]


def test_swapped_pairs_are_told_where_the_others_speak_clearly(tmp_path: Path) -> None:
    rows = pairs(160)
    for i in (7, 50, 111):
        rows[i] = Example(rows[i].messages, str(rows[i].rejected), None, rows[i].output)
    found = {f.code: f for f in audit(Dataset(task(tmp_path), rows))}["swapped-preference"]
    assert found.severity == "note" and found.count == 3
    assert "swapped-preference" not in {f.code for f in audit(Dataset(task(tmp_path), pairs(160)))}
    unclear = [e if i % 3 else Example(e.messages, str(e.rejected), None, e.output) for i, e in enumerate(pairs(160))]
    assert "swapped-preference" not in {f.code for f in audit(Dataset(task(tmp_path), unclear))}


def test_rows_that_cannot_be_used_are_told_by_kind(tmp_path: Path) -> None:
    good = '{"prompt": "%s", "completion": "c"}'
    lines = [good % e.input_text for e in clean(30)]
    lines += ['{"prompt": "x"', '{"prompt": "x", "complation": "c"}', '{"prompt": "x", "completion": ""}', "{"]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    reading = scan_examples(tmp_path / "d.jsonl")
    found = {f.code: f for f in audit(Dataset(task(tmp_path), reading.examples, None, (), reading.problems))}
    assert {code: f.count for code, f in found.items() if f.severity == "blocks"} == {
        "bad-json": 2,
        "wrong-keys": 1,
        "empty": 1,
    }
    assert "did you mean `completion`" in found["wrong-keys"].reason
    assert [s.source.line for s in found["bad-json"].samples] == [31, 34]


def test_every_reason_has_a_finding_and_a_fix() -> None:
    readers = "".join(file.read_text() for file in (Path(data.__file__).parent).glob("_*.py"))
    given = set(re.findall(r'RowError\(\s*"([a-z-]+)"', readers)) | set(
        re.findall(r'"([a-z]+-[a-z]+)"\)$', readers, re.M)
    )
    assert len(given) > 10
    assert given <= set(UNUSABLE_FIXES)


def test_the_corrected_copy_mends_what_is_plain_and_keeps_the_rest(tmp_path: Path) -> None:
    rows = [
        {"prompt": e.input_text, "completion": e.output, "license": "CC0-1.0", "n": i} for i, e in enumerate(clean(30))
    ]
    rows[3] |= {"prompt": "donâ€™t\u200b &amp; wonâ€™t", "completion": " yes\n", "note": "cafÃ© stays"}
    rows[4]["completion"] = "\ufeff"
    source = tmp_path / "d.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = source.read_bytes()
    fixed = write_fixed(task(tmp_path))
    assert source.read_bytes() == before
    assert (fixed.kept, fixed.changed, fixed.dropped) == (30, 1, 0)
    copy = [json.loads(line) for line in fixed.file.read_text().splitlines()]
    assert [row["n"] for row in copy] == list(range(30)) and {row["license"] for row in copy} == {"CC0-1.0"}
    assert [m["content"] for m in copy[3]["messages"]] == ["don’t & won’t", "yes"]
    assert copy[3]["note"] == "cafÃ© stays"
    log = [json.loads(line) for line in fixed.log.read_text().splitlines()]
    assert [(entry["line"], entry["before"], entry["after"]) for entry in log] == [
        (4, " yes\n", "yes"),
        (4, "donâ€™t\u200b &amp; wonâ€™t", "don’t & won’t"),
    ]
    assert "wrong decoding" in log[0]["reason"] and "white space" in log[0]["reason"]


def test_hidden_characters_are_taken_out_and_what_a_script_needs_stays() -> None:
    for text, wanted in [
        ("a\u200bb\x00c\x0bd", "abc\nd"),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿\u200b می‌خواهم", "🏴󠁧󠁢󠁥󠁮󠁧󠁿 می‌خواهم"),
        ("\u200e\u05e9\u05dc\u05d5\u05dd\u200f", "\u200e\u05e9\u05dc\u05d5\u05dd\u200f"),
        ("left\u200e", "left"),
        ("\uf0b7 private\u200b", "\uf0b7 private"),
    ]:
        assert without_hidden(text) == wanted


def test_provenance_is_read_and_told(tmp_path: Path) -> None:
    rows = [{"prompt": e.input_text, "completion": e.output} for e in clean(40)]
    for i, row in enumerate(rows[:30]):
        row |= {
            "License": "MIT" if i % 2 else "CC-BY-4.0",
            "metadata": {"annotator": "ann", "created_at": "2024-05-01"},
        }
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = scan_examples(tmp_path / "d.jsonl").examples
    assert examples[0].origin is not None and examples[0].origin.licence == "CC-BY-4.0"
    assert examples[0].origin.date == "2024-05-01" and examples[39].origin is None
    found = {f.code: f for f in audit(Dataset(task(tmp_path), examples))}
    assert (found["licences"].severity, found["licences"].count) == ("harms", 10)
    assert "30 of 40 rows have a licence: CC-BY-4.0 (15), MIT (15)" in found["licences"].reason
    assert "author: ann (30)" in found["origin"].reason
