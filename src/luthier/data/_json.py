"""JSON without the leniencies that hide mistakes, and the place of every row in a JSON document."""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.data._rows import ROW_KEYS, Rows
from luthier.errors import DataError, Problem

SHARED = ("prompts", "defaultTest")  # what the test cases of a promptfoo file have in common
_SPACE = re.compile(r"[ \t\n\r]*")


class BadValue(ValueError):
    """JSON that parses but says something that cannot be meant."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadValue(f"the key `{twice}` stands twice in one object")
    return value


def _refuse_constant(text: str) -> Any:
    raise BadValue(f"{text} is not JSON; write null or leave the row out")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadValue(f"the number {text[:20]} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > 300:
        raise BadValue("a number with more than 300 digits")
    return int(text)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
)
_LENIENT = json.JSONDecoder(parse_int=str, parse_float=str)


def parse_json(text: str) -> Any:
    """One JSON value.

    Raises:
        BadValue: not JSON, a key twice in an object, NaN or infinity, nested too deeply.
    """
    try:
        return _STRICT.decode(text)
    except json.JSONDecodeError as error:
        what = "more text after the value" if error.msg == "Extra data" else error.msg
        raise BadValue(f"not JSON: {what} (column {error.colno})") from error
    except RecursionError as error:
        raise BadValue("nested too deeply") from error


def holds_rows(text: str) -> bool:
    """Whether a text is an object with a list of rows, though a value in it may be one that `parse_json` refuses."""
    try:
        value = _LENIENT.decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and any(map(_is_row_list, value.values()))


def read_json_document(text: str, path: Path) -> Rows:
    """Rows of a JSON array, of an object that is one row, or of an object with a list of rows (SQuAD's nesting too).

    Raises:
        DataError: not JSON as a whole, or no list of rows in it.
    """
    try:
        return _Document(text, path).rows()
    except json.JSONDecodeError as error:
        problem = Problem(f"not JSON: {error.msg} (column {error.colno})", path, error.lineno)
        fix = "correct this place; rows after it could not be read"
        raise DataError(f"{path} is not JSON", fix=fix, problems=[problem]) from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply", fix="write one row a line (JSON Lines)") from error


class _Document:
    """A JSON text whose rows are read one by one, so that each keeps its line."""

    def __init__(self, text: str, path: Path) -> None:
        self.text, self.path = text, path
        self.line_ends = [match.start() for match in re.finditer("\n", text)]
        self.single_line = "\n" not in text.strip()
        self.found = Rows()

    def rows(self) -> Rows:
        start = self.skip(0)
        _, end = _LENIENT.raw_decode(self.text, start)
        if self.skip(end) < len(self.text):
            raise json.JSONDecodeError("text after the end of the value", self.text, self.skip(end))
        if self.text[start] == "[":
            self.add_items(start)
        elif self.text[start] == "{":
            self.add_object(start)
        else:
            raise DataError(f"{self.path} holds no rows", fix="write one JSON object a line")
        return self.found

    def add_object(self, start: int) -> None:
        members = {key: (place, value) for key, place, value in self.members(start)}
        if "tests" in members and _is_row_list(members["tests"][1]):
            shared = {key: members[key][1] for key in SHARED if key in members}
            self.add_items(members["tests"][0], shared)
            return
        columns = [key for key, (_, value) in members.items() if key in ROW_KEYS and _is_column(value)]
        lists = [key for key, (_, value) in members.items() if _is_row_list(value) and key not in ROW_KEYS]
        if len(columns) > 1:
            names = " and ".join(f"`{name}`" for name in columns[:2])
            fix = "write one object a row, for example with pandas: to_json(orient='records', lines=True)"
            raise DataError(f"{self.path} is written by columns: {names} are lists of values", fix=fix)
        if not lists:
            self.add(start)
        elif len(lists) == 1:
            self.add_items(members[lists[0]][0])
        else:
            names = ", ".join(f"`{name}`" for name in lists)
            raise DataError(
                f"{self.path} holds several lists of rows: {names}",
                why="which of them holds the examples is not for luthier to guess",
                fix="write each list to a file of its own",
            )

    def add_items(self, start: int, around: dict[str, Any] | None = None) -> None:
        for place, value in self.items(start):
            if isinstance(value, dict) and isinstance(value.get("paragraphs"), list):
                self.add_squad(place)
            else:
                self.add(place, around)

    def add_squad(self, start: int) -> None:
        """SQuAD's nesting: article, paragraphs with a context, questions (Rajpurkar et al. 2016)."""
        article = {key: (place, value) for key, place, value in self.members(start)}
        title = {"title": article["title"][1]} if "title" in article else {}
        for paragraph_place, paragraph in self.items(article["paragraphs"][0]):
            if not isinstance(paragraph, dict):
                self.problem(paragraph_place, "a paragraph must be an object with `context` and `qas`", "wrong-keys")
                continue
            parts = {key: (place, value) for key, place, value in self.members(paragraph_place)}
            if not isinstance(paragraph.get("qas"), list) or "context" not in parts:
                self.problem(paragraph_place, "a paragraph must have `context` and a list `qas`", "wrong-keys")
                continue
            for place, _ in self.items(parts["qas"][0]):
                self.add(place, title | {"context": parts["context"][1]})

    def add(self, place: int, around: dict[str, Any] | None = None) -> None:
        try:
            value, _ = _STRICT.raw_decode(self.text, place)
        except BadValue as error:
            self.problem(place, str(error), "bad-json")
            return
        self.found.add(self.path, self.line(place), value if around is None else _with(around, value))

    def problem(self, place: int, what: str, code: str) -> None:
        self.found.problem(self.path, self.line(place), what, code)

    def line(self, place: int) -> int:
        """The line; in a file of one line the number of the row, which says more."""
        if self.single_line:
            return len(self.found.rows) + len(self.found.problems) + 1
        return bisect.bisect_left(self.line_ends, place) + 1

    def skip(self, place: int) -> int:
        match = _SPACE.match(self.text, place)
        return place if match is None else match.end()

    def items(self, start: int) -> Iterator[tuple[int, Any]]:
        """(place, value) of each item of the array that begins at `start`; values are read leniently."""
        place = self.skip(start + 1)
        while self.text[place] != "]":
            value, end = _LENIENT.raw_decode(self.text, place)
            yield place, value
            place = self.skip(end)
            if self.text[place] == ",":
                place = self.skip(place + 1)

    def members(self, start: int) -> Iterator[tuple[str, int, Any]]:
        """(key, place of the value, value) of each member of the object that begins at `start`."""
        place = self.skip(start + 1)
        while self.text[place] != "}":
            key, end = _LENIENT.raw_decode(self.text, place)
            place = self.skip(self.skip(end) + 1)
            value, end = _LENIENT.raw_decode(self.text, place)
            yield key, place, value
            place = self.skip(end)
            if self.text[place] == ",":
                place = self.skip(place + 1)


def _with(around: dict[str, Any], value: Any) -> Any:
    return around | value if isinstance(value, dict) else value


def _is_row_list(value: Any) -> bool:
    """Whether a list holds rows; an item that is none must not hide the others."""
    return isinstance(value, list) and 2 * sum(isinstance(item, dict) for item in value) > len(value)


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and not any(isinstance(item, dict | list) for item in value)
