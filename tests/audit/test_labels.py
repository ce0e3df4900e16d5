"""Labels that are probably wrong are found; labels that are right, or cannot be told, are left alone."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from luthier.audit import Dataset, Finding
from luthier.audit.labels._doubted import check_labels
from luthier.audit.labels._noise import doubts
from luthier.audit.labels._variants import check_variants, one_slip
from luthier.data import Example, Message, Source
from luthier.spec import Task

DATA = Path(__file__).parents[3] / "shared" / "data"
THINGS = {
    "card": ["card", "chip", "plastic", "wallet", "contactless"],
    "loan": ["loan", "mortgage", "interest", "instalment", "lender"],
    "travel": ["flight", "hotel", "abroad", "airport", "visa"],
}
FILL = ["please", "help", "with", "my", "the", "about", "question", "today", "need", "want", "some", "now"]


def rows_of(labels: list[str], seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    rows = []
    for number, label in enumerate(labels):
        words = rng.choices(THINGS[label], k=2) + rng.choices(FILL, k=4)
        rng.shuffle(words)
        rows.append(
            Example((Message("user", f"{' '.join(words)} {number}"),), label, source=Source("d.jsonl", number + 1))
        )
    return rows


def dataset(rows: list[Example]) -> Dataset:
    task = {"task": "t", "goal": "g", "examples": "d.jsonl", "score": {"kind": "label"}, "base": "b"}
    return Dataset(Task.model_validate(task), rows)


def relabelled(rows: list[Example], which: dict[int, str]) -> list[Example]:
    return [Example(e.messages, which.get(i, e.output), source=e.source) for i, e in enumerate(rows)]


def wrong(rows: list[Example]) -> list[Finding]:
    return [f for f in check_labels(dataset(rows)) if f.code == "wrong-label"]


CLEAN = rows_of(["card", "loan", "travel"] * 80)


def test_clean_labels_are_left_alone() -> None:
    assert list(check_labels(dataset(CLEAN))) == []


def test_wrong_labels_are_found_with_what_they_look_like() -> None:
    swapped = {0: "loan", 31: "travel", 62: "card", 93: "loan"}
    (found,) = wrong(relabelled(CLEAN, swapped))
    assert {row.line for row in found.rows} == {1, 32, 63, 94}
    assert found.severity == "harms"
    assert "labelled loan, looks like card" in {s.remark for s in found.samples}


def test_a_copy_with_the_same_wrong_label_does_not_vouch_for_it() -> None:
    rows = relabelled(CLEAN, {0: "loan"})
    copies = [
        Example((Message("user", rows[0].input_text + "!"),), "loan", source=Source("d.jsonl", 900 + i))
        for i in range(2)
    ]
    (found,) = wrong([*rows, *copies])
    assert {row.line for row in found.rows} == {1, 900, 901}


def test_labels_that_the_input_does_not_tell_are_left_alone() -> None:
    rng = random.Random(1)
    assert list(check_labels(dataset(relabelled(CLEAN, {i: rng.choice("ab") * 3 for i in range(len(CLEAN))})))) == []


def test_fields_of_json_outputs_are_judged_by_name_and_quoted_values_are_not() -> None:
    rows = [
        Example(e.messages, json.dumps({"topic": e.output, "first": e.input_text.split()[0]}), source=e.source)
        for e in relabelled(CLEAN, {6: "travel"})
    ]
    (found,) = wrong(rows)
    assert "field `topic`" in found.reason and [row.line for row in found.rows] == [7]


def test_the_share_of_random_labels_is_estimated() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(["card", "loan", "travel"] * 200)
    y = np.arange(600) % 3
    drawn = rng.choice(600, 60, replace=False)
    y[drawn] = (y[drawn] + rng.integers(1, 3, 60)) % 3
    found = doubts([e.input_text for e in rows], y.tolist(), list(range(600)))
    assert found.rate * 2 / 3 == pytest.approx(0.1, abs=0.03)  # a third of random labels is right by chance
    assert (found.wrong[drawn] >= 0.5).mean() > 0.9


def test_many_rows_are_judged_by_what_some_of_them_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.audit.labels._noise.TRAINED_ON", 120)
    monkeypatch.setattr("luthier.audit.labels._noise.CHUNK", 50)
    (found,) = wrong(relabelled(CLEAN, {0: "loan", 200: "card"}))
    assert {row.line for row in found.rows} == {1, 201}


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_real_errors_in_snips() -> None:
    """Rows that ask for a table and are labelled GetWeather, as the data were published."""
    lines = (DATA / "snips" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [
        Example((Message("user", row["prompt"]),), json.loads(row["completion"])["intent"], source=Source("d", n + 1))
        for n, row in enumerate(map(json.loads, lines))
    ]
    (found,) = wrong(rows)
    assert {843, 1551, 1998} <= {row.line for row in found.rows} and found.count <= 10
    assert {s.remark for s in found.samples} >= {"labelled GetWeather, looks like BookRestaurant"}


def test_variants_of_a_label() -> None:
    labels = ["card_lost"] * 40 + ["card_stolen"] * 40 + ["Card Lost", "card-stolen.", "card_lsot", "card_stollen"]
    rows = [Example((Message("user", f"q {i}"),), label, source=Source("d", i)) for i, label in enumerate(labels)]
    (found,) = check_variants(dataset(rows))
    assert sorted(row.line for row in found.rows) == [80, 81, 82, 83]
    assert "`card_lsot` for `card_lost`" in found.reason


def test_labels_that_are_near_but_meant() -> None:
    """Numbers tell labels apart, and so does a letter where both are frequent."""
    labels = ["level_1"] * 30 + ["level_2"] * 3 + ["grown"] * 30 + ["grows"] * 30 + ["+"] * 20 + ["-"] * 20
    rows = [Example((Message("user", f"q {i}"),), label) for i, label in enumerate(labels)]
    assert list(check_variants(dataset(rows))) == []


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [("abcd", "abcd", False), ("abcd", "abd", True), ("abcd", "acbd", True), ("abcd", "abxd", True),
     ("abcd", "badc", False), ("abcd", "abcde", True), ("abcd", "abcdef", False), ("abcd", "axyd", False)],
)  # fmt: skip
def test_one_slip(a: str, b: str, near: bool) -> None:
    assert one_slip(a, b) is near and one_slip(b, a) is near
