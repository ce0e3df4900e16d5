"""What repeats, what gives test cases or answers away, and what the test side can show."""

from __future__ import annotations

import datetime as dt
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.audit import Dataset, Finding, audit
from luthier.audit._meaning import alike_from, nearest_neighbours
from luthier.audit.repeats._overlap import Phrases
from luthier.data import Example, Message, Split, split_examples
from luthier.evaluate import adequacy_cases, adequate_score, battery_texts, detectable_difference
from luthier.spec import Task

WORDS = [
    a + b + c for a in ("ka", "lo", "mi", "ru", "te") for b in ("bra", "dun", "fel", "gos") for c in ("n", "x", "ly")
]
ENDS = (
    "before my holidays",
    "without calling anyone",
    "since the bank closed",
    "when abroad",
    "for my daughter",
    "at night",
)


def rows(n: int = 200, outputs: tuple[str, ...] = ("yes", "no")) -> list[Example]:
    """Rows that have nothing to do with each other, with outputs in turn."""
    rng = random.Random(0)
    return [example(" ".join(rng.choices(WORDS, k=9)), outputs[i % len(outputs)]) for i in range(n)]


def example(text: str, output: str, **more: Any) -> Example:
    return Example((Message("user", text),), output, **more)


def task(score: dict[str, Any], **more: Any) -> Task:
    return Task.model_validate({"task": "t", "goal": "g", "examples": "d", "score": score, "base": "b"} | more)


def found(task: Task, examples: list[Example], split: Split | None = None) -> dict[str, Finding]:
    return {f.code: f for f in audit(Dataset(task, examples, split))}


def test_near_conflicts_of_labels_and_of_values_that_are_not_copied() -> None:
    label = task({"kind": "label"})
    torn = [example("how do I block my lost card", "block"), example("hi, how do I block my lost card please", "lost")]
    finding = found(label, [*rows(98), *torn])["near-conflict"]
    assert (finding.severity, finding.count) == ("note", 2) and "99.00%" in finding.reason
    assert len(finding.samples) == 2
    assert "near-conflict" not in found(label, [*rows(98), replace(torn[0], output="lost"), torn[1]])
    record = task({"kind": "json"})
    names = [
        example(f"play the song {n} for me", json.dumps({"do": "play", "name": n})) for n in ("thriller", "thriler")
    ]
    assert "near-conflict" not in found(record, [*rows(98, ('{"do": "x"}',)), *names])
    other = [names[0], replace(names[1], output='{"do": "stop", "name": "thriler"}')]
    assert found(record, [*rows(98, ('{"do": "x"}',)), *other])["near-conflict"].count == 2


def test_templates_are_named_and_people_s_own_words_are_none() -> None:
    rng = random.Random(1)
    kinds = ("red lamp", "bike", "set of four chairs", "phone case", "jacket")
    made = [
        example(f"my {rng.choice(kinds)} from order {rng.randrange(9999)} did not arrive {rng.choice(ENDS)}", "x")
        for _ in range(150)
    ]
    finding = found(task({"kind": "exact"}), [*rows(100), *made])["template"]
    assert finding.severity == "harms" and finding.count >= 140
    assert "from order … did not arrive" in finding.reason
    assert "template" not in found(task({"kind": "exact"}), rows(200))


def test_items_of_the_battery_and_of_the_user_s_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    question = "Which organ of a frog takes up oxygen while it stays under water for hours?"
    file.write_text(json.dumps({"question": question, "choices": ["skin", "heart"], "answer": 0}))
    shipped = next(text for text in battery_texts() if len(text.split()) > 7)
    repeats = [example(f"Think about it. {question}", "skin"), example(shipped.upper(), "x")]
    finding = found(task({"kind": "exact"}, general=[file]), [*rows(98), *repeats])["battery-repeat"]
    assert finding.count == 2 and finding.severity == "harms"
    assert "battery-repeat" not in found(task({"kind": "exact"}), rows(98))


def test_phrases_are_found_inside_others_and_with_slips() -> None:
    known = Phrases(["the quick brown fox jumps over a lazy dog today", "how much water does a camel drink", "go on"])
    texts = [
        "he wrote that the quick brown fox jumps over a lazy dog today and left",
        "how mcuh water does a camel drink?",
        "how much water does a horse drink",
        "Go on!",
        "and so I go on and on",
    ]
    assert sorted(known.repeated(texts)) == [0, 1, 3]


def test_cases_in_the_prompt_block_when_they_are_many() -> None:
    examples = rows(200, ("yes", "no", "maybe"))
    settings = task({"kind": "label"})
    split = split_examples(examples, settings.split)
    shown = "\n".join(f"Input: {e.input_text}\nOutput: {e.output}" for e in split.test[:3])
    finding = found(task({"kind": "label"}, instructions=f"Do so.\n{shown}"), examples, split)["prompt-leakage"]
    assert (finding.severity, finding.count) == ("blocks", 3)
    one = task({"kind": "label"}, instructions=f'Such as "{split.test[0].input_text}" -> yes')
    assert found(one, examples, split)["prompt-leakage"].severity == "harms"
    trained = task({"kind": "label"}, instructions=f'Such as "{split.train[0].input_text}" -> yes')
    assert "prompt-leakage" not in found(trained, examples, split)


@pytest.mark.parametrize(
    ("score", "text", "output", "there"),
    [
        ("label", "where is it card_lost", "card_lost", True),
        ("label", "where is it (card lost)", "card_lost", True),
        ("label", "positive: what a film", "positive", False),
        ("label", "what a film. label: positive", "positive", True),
        ("label", "[positive] what a film", "positive", True),
        ("label", "a positive surprise for everyone", "positive", False),
        ("json", "put it on PlayMusic", '{"intent": "PlayMusic"}', True),
        ("json", "put it on, music", '{"intent": "PlayMusic"}', False),
        ("answer", "Which city is meant, Paris in France", "Paris in France", True),
        ("answer", "Is it Paris in France or London", "Paris in France", False),
        ("chrf", "ls: list the files", "ls", False),
        ("chrf", "list the files -> ls -la", "ls -la", True),
    ],
)
def test_answers_left_in_the_input(score: str, text: str, output: str, there: bool) -> None:
    outputs = ('{"intent": "PlayMusic"}', '{"intent": "BookTable"}') if score == "json" else (output, "other")
    if score in ("answer", "chrf"):
        outputs = tuple(f"something else {i}" for i in range(99))
    finding = found(task({"kind": score}), [*rows(99, outputs), example(text, output)])
    assert ("answer-in-input" in finding) is there
    assert not there or finding["answer-in-input"].count == 1


def test_extraction_is_no_answer_left_in_the_input() -> None:
    extracted = [
        example(f"{e.input_text} said Doctor Number {i}", f"Doctor Number {i}") for i, e in enumerate(rows(100))
    ]
    assert "answer-in-input" not in found(task({"kind": "answer"}), extracted)


def dated(n: int, day: int = 0) -> list[Example]:
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)
    return [replace(e, time=start + dt.timedelta(days=i)) for i, e in enumerate(rows(n))]


def test_rows_later_than_the_test() -> None:
    settings = task({"kind": "label"}, split={"time": "when"})
    examples = dated(200)
    assert "time-leakage" not in found(settings, examples, split_examples(examples, settings.split))
    late = [replace(e, time=dt.datetime(2030, 1, 1, tzinfo=dt.UTC)) for e in examples[:10]]
    split = split_examples([*late, *examples[10:150]], settings.split, test=examples[150:])
    finding = found(settings, examples, split)["time-leakage"]
    assert (finding.severity, finding.count) == ("harms", 10)


def test_what_the_test_side_can_show() -> None:
    examples = rows(400)
    settings = task({"kind": "label"}, bar=0.9)
    finding = found(settings, examples, split_examples(examples, settings.split))["small-test"]
    assert finding.severity == "harms" and finding.count == 60
    assert "0.9" in finding.reason and "it takes" in finding.reason and "140 more independent cases" in finding.fix
    enough = task({"kind": "label"}, bar=0.9, split={"test_cases": 200})
    assert "small-test" not in found(enough, examples, split_examples(examples, enough.split))


def test_power_agrees_with_simulation_and_with_the_usual_formula() -> None:
    rng = np.random.default_rng(0)
    score = adequate_score(150, 0.8, 0.05)
    assert score is not None
    least = next(k for k in range(151) if (rng.binomial(150, 0.8, 200_000) >= k).mean() <= 0.05)
    assert (rng.binomial(150, score, 200_000) >= least).mean() == pytest.approx(0.8, abs=0.05)
    assert adequate_score(10, 0.9, 0.05) is None
    cases = adequacy_cases(0.9, 0.98, 0.05)
    assert cases is not None and 55 <= cases <= 75
    assert adequacy_cases(0.9, 0.9, 0.05) is None
    assert detectable_difference(120, 0.05) == pytest.approx(0.10, abs=0.002)
    assert detectable_difference(30, 0.05) == pytest.approx(0.185, abs=0.002)


def test_nearest_neighbours_are_those_of_the_whole_matrix() -> None:
    vectors = np.random.default_rng(0).normal(size=(1500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, nearest = nearest_neighbours(vectors)
    whole = vectors @ vectors.T
    np.fill_diagonal(whole, -2)
    assert (nearest == whole.argmax(axis=1)).all()
    assert np.allclose(cosines, whole.max(axis=1), atol=1e-6)
    assert alike_from(np.full(9, 0.5, np.float32)) == 0.90
    assert alike_from(np.full(9, 0.99, np.float32)) == 0.97


def test_texts_without_spaces_are_read_in_time_that_grows_with_their_length() -> None:
    """The square of 200,000 letters would take an hour."""
    for long in ("字" * 200_000, '{"a":"b",' * 20_000, "{" * 200_000):
        found(task({"kind": "exact"}), [*rows(60), example(long, "x")])
