"""What outputs say and how: the few that do otherwise are found, and what most do is taken as meant."""

# ruff: noqa: RUF001 - sentences in other scripts, with their punctuation

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from luthier.audit import Dataset, Finding
from luthier.audit.text._degenerate import check_degenerate
from luthier.audit.text._formats import check_formats
from luthier.audit.text._keys import check_keys
from luthier.audit.text._language import check_language
from luthier.audit.text._quality import check_quality
from luthier.audit.text._refusals import check_refusals, refuses
from luthier.data import Example, Message, Source
from luthier.spec import Task

Check = Callable[[Dataset], Iterable[Finding]]
CITIES = ["Oslo", "Lima", "Cairo", "Delhi", "Quito", "Accra", "Paris", "Hanoi", "Sofia", "Turin"]


def good(number: int) -> str:
    return f"the harbour of {CITIES[number % 10]} has {number + 3} piers and a long wall"


def rows_with(
    outputs: list[str], goods: int = 100, prompt: str = "Describe harbour number {} in a short sentence"
) -> list[Example]:
    every = [*(good(i) for i in range(goods)), *outputs]
    return [
        Example((Message("user", prompt.format(i)),), output, source=Source("d.jsonl", i))
        for i, output in enumerate(every)
    ]


def dataset(rows: list[Example], **more: Any) -> Dataset:
    task = {"task": "t", "goal": "g", "examples": "d.jsonl", "score": {"kind": "rouge"}, "base": "b"} | more
    return Dataset(Task.model_validate(task), rows)


def lines(check: Check, outputs: list[str], code: str, **more: Any) -> set[int]:
    """Which of the outputs, after a hundred good rows, are found."""
    found = check(dataset(rows_with(outputs), **more))
    return {row.line - 100 for f in found if f.code == code for row in f.rows}


CHECKS: list[Check] = [check_refusals, check_degenerate, check_formats, check_language, check_quality, check_keys]


@pytest.mark.parametrize("check", CHECKS)
def test_good_rows_have_no_findings(check: Check) -> None:
    assert list(check(dataset(rows_with([])))) == []


@pytest.mark.parametrize(
    "text",
    ["I'm sorry, but I can't help with that.", "As an AI language model, I have no opinion.",
     "Es tut mir leid, aber ich kann dabei nicht helfen.", "Je suis désolé, mais je ne peux pas répondre.",
     "Lo siento, no puedo ayudarte.", "作为一个人工智能，我无法回答。"],
)  # fmt: skip
def test_refusals(text: str) -> None:
    assert lines(check_refusals, [good(1), text], "refusal") == {1}


@pytest.mark.parametrize(
    "text",
    ["I'm sorry to hear that! Restart the app.", "Sorry, I can't come to the party tonight.", "AI is a field of study.",
     "You cannot help it.", "Als Kind war ich oft dort."],
)  # fmt: skip
def test_what_is_no_refusal(text: str) -> None:
    assert not refuses(text)


def test_a_task_about_refusing_and_a_set_full_of_refusals() -> None:
    refusal = "I'm sorry, but I can't help with that."
    assert lines(check_refusals, [refusal], "refusal", goal="Refuse what is harmful") == set()
    assert lines(check_refusals, [refusal] * 60, "refusal") == set()


def test_boilerplate() -> None:
    outputs = [
        "Sure! The wall is long.",
        "It has two piers.\n\nI hope this helps!",
        *["Answer: two piers"] * 3,
        "Note: none",
    ]
    assert lines(check_refusals, outputs, "boilerplate") == {0, 1, 2, 3, 4}
    assert lines(check_refusals, ["Sure! Yes."] * 60, "boilerplate") == set()


def test_stand_ins() -> None:
    bad = [
        "TODO",
        "n/a",
        "...",
        "Dear [Customer Name], hello there",
        "lorem ipsum dolor",
        "aaaaaaaaaaaaaaaa",
        "and so " * 20,
    ]
    fine = ["Todos los Santos", "none", "a [link](https://x.org)", "Nat", "?x"]
    assert lines(check_degenerate, bad + fine, "degenerate-output") == set(range(len(bad)))


def test_a_placeholder_that_all_rows_have_or_the_input_asks_for() -> None:
    templates = rows_with(["ls {{folder}}"] * 60)
    assert list(check_degenerate(dataset(templates))) == []
    asked = rows_with(["Dear [Name], hello"], prompt="Write to [Name] about {}")
    assert list(check_degenerate(dataset(asked))) == []


def test_copied_inputs() -> None:
    assert lines(check_degenerate, ["Describe harbour number 100 in a short sentence"], "copied-input") == {0}


def test_languages() -> None:
    foreign = ["Der Hafen hat vier lange Molen und eine hohe Mauer.", "Le port est grand et la mer est calme ce matin.",
               "港口有四个码头和一堵长长的墙，每天都有很多船只进出。"]  # fmt: skip
    english = ["We walked from the Rue de la Paix to Place de la Concorde and then to the harbour.", "ok"]
    assert lines(check_language, foreign + english, "language") == {0, 1, 2}


def test_a_language_that_is_asked_for() -> None:
    rows = rows_with(["Der Hafen hat vier lange Molen und eine hohe Mauer."], prompt="Say it in German, for harbour {}")
    assert list(check_language(dataset(rows))) == []


def test_outputs_in_another_language_than_their_inputs() -> None:
    pairs = {
        "How do I change the address of my order {}?": "You can change the address in the settings of your account.",
        "Wie ändere ich die Adresse meiner Bestellung {}?": "Die Adresse ändern Sie in den Einstellungen Ihres Kontos.",
    }
    texts = [(q.format(i), a) for i in range(40) for q, a in pairs.items()]
    texts.append((texts[1][0], texts[0][1]))
    rows = [Example((Message("user", q),), f"{a} {i}", source=Source("d", i)) for i, (q, a) in enumerate(texts)]
    (found,) = check_language(dataset(rows))
    assert [row.line for row in found.rows] == [80]


@pytest.mark.parametrize(
    "text",
    ['{"answer": "a long wall"}', "```\nthe wall\n```", '"a wall of stone and two piers"', " the wall is long\n",
     "the **long** wall", "<p>the wall is long</p>", "the wall is long and high.",
     "The wall is long", "THE WALL IS LONG"],
)  # fmt: skip
def test_outputs_of_a_rare_form(text: str) -> None:
    assert lines(check_formats, [text], "output-format") == {0}


@pytest.mark.parametrize("end", [" (which", " [the", ",", ", and"])
def test_outputs_that_were_broken_off(end: str) -> None:
    whole = [f"{t}." for t in ("The wall is long", "The pier (of wood) is old", "It has a roof of [blue] slate")]
    rows = [Example((Message("user", f"q {i}"),), whole[i % 3], source=Source("d", i)) for i in range(60)]
    rows[7] = Example((Message("user", "q 7"),), f"The tower is high{end}", source=Source("d", 7))
    varied = [Example(e.messages, f"{n} years: {e.output}", source=e.source) for n, e in enumerate(rows)]
    found = [finding for finding in check_formats(dataset(varied)) if finding.code == "output-format"]
    assert {row.line for finding in found for row in finding.rows} == {7}


def test_abbreviations_end_no_sentence_and_names_have_capitals() -> None:
    assert (
        lines(check_formats, ["a port in the U.S.", "Cairo and Lima", "owned by Smith Inc."], "output-format") == set()
    )


def objects(*outputs: dict[str, Any]) -> Dataset:
    usual = [{"date": f"2026-01-{i % 28 + 1:02}", "amount": f"{i * 37 + 1000}.50", "who": "me"} for i in range(100)]
    return dataset(rows_with([json.dumps(o) for o in [*usual, *outputs]], goods=0), score={"kind": "json"})


def test_keys_and_types() -> None:
    plain = {"date": "2026-01-01", "amount": "1200.00", "who": "me"}
    assert list(check_keys(objects(plain))) == []
    for odd in (
        {"date": "2026-01-01", "amount": "1200.00"},
        {"date": "2026-01-01", "ammount": "1200.00", "who": "me"},
        {"who": "me", "date": "2026-01-01", "amount": "1200.00"},
        plain | {"amount": 1200},
    ):
        found = list(check_keys(objects(odd)))
        assert found and {row.line for f in found for row in f.rows} == {100}, odd
    assert list(check_keys(objects(plain | {"who": None}))) == []


def test_dates_and_amounts_written_otherwise() -> None:
    plain = {"date": "2026-01-01", "amount": "1200.00", "who": "me"}
    assert list(check_formats(objects(plain))) == []
    for odd in ({"date": "31/01/2026"}, {"date": "Jan 31, 2026"}, {"amount": "1,200.00"}, {"amount": "$1200"}):
        (found,) = check_formats(objects(plain | odd))
        assert [row.line for row in found.rows] == [100]


def test_outputs_too_short_for_their_inputs() -> None:
    rows = [Example((Message("user", "word " * n),), "Wort " * n, source=Source("d", n)) for n in range(5, 105)]
    rows.append(Example((Message("user", "word " * 90),), "Wort " * 9, source=Source("d", 0)))
    (found,) = check_quality(dataset(rows))
    assert (found.code, [row.line for row in found.rows]) == ("length-ratio", [0])


def test_one_label_for_nearly_all() -> None:
    rows = [Example((Message("user", f"q {i:03}"),), "no" if i else "yes") for i in range(50)]
    found = {f.code: f for f in check_quality(dataset(rows, score={"kind": "label"}))}
    assert "scores 0.980" in found["imbalance"].reason
