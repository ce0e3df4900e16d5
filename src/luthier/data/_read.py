"""Read examples and traffic, whatever their form, and name every row that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from luthier.data._arrow import is_saved_dataset, read_saved_dataset, shards
from luthier.data._errors import RowError
from luthier.data._examples import Example, Message, Source
from luthier.data._files import read_rows
from luthier.data._foreign import understood
from luthier.data._forms import Form, example_of, form_of, input_of, rest_of
from luthier.data._rows import Row, Rows
from luthier.errors import DataError, Problem
from luthier.spec import did_you_mean

SHOWN = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What a file holds: the usable examples, and one problem for each row that cannot be used.

    `rest` is, where it was asked for, what the row of each example holds besides it.
    """

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    rest: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class InputReading:
    """What a file of inputs holds: the usable ones with their places, and one problem for each row that is not."""

    inputs: tuple[tuple[Message, ...], ...]
    sources: tuple[Source, ...]
    problems: tuple[Problem, ...]


def read_examples(path: Path, *, group: str | None = None, time: str | None = None) -> list[Example]:
    """Examples from a file or folder in any common format, told apart by content.

    JSON Lines, JSON, YAML, CSV, TSV, Parquet, a dataset folder of Hugging Face; rows as chat messages, prompt and
    completion (and their usual other names), Alpaca, ShareGPT, preference pairs, question, context and answer, or test
    cases of promptfoo, Inspect and lm-eval. `group` names
    the key whose equal values must not be divided between train and test; without it, rows with the same `context` are
    one group. `time` names the key that holds each row's date.

    Raises:
        DataError: rows cannot be used; `problems` holds the first 20 with file and line, the message their number.
    """
    reading = scan_examples(path, group=group, time=time)
    if reading.problems:
        fix = "correct these rows, or write a copy without them: luthier check --fix"
        raise _refusal(path, reading.problems, len(reading.examples), fix)
    return list(reading.examples)


def scan_examples(path: Path, *, group: str | None = None, time: str | None = None, keep_rest: bool = False) -> Reading:
    """As `read_examples`, but rows that cannot be used are given back beside the others, and the `rest` on request.

    Raises:
        DataError: the file as a whole cannot be used.
    """
    rows = _rows(path, True)
    for setting, key in (("group", group), ("time", time)):
        if key is not None:
            _known_key(path, rows, setting, key)

    nothing: dict[str, Any] = {}

    def read(row: Row, form: Form) -> tuple[Example, dict[str, Any]]:
        return example_of(row, form, group, time), rest_of(row, form) if keep_rest else nothing

    found, problems = _each(path, rows, True, read)
    rest = tuple(more for _, more in found) if keep_rest else ()
    return Reading(tuple(example for example, _ in found), tuple(problems), rest)


def _known_key(path: Path, rows: Rows, setting: str, key: str) -> None:
    """Raises: DataError: no row has the key that `split` names."""
    if rows.rows and not any(key in row.value for row in rows.rows):
        keys = list(dict.fromkeys(str(other) for row in rows.rows for other in row.value))
        raise DataError(
            f"no row of {path} has the key `{key}`{did_you_mean(key, keys)}",
            why=f"split.{setting} names it; there are {', '.join(keys[:20])}",
            fix=f"correct split.{setting} in luthier.yaml",
        )


def read_inputs(path: Path) -> list[tuple[Message, ...]]:
    """Inputs without wanted outputs (traffic), in the same formats; outputs that are there are left out.

    Raises:
        DataError: rows cannot be used; `problems` holds the first 20 with file and line, the message their number.
    """
    reading = scan_inputs(path)
    if reading.problems:
        raise _refusal(path, reading.problems, len(reading.inputs), "correct or remove these rows")
    return list(reading.inputs)


def scan_inputs(path: Path) -> InputReading:
    """As `read_inputs`, but rows that cannot be used are given back beside the others.

    Raises:
        DataError: the file as a whole cannot be used.
    """
    found, problems = _each(path, _rows(path, False), False, lambda row, form: (input_of(row, form), row.source))
    return InputReading(tuple(i for i, _ in found), tuple(source for _, source in found), tuple(problems))


def first_row(path: Path) -> dict[str, Any]:
    """The first row of a file or folder with its keys as they stand there.

    Raises:
        DataError: the file as a whole cannot be used, or no row of it is one.
    """
    rows = _rows(path, True).rows
    if not rows:
        raise DataError(f"no row of {path} can be read", fix="luthier check")
    return rows[0].value


def _rows(path: Path, labelled: bool) -> Rows:
    rows = Rows()
    try:
        saved = is_saved_dataset(path)
        files = shards(path) if path.is_dir() and not saved else [path]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix="check the path and its permissions") from error
    if saved:
        rows = read_saved_dataset(path)
    else:
        for file in files:
            rows.extend(read_rows(file))
    if not rows.rows and not rows.problems:
        raise DataError(f"{path} has no rows", fix='write one JSON object a line: {"prompt": "…", "completion": "…"}')
    return understood(rows, labelled)


def _each(path: Path, rows: Rows, labelled: bool, read: Callable[[Row, Form], T]) -> tuple[list[T], list[Problem]]:
    """Every row by the file's form; a row in another form is a problem, as is one that cannot be read."""
    same: dict[Form | RowError, Form | RowError] = {}
    forms = [same.setdefault(form, form) for form in (_form_or_error(row, labelled) for row in rows.rows)]
    known = Counter(form for form in forms if isinstance(form, Form))
    if rows.rows and not known:
        problem = Problem(str(forms[0]), rows.rows[0].source.file, rows.rows[0].source.line)
        fix = "rename the keys, for example to `prompt` and `completion`"
        raise DataError(f"no row of {path} has a form that luthier knows", fix=fix, problems=[problem])
    found: list[T] = []
    problems = list(rows.problems)
    main = known.most_common(1)[0][0] if known else None
    waiting = rows.rows[::-1]
    rows.rows.clear()
    for form in forms:
        row = waiting.pop()  # and let go: a file is not held as rows and as examples at once
        try:
            if isinstance(form, RowError):
                raise form
            if form != main:
                what = f"the row has {form}, and most rows of the file have {main}; write all rows in one form"
                raise RowError("mixed-forms", what)
            found.append(read(row, form))
        except RowError as error:
            problems.append(Problem(str(error), row.source.file, row.source.line, error.code))
    return found, sorted(problems, key=lambda p: (str(p.file), p.line or 0))


def _form_or_error(row: Row, labelled: bool) -> Form | RowError:
    try:
        return form_of(row.value, labelled=labelled)
    except RowError as error:
        return error


def _refusal(path: Path, problems: Sequence[Problem], usable: int, fix: str) -> DataError:
    total = len(problems) + usable
    shown = f" (the first {SHOWN} are named)" if len(problems) > SHOWN else ""
    return DataError(
        f"{len(problems):,} of {total:,} rows of {path} cannot be used{shown}",
        why="a row that is dropped in silence would change what is measured",
        fix=fix,
        problems=problems[:SHOWN],
    )
