"""What the battery asks: the shipped items, and that none of them is trained on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from luthier.errors import DataError, PathError
from luthier.evaluate import build_battery, replay_prompts
from luthier.evaluate._battery_items import (
    chat_prompts,
    openings,
    shipped_asks,
    shipped_choices,
    spread,
    sums,
)
from luthier.evaluate._instructions import words
from luthier.models import ScriptedModel, load_model


def silent(_: object) -> str:
    raise AssertionError("building a battery must not ask the model anything")


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return load_model(str(tiny_model_folder))


def test_there_are_enough_items() -> None:
    sizes = {family.name: len(family.items) for family in (*shipped_choices("full"), *shipped_asks("full"))}
    assert sizes == {
        "arithmetic": 96,
        "facts": 124,
        "reading": 52,
        "language": 120,
        "instructions": 44,
        "refusals": 36,
        "harmless answers": 36,
    }
    assert (len(chat_prompts("full")), len(openings("full")), len(replay_prompts())) == (52, 16, 90)


def test_quick_takes_fewer_of_the_same() -> None:
    for quick, full in zip(
        (*shipped_choices("quick"), *shipped_asks("quick")),
        (*shipped_choices("full"), *shipped_asks("full")),
        strict=True,
    ):
        assert len(quick.items) < len(full.items)
        assert all(item in full.items for item in quick.items)


def test_no_item_stands_twice_and_options_differ() -> None:
    for family in shipped_choices("full"):
        assert len({item.label for item in family.items}) == len(family.items), family.name
        for item in family.items:
            assert len(set(item.options)) == len(item.options) > 1, item.label
            assert all(option.continuation.strip() and option.context for option in item.options)


def test_sums_are_right_and_their_wrong_results_wrong() -> None:
    for item in sums():
        a, sign, b = item.text.split()
        assert item.value == {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
        assert item.value not in item.wrong and len(set(item.wrong)) == 3 and min(item.wrong) >= 0


def test_sums_leave_the_global_random_state_alone() -> None:
    random.seed(5)
    wanted = random.random()
    random.seed(5)
    sums()
    assert random.random() == wanted


def test_minimal_pairs_differ_in_little() -> None:
    family = next(f for f in shipped_choices("full") if f.name == "language")
    for item in family.items:
        good, bad = (set(words(option.continuation)) for option in item.options)
        assert len(good ^ bad) <= 6, item.label


def test_replay_and_battery_share_no_prompt() -> None:
    """Not even nearly: two prompts that have most of their words in common would ask the same thing."""
    asked = [*chat_prompts("full"), *openings("full")]
    asked += [item.prompt for family in shipped_asks("full") for item in family.items]
    asked += [item.label for family in shipped_choices("full") for item in family.items]
    seen = [{w.casefold() for w in words(text)} for text in asked]
    for prompt in replay_prompts():
        own = {w.casefold() for w in words(prompt)}
        assert max(len(own & other) / len(own | other) for other in seen) <= 0.6, prompt


def test_spread_is_even_and_in_order() -> None:
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread("abc", 7) == ["a", "b", "c"]


def test_hash_covers_base_size_and_files(base, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "One?", "choices": ["a", "b"], "answer": 0}\n')
    first = build_battery(base, extra=[file])
    assert build_battery(base, extra=[file], cache=tmp_path).hash == first.hash
    file.write_text('{"question": "One?", "choices": ["a", "b"], "answer": 1}\n')
    others = {build_battery(base, extra=[file]).hash, build_battery(base).hash, build_battery(base, size="quick").hash}
    renamed = ScriptedModel(silent, identity="another")
    assert len(others | {first.hash, build_battery(renamed).hash}) == 5


def test_an_endpoint_gets_what_it_can_answer(tmp_path: Path) -> None:
    battery = build_battery(ScriptedModel(silent, identity="x"), extra=[tmp_path / "arc.jsonl"])
    assert [f.name for f in battery.asks] == ["arithmetic", "instructions", "refusals", "harmless answers"]
    assert battery.choices == () and battery.texts == ()
    assert "gives no log-probabilities" in battery.notes[0] and "arc.jsonl is not measured" in battery.notes[1]


def test_user_files_join_the_battery(base, tmp_path: Path) -> None:
    questions, text = tmp_path / "law.jsonl", tmp_path / "letters.txt"
    questions.write_text('{"question": "One?", "choices": ["a", "b"], "answer": "b"}\n' * 300)
    text.write_text("The parcel was sent to the wrong address. " * 800)
    battery = build_battery(base, extra=[questions, text])
    assert (battery.choices[-1].name, len(battery.choices[-1].items), battery.choices[-1].items[0].right) == (
        "law",
        250,
        1,
    )
    pieces = battery.texts[-1]
    assert (pieces.name, pieces.source, len(pieces.prompts)) == ("letters", "file", 16)
    assert all(200 <= len(base.tokenizer.encode(piece)) <= 257 for piece in pieces.prompts)
    assert battery.notes[0] == "law.jsonl: 250 of 300 questions, evenly spaced"
    assert battery.notes[1].startswith("letters.txt: 16 of ")


def test_a_short_text_is_cut_into_eight(base, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("The parcel was sent to the wrong address. " * 20)
    assert len(build_battery(base, extra=[text]).texts[-1].prompts) >= 8
    text.write_text("Too short.")
    with pytest.raises(DataError, match="too short"):
        build_battery(base, extra=[text])


def test_two_files_of_one_name_are_refused(base, tmp_path: Path) -> None:
    for name in ("a/arc.jsonl", "b/arc.jsonl", "facts.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"question": "One?", "choices": ["a", "b"], "answer": 0}\n')
    with pytest.raises(DataError, match="already a family named 'arc'"):
        build_battery(base, extra=[tmp_path / "a/arc.jsonl", tmp_path / "b/arc.jsonl"])
    with pytest.raises(DataError, match="already a family named 'facts'"):
        build_battery(base, extra=[tmp_path / "facts.jsonl"])


def test_a_missing_file_is_an_error(base, tmp_path: Path) -> None:
    with pytest.raises(PathError, match=r"gone\.jsonl cannot be read"):
        build_battery(base, extra=[tmp_path / "gone.jsonl"])
