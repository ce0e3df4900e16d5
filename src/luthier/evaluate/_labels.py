"""Labels of people: answers written into a table to be labelled, and the table read back."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luthier.data import content_hash
from luthier.errors import DataError, Problem
from luthier.spec import JudgeScore

COLUMNS = ("id", "input", "wanted", "answer", "label")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ID = re.compile(r"a[0-9a-f]{15}")
_SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n")  # the line before the first one, as Excel reads and writes it
MOST_SHOWN = 20


@dataclass(frozen=True)
class ToLabel:
    """An answer to be labelled. `label` is empty until it is."""

    id: str
    input: str
    wanted: str
    answer: str
    label: str = ""
    more: Mapping[str, str] = field(default_factory=dict)  # columns of the reader's own


@dataclass(frozen=True)
class Labels:
    """A table that was read: scores by the id of the answer, and how many rows have no label yet."""

    scores: Mapping[str, float] = field(default_factory=dict)
    empty: int = 0


def answer_id(case: str, answer: str) -> str:
    """The id of an answer to a case; it says nothing of which rung gave it, and rungs that agree share it.

    It begins with a letter, so that no spreadsheet takes it for a number.
    """
    return "a" + content_hash(["labelled answer", case, answer])[:15]


def drawing_order(split: str, cases: Iterable[str]) -> list[str]:
    """Cases in the random order in which their answers are labelled; `split` is the hash of the split, as a seed."""
    return sorted(cases, key=lambda case: content_hash([split, "to label", case]))


def usable_labels(scores: Mapping[str, float], answers: Mapping[str, str], order: Iterable[str]) -> dict[str, float]:
    """The labels of a rung by case: those of the first cases in the drawing order, up to the first without one.

    Labels beyond a gap are not a random part of the cases. When a rung is built anew, those of its answers that stayed
    the same have labels already, and these are easier than the rest.
    """
    found = {}
    for case in order:
        score = scores.get(answer_id(case, answers[case])) if case in answers else None
        if score is None:
            break
        found[case] = score
    return found


def label_words(settings: JudgeScore) -> dict[str, float]:
    """What a person may write as a label, with the score that it means."""
    if settings.mode == "pairwise":
        return {"better": 1.0, "same": 0.5, "worse": 0.0}
    if settings.scale == "pass/fail":
        return {"pass": 1.0, "fail": 0.0}
    return {str(grade): (grade - 1) / 4 for grade in range(1, 6)}


def label_table(rows: Sequence[ToLabel]) -> str:
    """The table as CSV, in the order given. Cells that a spreadsheet would run get a quote."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a bare return in a text ends no row then
    more = list(dict.fromkeys(name for row in rows for name in row.more))
    writer.writerow([*COLUMNS, *more])
    for row in rows:
        own = [row.more.get(name, "") for name in more]
        writer.writerow([row.id, *map(_harmless, (row.input, row.wanted, row.answer)), row.label, *own])
    return out.getvalue()


def read_labels(path: Path, settings: JudgeScore) -> Labels:
    """The labels of a table. Rows without one are counted; the texts beside them are not read.

    Raises:
        DataError: no such file, no such columns, or labels that mean nothing; all with their lines.
    """
    words, problems = label_words(settings), []
    scores: dict[str, float] = {}
    empty = 0
    for line, row in _rows(path):
        key, label = row.id.strip(), row.label.strip().casefold()
        if not _ID.fullmatch(key):
            problems.append(Problem(f"`{key[:40]}` is no id that `luthier judge --sample` writes", path, line))
        elif not label:
            empty += 1
        elif label not in words:
            problems.append(Problem(f"`{row.label[:40]}` is no label; write {_or(words)}", path, line))
        elif scores.setdefault(key, words[label]) != words[label]:
            problems.append(Problem(f"{key} is labelled twice, differently", path, line))
    if problems:
        more = f" (the first {MOST_SHOWN} are shown)" if len(problems) > MOST_SHOWN else ""
        raise DataError(
            f"{len(problems)} labels in {path.name} cannot be used{more}",
            why="a label that is guessed at would correct the judge by the guess",
            fix="correct these lines; the ids must stay as they were written",
            problems=problems[:MOST_SHOWN],
        )
    return Labels(scores, empty)


def read_table(path: Path) -> list[ToLabel]:
    """The rows of a table as they stand, so that more can be added to them.

    Raises:
        DataError: it cannot be read, or has not the columns.
    """
    return [row for _, row in _rows(path)]


def _rows(path: Path) -> list[tuple[int, ToLabel]]:
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}", fix="write it: luthier judge --sample 60") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", fix="save it as CSV in UTF-8") from error
    told = _SEPARATOR.match(text)
    head = text.partition("\n")[0]
    # spreadsheets write what their language separates lists with
    delimiter = told[1] if told else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    before = csv.field_size_limit(max(len(text), 1))  # one answer may be as long as the file
    try:
        if told:
            next(reader)
        names = [name.strip().casefold() for name in next(reader, [])]
        missing = [name for name in ("id", "label") if name not in names]
        if missing:
            raise DataError(
                f"{path} has no column {' and no column '.join(missing)}",
                why="its first line names the columns",
                fix=f"keep the line `{','.join(COLUMNS)}` as the first one",
            )
        line = reader.line_num + 1  # where the row begins: quoted cells span lines
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = dict(zip(names, cells, strict=False))
                more = {name: cell for name, cell in row.items() if name not in COLUMNS and name}
                key, asked, wanted, answer, label = (_plain(row.get(name, "")) for name in COLUMNS)
                rows.append((line, ToLabel(key, asked, wanted, answer, label, more)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} is no CSV from line {reader.line_num} on: {error}", fix="save it as CSV again, with quoted cells"
        ) from error
    finally:
        csv.field_size_limit(before)
    return rows


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) or text.startswith("'") else text


def _plain(text: str) -> str:
    """The inverse of `_harmless`."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*_FORMULA, "'")) else text


def _or(words: Mapping[str, float]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"
