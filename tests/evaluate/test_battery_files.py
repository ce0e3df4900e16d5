"""Files that a user names: every form found in the wild, and what is wrong with a row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import DataError
from luthier.evaluate._battery_files import read_general
from luthier.evaluate._battery_items import ChoiceFamily, Option

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "general"


def read(tmp_path: Path, *rows: object, name: str = "set.jsonl") -> ChoiceFamily:
    file = tmp_path / name
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    found = read_general(file)
    assert isinstance(found, ChoiceFamily)
    return found


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ({"question": "Q?", "choices": ["x", "y", "z"], "answer": 2}, 2),
        ({"question": "Q?", "choices": ["x", "y", "z"], "answer": "B"}, 1),
        ({"question": "Q?", "choices": ["x", "y", "z"], "answer": "y"}, 1),
        ({"question": "Q?", "choices": ["x", "y", "z"], "answer": "2"}, 2),
        ({"question": "Q?", "choices": ["10", "1", "0"], "answer": "1"}, 1),  # a text before an index
        ({"question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, 1),
        ({"question": "Q?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "1"}, 0),
        ({"query": "He went", "choices": ["home.", "blue."], "gold": 1}, 1),
    ],
)
def test_forms_of_questions(tmp_path: Path, row: dict[str, object], right: int) -> None:
    (item,) = read(tmp_path, row).items
    assert item.right == right
    context = "He went" if "query" in row else "Question: Q?\nAnswer:"
    assert {option.context for option in item.options} == {context}
    assert all(option.continuation.startswith(" ") for option in item.options)


def test_a_repeated_choice_is_one_option(tmp_path: Path) -> None:
    (item,) = read(tmp_path, {"question": "Q?", "choices": ["b", "b", "c", "c"], "answer": 3}).items
    assert ([option.continuation for option in item.options], item.right) == ([" b", " c"], 1)


def test_a_blank_is_scored_by_what_follows_it(tmp_path: Path) -> None:
    row = {"sentence": "Ann paid because _ was rich.", "option1": "Ann", "option2": "Ben", "answer": "2"}
    (item,) = read(tmp_path, row).items
    assert item.right == 1
    assert item.options[1] == Option("Ann paid because Ben", " was rich.")


def test_last_words_are_one_option(tmp_path: Path) -> None:
    (item,) = read(tmp_path, {"context": "I go to ", "continuation": " bed"}).items
    assert item.options == (Option("I go to", " bed"),)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ({"text": "x"}, "the keys text are no known form"),
        ({"question": "Q?", "answer": "no choices: GSM8K"}, "the keys answer, question are no known form"),
        ({"question": " ", "choices": ["a", "b"], "answer": 0}, "`question` must be text and not empty"),
        ({"question": "Q?", "choices": ["a"], "answer": 0}, "two or more"),
        ({"question": "Q?", "choices": ["a", 3], "answer": 0}, "a choice is empty or not text"),
        ({"question": "Q?", "choices": ["a", "a"], "answer": 0}, "all choices are the same"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": 2}, "the answer 2 is no index from 0 to 1"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": True}, "the answer True"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": "E"}, "the answer 'E'"),
        ({"question": "Q?", "choices": ["a", "b"]}, "no `answer`"),
        ({"question": "Q?", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}, "differ in length"),
        (
            {"question": "Q?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"},
            "none of the labels",
        ),
        ({"query": "Q", "choices": ["a", "b"]}, "no `gold`"),
        ({"sentence": "No blank.", "option1": "a", "option2": "b", "answer": "1"}, "needs a blank"),
        ({"sentence": "At the end _", "option1": "a", "option2": "b", "answer": "1"}, "needs a blank"),
        ({"sentence": "A _ here.", "option1": "a", "option2": "b", "answer": "3"}, "`answer` must be 1 or 2"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, problem: str) -> None:
    good = {"question": "Q?", "choices": ["a", "b"], "answer": 0}
    with pytest.raises(DataError) as error:
        read(tmp_path, good, "", row)
    (found,) = error.value.problems
    assert problem in found.what
    assert str(found).startswith(f"{tmp_path / 'set.jsonl'}:3: ")
    assert "1 of 2 rows" in error.value.what and error.value.fix


def test_all_problems_are_counted_and_twenty_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="30 of 30 rows") as error:
        read(tmp_path, *[{"nothing": i} for i in range(30)])
    assert [p.line for p in error.value.problems] == list(range(1, 21))


def test_json_lines_are_known_by_their_content_too(tmp_path: Path) -> None:
    assert len(read(tmp_path, {"question": "Q?", "choices": ["a", "b"], "answer": 0}, name="set.txt").items) == 1


def test_unusual_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    row = json.dumps({"question": "A\u2028B?", "choices": ["a", "b"], "answer": 0}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n{row}\r\n".encode())
    found = read_general(file)
    assert isinstance(found, ChoiceFamily) and len(found.items) == 2


def test_anything_else_is_text(tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text("{Once} upon a time\nthere was a text.\n")
    assert read_general(file) == "{Once} upon a time\nthere was a text.\n"


def test_empty_and_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text(" \n")
    with pytest.raises(DataError, match="is empty"):
        read_general(file)
    file.write_bytes(b"caf\xe9 au lait")
    with pytest.raises(DataError, match=r"not UTF-8 \(byte 3\)"):
        read_general(file)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "items", "options"),
    [
        ("arc_easy", 570, {3, 4, 5}),
        ("arc_challenge", 299, {3, 4, 5}),
        ("hellaswag", 500, {4}),
        ("winogrande", 1267, {2}),
        ("lambada", 1000, {1}),
        ("mmlu", 1531, {3, 4}),
    ],
)
def test_public_sets_are_read(name: str, items: int, options: set[int]) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data sets are not here")
    family = read_general(SHARED / f"{name}.jsonl")
    assert isinstance(family, ChoiceFamily)
    assert len(family.items) == items
    assert {len(item.options) for item in family.items} <= options
