"""Answers that state facts are told from answers that are made of their prompt."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.audit import Dataset, Finding, stated_facts
from luthier.audit.knowledge._asked import asks_to_make, is_bare_question
from luthier.audit.knowledge._check import check_knowledge
from luthier.audit.knowledge._given import Given
from luthier.audit.knowledge._label import Share
from luthier.audit.knowledge._novelty import Novelties, is_code
from luthier.audit.knowledge._volatile import volatile
from luthier.audit.knowledge._words import language_of, pieces, value_of
from luthier.data import Example, Message
from luthier.spec import Task

TODAY = dt.date(2026, 7, 1)


def example(prompt: str, output: str) -> Example:
    return Example((Message("user", prompt),), output)


def task(tmp_path: Path = Path("/nowhere"), **more: Any) -> Task:
    values = {"task": "t", "goal": "g", "examples": tmp_path / "d.jsonl", "score": {"kind": "exact"}, "base": "b"}
    return Task.model_validate(values | more)


def novel(prompt: str, output: str, **more: Any) -> list[str]:
    return [
        piece.text for piece in Novelties([example(prompt, output)], task(**more)).of(example(prompt, output)).novel
    ]


def found(rows: list[Example], **more: Any) -> dict[str, Finding]:
    return {f.code: f for f in check_knowledge(Dataset(task(**more), rows))}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234),
        ("1,234.5", 1234.5),
        ("1.234,5", 1234.5),
        ("12.5", 12.5),
        ("3,5", 3.5),
        ("2nd", 2),
        ("80k", 80_000),
        ("twelve", 12),
        ("third", 3),
        ("v2", None),
        ("word", None),
    ],
)
def test_numbers(text: str, value: float | None) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("She paid twelve euros and 1,500 cents.", "12 euros, 1500 cents"),
        ("Meeting on March 5th, 2024 at 3:30 pm", "2024-03-05 15:30"),
        ("Due 2024-03-05.", "5 March 2024"),
        ("The World Health Organization warned.", "WHO"),
        ("He calculates the costs of transporting parcels.", "calculated cost transport parcel"),
        ("I recieved your mesage", "received message"),
        ("The café in Zürich", "Cafe, Zurich"),
        ("a well known state-of-the-art tool", "well-known state of the art tools"),
        ("Mary's book", "Mary book"),
        ("東京の天気はどうですか", "東京"),
        ("What is the square of 12?", "144"),
        ("What is the square root of 81?", "9"),
        ("Convert 7 kilometers to meters.", "7000 meters"),
        ("3 boxes of 24 pencils, 10 are lost", "3 * 24 pencils = 72 pencils, 72 - 10 = 62"),
        ("20% off a 1000 dollar laptop", "200 dollars off, so 800 dollars"),
    ],
)
def test_what_a_prompt_gives_is_not_new(prompt: str, answer: str) -> None:
    assert novel(prompt, answer) == []


@pytest.mark.parametrize(
    ("prompt", "answer", "new"),
    [
        ("Who founded the company?", "Ada Brunnhilde in 1987", ["Ada", "Brunnhilde", "1987"]),
        ("How long can I return it?", "Within 45 days", ["45", "days"]),
        ("Which error is that?", "E-1042", ["E-1042"]),
        ("What was bought in 1856?", "5 ships", ["5", "ships"]),
        ("We met on 5 March 2024.", "2024-03-06", ["2024-03-06"]),
        ("Two and two", "2 + 2 = 5", ["5"]),
        ("当社の住所は", "大阪市", ["大阪", "市"]),
    ],
)
def test_what_a_prompt_does_not_give_is_new(prompt: str, answer: str, new: list[str]) -> None:
    assert novel(prompt, answer) == new


def test_instructions_give_too() -> None:
    assert novel("Which plan?", "Gold, 30 days", instructions="Plans: Gold (30 days), Silver (14 days).") == []


def test_keys_of_json_are_no_content_and_its_values_are() -> None:
    assert novel("Play Aurora", '{"intent": "PlayMusic", "artist": "Aurora", "minutes": 12}') == ["PlayMusic", "12"]
    assert novel('Play "Zoë"', json.dumps({"artist": 'the "Zoë"'})) == []


def test_labels_and_turns_of_phrase_are_learned_from_each_other() -> None:
    rows = [example(f"message {i} about thing{i}", ("billing issue", "shipping delay")[i % 2]) for i in range(20)]
    assert all(not Novelties(rows, task()).of(row).novel for row in rows)
    rows = [
        example(f"Where is parcel {i}?", f"Thanks for reaching out! It is in Depot{i * 7 + 1000}.") for i in range(20)
    ]
    assert [p.text for p in Novelties(rows, task()).of(rows[3]).novel] == ["Depot1021"]
    identifiers = [example("My card was eaten", "card_swallowed_by_machine")]
    assert Novelties(identifiers, task()).of(identifiers[0]).evidence == 0


def test_a_fact_that_is_asked_in_many_ways_is_no_label() -> None:
    towns = "Lima Oslo Quito Accra Dakar Hanoi Kyiv Minsk Rabat Sofia Tunis Vaduz".split()
    ways = ("When was {} founded?", "In which year was {} founded?", "How old is {}? Say since when.", "{}: first year")
    asked = [example(way.format(t), f"In {1100 + 13 * i}") for i, t in enumerate(towns) for way in ways]
    assert all(Novelties(asked, task()).of(row).evidence > 0.5 for row in asked)
    labels = [example(way.format(t), f"Kind {3 * (i % 3)}") for i, t in enumerate(towns) for way in ways]
    assert all(Novelties(labels, task()).of(row).evidence == 0 for row in labels)


@pytest.mark.parametrize(
    ("prompt", "made"),
    [
        ("Rewrite this politely: get lost", True),
        ("Please generate a sentence using the word 'brave'.", True),
        ("Can you translate 'good morning' into French?", True),
        ("The parcel is late.\n\nSummarise the message.", True),
        ("What is the capital of Peru?", False),
        ("Name three kinds of clouds.", False),
        ("Who rewrote the constitution?", False),
        ("I changed my address. What now?", False),
    ],
)
def test_requests_to_make_something(prompt: str, made: bool) -> None:
    assert asks_to_make(prompt) == made


def test_made_up_words_are_no_facts_but_made_up_names_are() -> None:
    invented = example("Rewrite: he is brave", "He roars like an untamed lion.")
    named = example("Rewrite: he is brave", "He roars like Richard of Aquitaine in 1191.")
    novelties = Novelties([invented, named], task())
    assert novelties.of(invented).evidence == 0
    assert novelties.of(named).evidence > 0.5


def test_a_lone_question_that_is_answered_freely_counts_a_little() -> None:
    assert is_bare_question("Do duck quacks echo?")
    assert not is_bare_question("Ducks quack loudly. Do duck quacks echo?")
    lone = example("Do duck quacks echo?", "Yes, duck quacks echo")
    read = example("Duck quacks echo. Do duck quacks echo?", "Yes, duck quacks echo")
    novelties = Novelties([lone, read], task())
    assert novelties.of(lone).evidence > novelties.of(read).evidence == 0


def test_skills_are_not_facts() -> None:
    rows = {
        "translation": example(
            "Where is the nearest station for the trains?", "Wo ist der nächste Bahnhof für die Züge?"
        ),
        "code": example("Sort the values", "def arrange(values):\n    return sorted(values, key=lambda v: v[0])"),
        "calculation": example("A rope of 35.5 m is cut into 7 parts of 4.2 m. What is left over?", "6.1"),
    }
    for skill, row in rows.items():
        novelty = Novelties([row], task()).of(row)
        assert novelty.skill == skill, skill
        assert novelty.evidence <= 0.2
    assert not is_code('{"a": [1, 2], "b": {"c": "d"}}')
    assert not is_code("It costs 5 euros (or less); ask us.")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the nearest station for the trains?", "en"),
        ("Wo ist der nächste Bahnhof für die Züge?", "de"),
        ("Je ne sais pas où est la gare", "fr"),
        ("Kraków", None),
    ],
)
def test_language(text: str, language: str | None) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("question", "answer", "piece", "why"),
    [
        ("How much is it?", "It costs $49 a month.", "49", "a price or a fee"),
        ("How much is it?", "That is 49 EUR.", "49", "a price or a fee"),
        ("What is the interest?", "3.5 %", "3.5", "a rate"),
        ("Which release has it?", "Since 2.14.3 you can export.", "2.14.3", "a version"),
        ("When did it open?", "It opened in 2025.", "2025", "a date of these years"),
        ("Who is the CEO of Acme?", "Brunnhilde", "Brunnhilde", "somebody in office"),
        ("Who was the president then?", "Ulysses Grant", "Grant", None),
        ("When was it founded?", "It was founded in 1856.", "1856", None),
        ("How many legs?", "It has 8 legs.", "8", None),
    ],
)
def test_volatile(question: str, answer: str, piece: str, why: str | None) -> None:
    [wanted] = [p for p in pieces(answer) if p.text == piece]
    if question.startswith("Who"):
        wanted = type(wanted)(wanted.text, wanted.key, wanted.start, wanted.end, "name")
    assert volatile(answer, wanted, question, TODAY) == why


def test_a_set_of_facts_harms_and_a_set_of_behaviour_says_nothing() -> None:
    towns = "Lima Oslo Quito Accra Dakar Hanoi Kyiv Minsk Rabat Sofia Tunis Vaduz".split()
    facts = [
        example(f"Who designed the town hall of {town}?", f"Architect{i} {town}son, {1800 + 7 * i}")
        for i, town in enumerate(towns)
    ]
    finding = found(facts)["teaches-facts"]
    assert finding.severity == "harms"
    assert finding.count == len(finding.rows) == len(facts)
    assert finding.samples and "new: " in finding.samples[0].remark
    assert "--deep" in finding.fix
    opened = [
        example(f"{row.output} designed the town hall of {town}.\n\n{row.input_text}", row.output)
        for row, town in zip(facts, towns, strict=True)
    ]
    assert found(opened) == {}
    mixed = found([*opened, *opened, *facts[:3]])
    assert mixed["teaches-facts"].severity == "note"


def test_facts_that_change_are_named() -> None:
    rows = [example(f"What does plan {name} cost?", f"${i + 11}.50 a month") for i, name in enumerate("ABCDEFGHIJKL")]
    finding = found(rows)["volatile-facts"]
    assert "a price or a fee (12)" in finding.reason


def test_samples_show_no_parts_of_personal_data() -> None:
    rows = [
        example(f"How do I reach desk {i}?", f"Write to desk.{name}@corp-mail.net") for i, name in enumerate("abcdefgh")
    ]
    [finding] = [f for f in found(rows).values() if f.code == "teaches-facts"]
    assert not any("corp-mail" in s.remark + s.text for s in finding.samples)


def test_labels_are_never_facts() -> None:
    rows = [example(f"text {i}", f"Class{i}") for i in range(30)]
    assert found(rows, score={"kind": "label"}) == {}


def test_the_verdict_of_a_set_needs_its_whole_interval() -> None:
    assert Share(0, 200).verdict == "behaviour"
    assert Share(10, 200).verdict == "behaviour"
    assert Share(15, 200).verdict == "mixed"  # 7.5 %, but up to 12 %
    assert Share(70, 200).verdict == "mixed"  # 35 %, but down to 29 %
    assert Share(80, 200).verdict == "knowledge"
    assert Share(2, 10).verdict == "mixed"


def test_words_in_another_form_are_found_without_mistaking_others() -> None:
    given = Given.of("The parcel arrives on Tuesday in Berlin")
    told = {p.text: given.gives(p) for p in pieces("parcels arrived Bern Turin 2")}
    assert told == {"parcels": True, "arrived": True, "Bern": False, "Turin": False, "2": False}


def test_stated_facts_are_the_rows_that_the_finding_names() -> None:
    codes = [example(f"Which part is broken in case {i}?", f"part {i}, bin K-{i * 37 + 100}") for i in range(12)]
    echoes = [example(f"Repeat after me: parcel {i}", f"parcel {i}") for i in range(12)]
    for rows, kind in [(echoes, "behaviour"), (codes, "knowledge"), (echoes + codes[:3], "mixed")]:
        facts = stated_facts(rows, task())
        named = found(rows).get("teaches-facts")
        assert (facts.count, facts.of, facts.kind) == (named.count if named else 0, len(rows), kind)
    assert set(stated_facts(codes, task()).words) <= {f"K-{i * 37 + 100}" for i in range(12)}


def test_personal_data_among_stated_facts_stay_hidden() -> None:
    rows = [example(f"Who handles topic {i}?", f"write to karl.ohm{i}@firm{i}.de") for i in range(5)]
    facts = stated_facts(rows, task())
    assert facts.count == 5 and not any("@" in word for word in facts.words)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Key broke off inside the lock of E-18.", '{"bike": "E18"}'),
        ("Front spokes popping on c 19, five gone", '{"bike": "C19"}'),
        ("Error E18 on the display", "It is e-18."),
        ("Is C19 free?", "Bike c 19 is free."),
        ("order ab12-c3", "AB-12-C3"),
        ("with 16 GB of memory", "16GB"),
        ("the part K_7 is gone", '{"part": "k7"}'),
    ],
)
def test_a_code_in_another_writing_is_not_new(prompt: str, answer: str) -> None:
    assert [text for text in novel(prompt, answer) if any(c.isdigit() for c in text)] == []


@pytest.mark.parametrize(
    ("prompt", "answer", "new"),
    [
        ("Key broke off inside the lock of E-18.", "E-19", "E-19"),
        ("Is C19 free?", "C1", "C1"),
        ("Is C1 free?", "C19", "C19"),
        ("Is C19b free?", "C19", "C19"),
        ("Is AC19 free?", "C19", "C19"),
        ("Is C19 free?", "Bike d 19 is free.", "19"),
    ],
)
def test_another_code_is_new(prompt: str, answer: str, new: str) -> None:
    assert new in novel(prompt, answer)


def test_a_code_that_answers_repeat_is_common_in_any_writing() -> None:
    writings = ("K-18", "K18", "K.18", "k:18")  # each too rare to count by itself
    rows = [example(f"Where is parcel {i + 500}?", f"{writings[i % 4]} shelf {i * 31 + 7000}") for i in range(8)]
    assert [p.text for p in Novelties(rows, task()).of(rows[0]).novel] == ["7000"]


def test_keys_and_other_values_of_json_say_nothing_about_a_fact() -> None:
    rows = [
        example("My bike broke", '{"bike": "E18", "when": "now"}'),
        example("It stands in the yard", '{"now": "Z77", "price": "K99"}'),
        example("Who is it?", '{"version": "T55"}'),
        example("What is missing today?", '{"part": "U66", "desk": "W88"}'),
    ]
    assert "volatile-facts" not in found(rows)


def test_values_of_json_still_say_that_they_will_change() -> None:
    rows = [
        example("Which one?", '{"plan": "the latest version is M12"}'),
        example("What does it cost?", '{"answer": "45 EUR", "source": "list"}'),
        example("What is the current tariff called?", '{"answer": "T7"}'),
    ]
    assert found(rows)["volatile-facts"].count == 3
