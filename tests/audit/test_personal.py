"""Personal data and secrets are found, shown masked, and replaced without breaking rows; look-alikes are let be."""

from __future__ import annotations

import json
import random
import string
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.audit import Dataset, Finding, audit, finding, sample, write_fixed
from luthier.audit._personal_findings import check_personal
from luthier.audit.personal._ids import FORMS, _valid
from luthier.audit.personal._mask import TYPES
from luthier.audit.personal._scan import scan, scan_row
from luthier.audit.personal._veil import veiled
from luthier.data import Example, Message, Source, read_examples
from luthier.spec import Task

SHARED = Path(__file__).parents[3] / "shared" / "data"

KEY = "AKIA" + "QYLPMN5HHHFPZAM2"  # apart, so that no tool takes this file for a leak
TOKEN = "ghp_" + "x7Kq2WdR" * 5

FOUND = [
    ("write to Jane.Doe+x@kestrel-bikes.co.uk.", "email", "Jane.Doe+x@kestrel-bikes.co.uk"),
    ("jane [at] kestrel [dot] com", "email", "jane [at] kestrel [dot] com"),
    ("mailto:jane@web.de", "email", "jane@web.de"),
    ("card 4539 1488 0343 6467 expires", "card", "4539 1488 0343 6467"),
    ("amex 3714-496353-98431 x", "card", "3714-496353-98431"),
    ("to GB33BUKB20201555555555 please", "iban", "GB33BUKB20201555555555"),
    ("to gb33 bukb 2020 1555 5555 55 and then", "iban", "gb33 bukb 2020 1555 5555 55"),
    ("the form says 536-22-8765", "national-id", "536-22-8765"),
    ("BSN 111222333", "national-id", "111222333"),
    ("111222333 is my BSN", "national-id", "111222333"),
    ("pesel: 44051401359", "national-id", "44051401359"),
    ("CPF 529.982.247-25", "national-id", "529.982.247-25"),
    ("NI number AB 12 34 56 C", "national-id", "AB 12 34 56 C"),
    ("RSSMRA85T10A562S", "national-id", "RSSMRA85T10A562S"),
    ("Singapore S1234567D", "national-id", "S1234567D"),
    ("ring +49 30 901820 now", "phone", "+49 30 901820"),
    ("(415) 867-2671", "phone", "(415) 867-2671"),
    ("my number is 07911 123456", "phone", "07911 123456"),
    ("call me on 12345678 please", "phone", "12345678"),
    (f"id {KEY}", "secret", KEY),
    (f"token={TOKEN}", "secret", TOKEN),
    ("postgres://bob:s3cr3tpw@db.kestrel.com/x", "secret", "s3cr3tpw"),
    ("my password is Winter2024!", "password", "Winter2024!"),
    ("date of birth: 12/03/1984", "birth-date", "12/03/1984"),
    ("I live at 12 Long Acre Road, Leeds LS1 4AB.", "address", "12 Long Acre Road, Leeds LS1 4AB"),
    ("Lindenallee 12a, 50667 Köln", "address", "Lindenallee 12a, 50667 Köln"),
    ("My name is Ștefania van der Berg.", "name", "Ștefania van der Berg"),
    ("login from 93.184.216.34", "network", "93.184.216.34"),
]


@pytest.mark.parametrize(("text", "kind", "written"), FOUND)
def test_found(text: str, kind: str, written: str) -> None:
    assert [(m.kind, text[m.start : m.end]) for m in scan(text) if not m.documented or kind == "card"] == [
        (kind, written)
    ]


def test_every_checker_of_national_numbers_exists() -> None:
    for form in FORMS:
        _valid(form.module, "0", "0")
    assert len({form.country for form in FORMS}) == 45


LET_BE = [
    "card 4539 1488 0343 6468",  # checksum
    "order 4539148803436467",
    "to GB34BUKB20201555555555",
    "BSN 111222334",
    "my order number is 111222333",
    "SSN 666-22-8765",
    "at 1712345678, then 1712345678901",
    "ISBN 978-3-16-148410-0",
    "51.507351, -0.127758",
    "the IMEI of my phone is 352099001761481",
    "2024-01-02 10:30:45 and 01.02.2024",
    "https://www.shop.com/item/4539148803436467",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "npm i left-pad@1.3.0 @types/node icon@2x.png getty@tty1.service",
    "git@github.com:kestrel/tools.git and ssh root@db7.kestrel.com",
    "{{user@kestrel.com}} {{+49 30 901820}}",
    "my password is not working and the token is missing",
    "export API_KEY=$API_KEY PASSWORD=<password>",
    "self.image_to_token = Sam2Attention(config)",
    "version 10.16.4.2 of the 1,234,567.89 dollars",
    "In 1886, Robert Lane met Dr. No; the Supreme Court of 12 District Court",
    "mail at noon",
]


@pytest.mark.parametrize("text", LET_BE)
def test_look_alikes_are_let_be(text: str) -> None:
    assert [(m.kind, text[m.start : m.end]) for m in scan(text)] == []


@pytest.mark.parametrize(
    "text",
    ["user@example.com", "4111 1111 1111 1111", "call 212-555-0143", "AKIA" + "IOSFODNN7EXAMPLE"],
)
def test_documented_values_are_told_apart(text: str) -> None:
    assert [m.documented for m in scan(text)] == [True]


def test_keys_of_json_say_what_values_are_and_escapes_do_not_hide_them() -> None:
    text = '{"bsn": "111222333", "note": "hi\\njane@web.de", "homePhone": "015112345678", "order_id": "111222333"}'
    assert [(m.kind, text[m.start : m.end]) for m in scan(text)] == [
        ("national-id", "111222333"),
        ("email", "jane@web.de"),
        ("phone", "015112345678"),
    ]


def test_what_one_text_of_a_row_says_is_known_in_the_others() -> None:
    rows = scan_row(["my BSN is 1112.22.333", "111222333"])
    assert [[m.value for m in matches] for matches in rows] == [["111222333"], ["111222333"]]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=string.ascii_letters + string.digits + " @.:/+-_()\n\"'{}<>,#=İß€", max_size=120))
def test_matches_never_overlap_and_masking_takes_any_text(text: str) -> None:
    matches = scan(text)
    assert all(0 <= m.start < m.end <= len(text) for m in matches)
    assert all(a.end <= b.start for a, b in pairwise(matches))
    veiled(text)


def task(folder: Path, score: dict[str, Any] | None = None) -> Task:
    values = {
        "task": "t",
        "goal": "g",
        "examples": folder / "d.jsonl",
        "score": score or {"kind": "exact"},
        "base": "b",
    }
    return Task.model_validate(values)


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [Example((Message("user", a),), b, source=Source("d.jsonl", i + 1)) for i, (a, b) in enumerate(pairs)]


def findings(folder: Path, *pairs: tuple[str, str]) -> dict[str, Finding]:
    return {f.code: f for f in check_personal(Dataset(task(folder), rows(*pairs)))}


def test_findings_say_where_and_how_bad_and_never_show_a_value(tmp_path: Path) -> None:
    secrets = ["jane@web.de", "4539 1488 0343 6467", TOKEN, "111222333", "07911 123456", "Winter2024!"]
    pairs = [
        (f"mail {secrets[0]}", "no"),
        ("who?", f"write to {secrets[0]} or ola@telia.se"),
        (f"mail {secrets[0]}", secrets[0]),
    ]
    pairs += [
        (f"card {secrets[1]}", "x"),
        (f"token {TOKEN}", "x"),
        (f"BSN {secrets[3]}", "x"),
        (f"call {secrets[4]}", "x"),
    ]
    found = findings(tmp_path, *pairs, (f"password: {secrets[5]}", "x"), ("nothing", "here"))
    assert {code: f.severity for code, f in found.items()} == {
        "secret": "blocks",
        "password": "harms",
        "payment-card": "harms",
        "national-id": "harms",
        "email": "harms",
        "phone": "note",
    }
    mail = found["email"]
    assert [row.line for row in mail.rows] == [1, 2, 3]
    assert "2 different" in mail.reason and "2 rows teach to say them, 1 of these" in mail.reason
    assert mail.samples[1].remark == "e-mail address in the output"
    shown = json.dumps([f.as_dict() for f in found.values()], ensure_ascii=False)
    assert not [value for value in secrets if value in shown]


def test_other_findings_mask_too(tmp_path: Path) -> None:
    row = rows((f"the key is {TOKEN} of jane@web.de " * 60, "x"))[0]
    assert TOKEN not in sample(row).text and "jane@" not in sample(row).text
    assert "jane@" not in finding("empty", "note", [], "wrong: jane@web.de", "x").reason
    labels = task(tmp_path, {"kind": "label", "labels": ["a", "b"]})
    found = audit(Dataset(labels, rows(*[(f"q {i}", "jane@web.de") for i in range(25)])))
    assert "jane@" not in json.dumps([f.as_dict() for f in found])


def test_mask_keeps_rows_consistent_and_logs_no_value(tmp_path: Path) -> None:
    lines = [
        {"prompt": "From Jane@Web.de: my IBAN is GB33 BUKB 2020 1555 5555 55", "completion": '{"mail": "jane@web.de"}'},
        {"prompt": "From ola@telia.se, who knows jane@web.de", "completion": '{"mail": "ola@telia.se"}'},
        {"prompt": "Pay GB33BUKB20201555555555, see user@example.com", "completion": '{"mail": null}'},
        {
            "prompt": "call 015112345678",
            "completion": '{"tel": "015112345678", "n": 15112345678}',
        },
        {"prompt": "mail jane@web.de", "completion": '{"mail": "jane@web.de", "short": "x"}'},
        {"prompt": "broken by jane@web.de", "completion": "no json of jane@web.de"},
    ]
    schema = {
        "type": "object",
        "properties": {"mail": {"type": ["string", "null"], "pattern": "@|<"}, "short": {"maxLength": 1}},
    }
    (tmp_path / "s.json").write_text(json.dumps(schema))
    source = tmp_path / "d.jsonl"
    source.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    before = source.read_bytes()
    checked = task(tmp_path, {"kind": "json", "schema": tmp_path / "s.json"})
    fixed = write_fixed(checked, mask=True)
    assert source.read_bytes() == before
    copy = read_examples(fixed.file)
    assert [(e.input_text, e.output) for e in copy] == [
        ("From <EMAIL_1>: my IBAN is <IBAN_1>", '{"mail": "<EMAIL_1>"}'),
        ("From <EMAIL_2>, who knows <EMAIL_1>", '{"mail": "<EMAIL_2>"}'),
        ("Pay <IBAN_1>, see user@example.com", '{"mail": null}'),
        ("call <PHONE_1>", '{"tel": "<PHONE_1>", "n": 15112345678}'),
        ("mail <EMAIL_1>", '{"mail": "<EMAIL_1>", "short": "x"}'),
    ]
    log = fixed.log.read_text()
    assert not [value for value in ("jane", "Jane", "ola@", "BUKB", "0151123") if value in log]
    assert (fixed.masked, fixed.unmasked, fixed.dropped) == (11, 0, 1)
    plain = write_fixed(checked)
    assert plain.masked == 0 and "jane@web.de" in plain.file.read_text() and "jane@" not in plain.log.read_text()


def test_rows_that_masking_would_break_stay_as_they_are(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"mail": {"type": "string", "pattern": "^[a-z]+@[a-z.]+$"}}}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    rows = [
        {"prompt": "of jane@web.de", "completion": '{"mail": "jane@web.de"}'},
        {"prompt": "my card 4539148803436467", "completion": '{"card": 4539148803436467}'},
        {"prompt": "of ola@telia.se", "completion": '{"other": "ola@telia.se"}'},
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    fixed = write_fixed(task(tmp_path, {"kind": "json", "schema": tmp_path / "s.json"}), mask=True)
    kept = [(e.input_text, e.output) for e in read_examples(fixed.file)]
    assert kept[:2] == [(row["prompt"], row["completion"]) for row in rows[:2]]
    assert kept[2] == ("of <EMAIL_1>", '{"other": "<EMAIL_1>"}')
    left = [json.loads(line) for line in fixed.log.read_text().splitlines()]
    assert [(entry["action"], entry["line"]) for entry in left] == [
        ("left", 1),
        ("left", 2),
        ("masked", 3),
        ("masked", 3),
    ]
    assert "jane" not in fixed.log.read_text() and "4539148803436467" not in fixed.log.read_text()


def test_placeholders_that_stand_in_the_data_are_not_given_again(tmp_path: Path) -> None:
    line = {"prompt": "<EMAIL_7> and jane@web.de", "completion": "x", "customer": "jane@web.de"}
    (tmp_path / "d.jsonl").write_text(json.dumps(line) + "\n")
    values = {"task": "t", "goal": "g", "examples": tmp_path / "d.jsonl", "score": {"kind": "exact"}, "base": "b"}
    grouped = Task.model_validate(values | {"split": {"group": "customer"}})
    [row] = [json.loads(line) for line in write_fixed(grouped, mask=True).file.read_text().splitlines()]
    assert row["messages"][0]["content"] == "<EMAIL_7> and <EMAIL_8>" and row["customer"] == "<EMAIL_8>"


def test_a_masked_copy_has_nothing_left_to_mask(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [text for text, kind, _ in FOUND if kind in TYPES]
    lines = [{"prompt": f"{i} {' '.join(rng.sample(texts, 2))}", "completion": rng.choice(texts)} for i in range(40)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    copy = read_examples(write_fixed(task(tmp_path), mask=True).file)
    assert [
        m for e in copy for text in (e.input_text, e.output) for m in scan(text) if m.kind in TYPES and not m.documented
    ] == []


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "expected"), [("banking77/test.jsonl", 0), ("tldr/examples.jsonl", 0), ("snips/test.jsonl", 0)]
)
def test_real_rows_hold_none(file: str, expected: int) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    lines = (SHARED / file).read_text(encoding="utf-8").splitlines()[:2000]
    found = [m for line in lines for value in json.loads(line).values() for m in scan(value) if not m.documented]
    assert len(found) == expected
