"""Files that a user names for the battery: multiple choice in the forms found in the wild, or plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import DataError, PathError, Problem
from luthier.evaluate._battery_items import ChoiceFamily, ChoiceItem, Option, question_options

_SHOWN_PROBLEMS = 20
_FORMS = (
    '{"question", "choices": [...], "answer": index}; {"question", "choices": {"text": [...], "label": [...]}, '
    '"answerKey"}; {"query", "choices", "gold"}; {"sentence" with _, "option1", "option2", "answer": "1" or "2"}; '
    '{"context", "continuation"}'
)


class _RowError(Exception):
    """What is wrong with one row."""


def read_general(path: Path) -> ChoiceFamily | str:
    """A user's file: a family of choice items when it holds JSON lines, else its text.

    The family's name is the file's name without its ending. All rows of a file must have one form.

    Raises:
        PathError: the file is missing or cannot be read.
        DataError: it is empty, not UTF-8, or rows cannot be used; every problem is counted, the first 20 are shown.
    """
    text = _read(path)
    if not text.strip():
        raise DataError(f"{path} is empty", fix="name a file with questions (JSON lines) or with plain text")
    if not _is_json_lines(path, text):
        return text
    items: list[ChoiceItem] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(_item(line))
        except _RowError as error:
            problems.append(Problem(str(error), path, number))
    if problems:
        raise DataError(
            f"{path}: {len(problems)} of {len(items) + len(problems)} rows cannot be used",
            why=f"a row must have one of the forms {_FORMS}",
            fix="correct or remove these rows",
            problems=problems[:_SHOWN_PROBLEMS],
        )
    return ChoiceFamily(path.stem, tuple(items), "per byte")


def general_texts(path: Path) -> str | list[str]:
    """What a user's file asks, a text for each question, or its running text.

    Raises:
        PathError, DataError: as `read_general`.
    """
    found = read_general(path)
    return found if isinstance(found, str) else [item.label for item in found.items]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PathError(
            f"{path} cannot be read: {error.strerror or error}", fix="correct `general` in luthier.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start})", fix=f"iconv -f LATIN1 -t UTF-8 {path} > {path}.utf8"
        ) from error


def _is_json_lines(path: Path, text: str) -> bool:
    if path.suffix in (".jsonl", ".ndjson"):
        return True
    first = text.lstrip().split("\n", 1)[0]
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _item(line: str) -> ChoiceItem:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _RowError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise _RowError("not a JSON object")
    if {"sentence", "option1", "option2"} <= row.keys():
        return _blank(row)
    if {"context", "continuation"} <= row.keys():
        return _last_words(row)
    if "query" in row and "choices" in row:
        return _ending(row)
    if "question" in row and "choices" in row:
        return _question(row)
    raise _RowError(f"the keys {', '.join(sorted(map(str, row))) or 'none'} are no known form of multiple choice")


def _question(row: Mapping[str, Any]) -> ChoiceItem:
    question = _text(row, "question")
    given = row["choices"]
    labels: Sequence[Any] | None = None
    if isinstance(given, dict):
        labels, given = given.get("label"), given.get("text")
    choices = _choices(given)
    if labels is not None and (not isinstance(labels, list) or len(labels) != len(choices)):
        raise _RowError("`choices.label` and `choices.text` differ in length")
    key = "answerKey" if "answerKey" in row else "answer"
    if key not in row:
        raise _RowError("no `answer` (or `answerKey`)")
    right = _right(row[key], choices, labels)
    return _distinct(question, question_options(question, choices), right)


def _ending(row: Mapping[str, Any]) -> ChoiceItem:
    query, choices = _text(row, "query"), _choices(row["choices"])
    key = "gold" if "gold" in row else "answer"
    if key not in row:
        raise _RowError("no `gold` (or `answer`)")
    options = tuple(Option(query, f" {choice}") for choice in choices)
    return _distinct(query, options, _right(row[key], choices, None))


def _distinct(label: str, options: Sequence[Option], right: int) -> ChoiceItem:
    """Public sets repeat a choice now and then; the same text twice is one option."""
    once = tuple(dict.fromkeys(options))
    return ChoiceItem(label, once, once.index(options[right]))


def _blank(row: Mapping[str, Any]) -> ChoiceItem:
    # The rest of the sentence is scored after either name (Trinh & Le 2018), so that names of unlike length compare.
    sentence = _text(row, "sentence")
    before, blank, after = sentence.partition("_")
    if not blank or not after.strip():
        raise _RowError("`sentence` needs a blank `_` with words after it")
    names = [_text(row, "option1"), _text(row, "option2")]
    answer = str(row.get("answer"))
    if answer not in ("1", "2"):
        raise _RowError(f"`answer` must be 1 or 2, not {answer!r}")
    return ChoiceItem(sentence, tuple(Option(before + name, after) for name in names), int(answer) - 1)


def _last_words(row: Mapping[str, Any]) -> ChoiceItem:
    context, continuation = _text(row, "context").rstrip(), _text(row, "continuation").strip()
    return ChoiceItem(f"{context} …", (Option(context, f" {continuation}"),))


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise _RowError(f"`{key}` must be text and not empty")
    return value


def _choices(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) < 2:
        raise _RowError("`choices` must be a list of two or more texts")
    if not all(isinstance(choice, str) and choice.strip() for choice in value):
        raise _RowError("a choice is empty or not text")
    if len(set(value)) < 2:
        raise _RowError("all choices are the same")
    return value


def _right(answer: Any, choices: Sequence[str], labels: Sequence[Any] | None) -> int:
    """The index that `answer` means: a label, an index from 0, a letter from A, or the text of a choice."""
    if labels is not None:
        if answer in labels:
            return labels.index(answer)
        raise _RowError(f"the answer {answer!r} is none of the labels {labels}")
    if isinstance(answer, int) and not isinstance(answer, bool):
        if 0 <= answer < len(choices):
            return answer
        raise _RowError(f"the answer {answer} is no index from 0 to {len(choices) - 1}")
    if answer in choices:
        return choices.index(answer)
    if isinstance(answer, str) and len(answer) == 1 and 0 <= ord(answer.upper()) - ord("A") < len(choices):
        return ord(answer.upper()) - ord("A")
    if isinstance(answer, str) and answer.isdigit() and int(answer) < len(choices):
        return int(answer)
    raise _RowError(f"the answer {answer!r} is no index, letter or text of a choice")
