"""Rows of CSV and TSV tables, row by row also where quotes are broken."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from luthier.data._rows import Rows
from luthier.errors import DataError, Problem

_DELIMITERS = (",", "\t", ";")
_CARRIAGE_RETURN = re.compile(r"(?<=\r)(?!\n)")
SWALLOWED = 4  # separators that have to fit before lines inside a cell are taken for rows
NEAR = 20  # lines below a broken quote that are looked at
MOST = 0.8  # of them have to be rows of their own for the quote to be a stray one

Cells = list[str]


def read_table(lines: Iterable[tuple[int, str]], path: Path, found: Rows) -> Rows:
    """Rows of a table whose first line names the columns; the separator is the one that the header uses most.

    `lines` are numbered and may hold lone surrogates for bytes that are no UTF-8; `found` may hold problems of lines
    that were left out. A row's line is its first line in the file, also where quoted cells span lines. A row whose
    quotes are broken is a problem, and the rows after it are read where it is plain where they begin.

    Raises:
        DataError: no usable header, or quotes that leave open where rows begin.
    """
    pieces = [(number, piece) for number, line in lines for piece in _pieces(line)]
    first = next((index for index, (_, piece) in enumerate(pieces) if piece.strip()), len(pieces))
    if first < len(pieces):
        _Table([piece for _, piece in pieces[first:]], [number for number, _ in pieces[first:]], path, found).read()
    return found


def _pieces(line: str) -> list[str]:
    """A line divided where a carriage return alone ends a line, as old programs write."""
    return [piece for piece in _CARRIAGE_RETURN.split(line) if piece] if "\r" in line[:-2] else [line]


class _Table:
    """Physical lines and their numbers in the file, read into rows."""

    def __init__(self, lines: Sequence[str], numbers: Sequence[int], path: Path, found: Rows) -> None:
        self.lines, self.numbers, self.path, self.found = lines, numbers, path, found
        self.delimiter = max(_DELIMITERS, key=lines[0].count)
        self.name = "a tab" if self.delimiter == "\t" else f"`{self.delimiter}`"
        self.header: Cells = []

    def read(self) -> None:
        """Every record, from the header on."""
        at = 0
        while at < len(self.lines):
            at = self._read_from(at)

    def _read_from(self, at: int) -> int:
        """Records up to the end or to broken quotes; gives the line to go on from."""
        reader = csv.reader(islice(self.lines, at, None), delimiter=self.delimiter, strict=True)
        line = 0
        try:
            for cells in reader:
                start, line = at + line, reader.line_num
                if self._swallowed(start, at + line):
                    what = f"a quote that is not closed takes in the next {at + line - start - 1} lines"
                    self._problem(start, what, "table-quotes")
                    return start + 1
                self._add(cells, start, at + line)
        except csv.Error as error:
            return self._after_damage(at + line, str(error))
        return len(self.lines)

    def _add(self, cells: Cells, start: int, end: int) -> None:
        if end - start == 1 and not self.lines[start].strip(" \r\n"):
            return
        if not self.header:
            self.header = _header(cells, self.path, self.numbers[start])
        elif not all(map(_is_text, cells)):
            self._problem(start, "bytes that are not UTF-8, or NUL; save the file as UTF-8", "bad-encoding")
        elif len(cells) != len(self.header):
            what = f"{len(cells)} cells, and the header has {len(self.header)}; quote cells with {self.name} in them"
            self._problem(start, what, "table-cells")
        else:
            self.found.add(self.path, self.numbers[start], dict(zip(self.header, cells, strict=True)))

    def _problem(self, start: int, what: str, code: str) -> None:
        self.found.problem(self.path, self.numbers[start], what, code)

    def _swallowed(self, start: int, end: int) -> bool:
        """Whether a record over several lines is rather one row a line, with a quote that opens by mistake."""
        fit = (len(self.header) - 1) * (end - start)
        return end - start > 1 and fit >= SWALLOWED and all(self._stands_alone(line) for line in range(start, end))

    def _stands_alone(self, line: int) -> bool:
        """Whether a line could be a row: as many cells as the header, by its separators where its quotes are odd."""
        text = self.lines[line]
        if text.count('"') % 2:
            return text.count(self.delimiter) == len(self.header) - 1
        try:
            return len(next(csv.reader([text], delimiter=self.delimiter, strict=True))) == len(self.header)
        except csv.Error:
            return False

    def _after_damage(self, start: int, why: str) -> int:
        """Report the record that begins at `start`, and give the line where the next one begins.

        Raises:
            DataError: that is not plain.
        """
        if not self.header or "field limit" in why:
            raise self._refusal(start, why)
        what = f"the quotes in the row that begins here do not fit together: {why}"
        after = self._next_row(start)
        if after is None:
            raise self._refusal(start, why)
        if after > start + 1:
            what += f"; it seems to run to line {self.numbers[after - 1]}"
        self._problem(start, what, "table-quotes")
        return after

    def _next_row(self, start: int) -> int | None:
        """The line where the row after a damaged one begins; None where that is not plain.

        An odd quote opens a cell: the lines to the next odd one are rows of their own, or all of them inside that cell.
        """
        text = self.lines[start]
        if text.count('"') % 2 == 0 and text.count(self.delimiter) >= len(self.header) - 1:
            return start + 1
        below = range(start + 1, min(start + 1 + NEAR, len(self.lines)))
        closing = next((line for line in below if self.lines[line].count('"') % 2), None)
        between = [line for line in range(start + 1, below.stop if closing is None else closing)]
        between = [line for line in between if self.lines[line].strip()]
        alone = sum(map(self._stands_alone, between)) >= MOST * len(between)
        if alone and (closing is None or len(between) * (len(self.header) - 1) >= SWALLOWED):
            return start + 1
        return None if closing is None else closing + 1

    def _refusal(self, start: int, why: str) -> DataError:
        fix = f'put cells with {self.name}, quotes or line breaks in "…", double their quotes; or use JSON Lines'
        if "field limit" in why:
            fix = "write texts of this length as JSON Lines"
        what = f"the row that begins here: {why}; rows after it could not be read"
        problem = Problem(what, self.path, self.numbers[start])
        return DataError(f"{self.path} is not a table that can be read", fix=fix, problems=[problem])


def _is_text(cell: str) -> bool:
    if cell.isascii():
        return "\0" not in cell
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in cell


def _header(cells: list[str], path: Path, line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name in names if names.count(name) > 1]
    broken = not all(map(_is_text, names))
    if twice or broken or not all(names):
        what = f"the column `{twice[0]}` stands twice" if twice and twice[0] else "a column has no name"
        if broken:
            what = "the names of the columns are not UTF-8 text"
        fix = "the first line names the columns, each once"
        raise DataError(f"{path} has no usable header", fix=fix, problems=[Problem(what, path, line)])
    return names
