"""Rows from any file or folder; what it is, its content says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from luthier.data._json import BadValue, parse_json, read_json_document
from luthier.data._rows import Rows
from luthier.data._tables import read_parquet, read_table
from luthier.errors import DataError

MAX_LINE = 32 * 1024 * 1024  # bytes of one row
MAX_DOCUMENT = 1024**3  # bytes of a JSON document, which is held in memory whole
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FOREIGN = {
    b"\x1f\x8b": ("is compressed (gzip)", "gunzip it first"),
    b"PK\x03\x04": ("is a zip or Excel file", "save it as CSV"),
    b"ARROW1": ("is an Arrow file", "save the dataset with save_to_disk, or as Parquet"),
    b"SQLite": ("is a database", "export the rows as CSV"),
}


def read_rows(path: Path) -> Rows:
    """Rows of one data file: JSON Lines, JSON, CSV, TSV or Parquet.

    Raises:
        DataError: missing, empty, of a kind that is not read, or broken as a whole.
    """
    try:
        if path.stat().st_size == 0:
            raise _empty(path)
        with path.open("rb") as file:
            head = file.read(65536)
        return _read_kind(path, head)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix="check the path and its permissions") from error


def _read_kind(path: Path, head: bytes) -> Rows:
    if head.startswith(b"PAR1"):
        return read_parquet(path)
    _refuse_foreign(path, head)
    found = Rows()
    first, more = _first_lines(path)
    suffix = path.suffix.lower()
    if _is_lines(first, more, suffix):
        for number, text in _lines(path, found):
            _add_line(text, number, path, found)
        return found
    if first[0] not in "{[" or (suffix in _TABLE_SUFFIXES and not _parses(first)):
        if suffix in _LINES_SUFFIXES or suffix == ".json":
            raise DataError(f"{path} is not JSON: it begins with {first[:20]!r}", fix="write one JSON object a line")
        lines = [text for _, text in _lines(path, found)]
        _refuse_broken(path, found)
        return read_table(lines, path)
    if path.stat().st_size > MAX_DOCUMENT:
        why = f"a JSON document is held in memory whole, up to {MAX_DOCUMENT // 1024**2} MiB"
        raise DataError(f"{path} is too large for one JSON document", why=why, fix="write one row a line (JSON Lines)")
    text = "".join(text for _, text in _lines(path, found, limit=MAX_DOCUMENT))
    _refuse_broken(path, found)
    return read_json_document(text, path)


def _empty(path: Path) -> DataError:
    return DataError(f"{path} is empty", fix='write one JSON object a line: {"prompt": "…", "completion": "…"}')


def _refuse_foreign(path: Path, head: bytes) -> None:
    for magic, (what, fix) in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} {what}", fix=fix)
    if b"\r" in head.strip() and b"\n" not in head:
        raise DataError(f"{path} ends its lines with CR only", fix="save it with LF or CRLF: tr '\\r' '\\n'")
    if head.startswith(_UTF16) or head.count(b"\0") > len(head) // 10:
        raise DataError(f"{path} is UTF-16 or no text at all", fix="save it as UTF-8")


def _first_lines(path: Path) -> tuple[str, bool]:
    """The first line with something on it, and whether another one follows."""
    first, found = "", Rows()
    for _, text in _lines(path, found, limit=MAX_DOCUMENT):
        if text.strip() and first:
            return first, True
        first = first or text.strip()
    if not first:
        _refuse_broken(path, found)
        raise _empty(path)
    return first, False


def _is_lines(first: str, more: bool, suffix: str) -> bool:
    """Whether every line is a row, or the whole file is one JSON document (or a table)."""
    if _parses(first):
        return (more and suffix not in _TABLE_SUFFIXES) or (suffix in _LINES_SUFFIXES and first[0] == "{")
    if suffix in _TABLE_SUFFIXES:
        return False
    return first[0] == "{" and (first[-1] == "}" or suffix in _LINES_SUFFIXES)


def _parses(text: str) -> bool:
    if text[0] not in "{[":
        return False
    try:
        parse_json(text)
    except BadValue:
        return False
    return True


def _lines(path: Path, found: Rows, limit: int = MAX_LINE) -> Iterator[tuple[int, str]]:
    """(number, text with its line end) of every line that is UTF-8 text; the others become problems."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(limit + 1):
            number += 1
            if len(raw) > limit:
                found.problem(path, number, f"a line of more than {limit // 1024**2} MiB")
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(limit)
                continue
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
                found.problem(path, number, f"not UTF-8: {byte}; save the file as UTF-8")
                continue
            if "\0" in text:
                found.problem(path, number, "holds a NUL byte; is the file damaged?")
            else:
                yield number, text


def _add_line(text: str, number: int, path: Path, found: Rows) -> None:
    if not text.strip():
        return
    try:
        found.add(path, number, parse_json(text.strip()))
    except BadValue as error:
        found.problem(path, number, str(error))


def _refuse_broken(path: Path, found: Rows) -> None:
    """Where a row may span lines, a line that is no text breaks the whole file."""
    if found.problems:
        count = len(found.problems)
        what = f"{path} has {count:,} {'line' if count == 1 else 'lines'} that cannot be read as text"
        fix = "save the file as UTF-8, for example: iconv -f latin1 -t utf-8"
        raise DataError(what, fix=fix, problems=found.problems[:20])
