"""Rows from any file or folder; what it is, its content says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import SEEK_CUR
from pathlib import Path
from typing import BinaryIO, Literal

from luthier.data._arrow import read_parquet
from luthier.data._json import BadValue, holds_rows, parse_json, read_json_document
from luthier.data._rows import Rows
from luthier.data._tables import read_table
from luthier.data._yaml_rows import MAX_YAML, read_yaml_document
from luthier.errors import DataError, Problem

MAX_LINE = 32 * 1024 * 1024  # bytes of one row
BLOCK = 1024 * 1024  # bytes that are read at a time of a line that is too long
HEADS = 20  # lines that tell what a file is
MAX_DOCUMENT = 1024**3  # bytes of a JSON document, which is held in memory whole
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv")
_YAML_SUFFIXES = (".yaml", ".yml")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FOREIGN = {
    b"\x1f\x8b": ("is compressed (gzip)", "gunzip it first"),
    b"PK\x03\x04": ("is a zip or Excel file", "save it as CSV"),
    b"ARROW1": ("is an Arrow file", "save the dataset with save_to_disk, or as Parquet"),
    b"SQLite": ("is a database", "export the rows as CSV"),
}


def read_rows(path: Path) -> Rows:
    """Rows of one data file: JSON Lines, JSON, YAML, CSV, TSV or Parquet.

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
    if path.suffix.lower() in _YAML_SUFFIXES:
        return read_yaml_document(_whole(path, found, MAX_YAML, "YAML"), path)
    first, kind = _kind(path)
    if kind == "lines":
        for number, text in _lines(path, found):
            _add_line(text, number, path, found)
        return found
    if kind == "unknown":
        raise DataError(f"{path} is not JSON: it begins with {first[:20]!r}", fix="write one JSON object a line")
    if kind == "table":
        return read_table(_lines(path, found, keep=True), path, found)
    return read_json_document(_whole(path, found, MAX_DOCUMENT, "JSON"), path)


def _whole(path: Path, found: Rows, most: int, what: str) -> str:
    """The text of a document.

    Raises:
        DataError: it is too large, or no text.
    """
    if path.stat().st_size > most:
        why = f"a {what} document is held in memory whole, up to {_size(most)}"
        raise DataError(
            f"{path} is too large for one {what} document", why=why, fix="write one row a line (JSON Lines)"
        )
    text = "".join(text for _, text in _lines(path, found, limit=most))
    _refuse_broken(path, found)
    return text


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


def _kind(path: Path) -> tuple[str, Literal["lines", "document", "table", "unknown"]]:
    """The first line with something on it, and what the file is by its first lines and its name."""
    heads = _heads(path)
    suffix = path.suffix.lower()
    first, whole = heads[0]
    parsed = [whole and _parses(text) for text, whole in heads]
    named_lines, named_table = suffix in _LINES_SUFFIXES, suffix in _TABLE_SUFFIXES
    if parsed[0] and (len(heads) > 1 or (named_lines and first[0] == "{")):
        return first, "table" if named_table and first[0] not in "{[" else "lines"
    if parsed[0] or (len(heads) == 1 and whole and not named_lines and holds_rows(first)):
        return first, "document"
    if not named_table and 2 * sum(parsed) >= len(heads):
        return first, "lines"  # a broken first line must not hide what the others are
    if named_table or first[0] not in "{[":
        return first, "unknown" if named_lines or suffix == ".json" else "table"
    return first, "lines" if first[0] == "{" and (named_lines or (first[-1] == "}" and whole)) else "document"


def _heads(path: Path) -> list[tuple[str, bool]]:
    """The first lines with something on them, and whether each is there whole.

    Raises:
        DataError: no line is text, or nothing stands on any.
    """
    heads: list[tuple[str, bool]] = []
    broken = False
    room = MAX_LINE
    with path.open("rb") as file:
        while len(heads) < HEADS and room > 0 and (raw := file.readline(MAX_LINE + 1)):
            whole = len(raw) <= MAX_LINE
            room -= len(raw)
            try:
                text = raw.decode("utf-8-sig", "strict" if whole else "replace").strip()
            except UnicodeDecodeError:
                broken = True
                continue
            if text.strip("\0"):
                heads.append((text, whole))
    if not heads:
        raise _no_text(path) if broken else _empty(path)
    return heads


def _parses(text: str) -> bool:
    if text[0] not in "{[":
        return False
    try:
        parse_json(text)
    except BadValue:
        return False
    return True


def _lines(path: Path, found: Rows, *, limit: int | None = None, keep: bool = False) -> Iterator[tuple[int, str]]:
    """(number, text with its line end) of every line that is UTF-8 text; the others become problems.

    With `keep`, lines that are not text are given too, with what is wrong as lone surrogates and NUL: where a row may
    span lines, the one who reads rows has to say which row is broken.
    """
    limit = MAX_LINE if limit is None else limit
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(limit + 1):
            number += 1
            if len(raw) > limit:
                found.problem(path, number, f"a line of more than {_size(limit)}", "long-line")
                if not raw.endswith(b"\n"):
                    _skip_line(file)
                continue
            encoding = "utf-8-sig" if number == 1 else "utf-8"
            if keep:
                yield number, raw.decode(encoding, "surrogateescape")
                continue
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError as error:
                byte = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
                found.problem(path, number, f"not UTF-8: {byte}; save the file as UTF-8", "bad-encoding")
                continue
            if "\0" in text:
                found.problem(path, number, "holds a NUL byte; is the file damaged?", "bad-encoding")
            else:
                yield number, text


def _skip_line(file: BinaryIO) -> None:
    """Go to the end of the line, a block at a time."""
    while block := file.read(BLOCK):
        end = block.find(b"\n")
        if end >= 0:
            file.seek(end + 1 - len(block), SEEK_CUR)
            return


def _size(count: int) -> str:
    return f"{count // 1024**2} MiB" if count >= 1024**2 else f"{count} bytes"


def _add_line(text: str, number: int, path: Path, found: Rows) -> None:
    if not text.strip():
        return
    try:
        found.add(path, number, parse_json(text.strip()))
    except BadValue as error:
        found.problem(path, number, str(error), "bad-json")


def _refuse_broken(path: Path, found: Rows) -> None:
    """In a JSON document a line that is no text breaks the whole file."""
    if found.problems:
        raise _no_text(path, found.problems)


def _no_text(path: Path, problems: Sequence[Problem] = ()) -> DataError:
    count = len(problems)
    lines = f"{count:,} {'line' if count == 1 else 'lines'}" if count else "no line"
    fix = "save the file as UTF-8, for example: iconv -f latin1 -t utf-8"
    what = f"{path} has {lines} that {'cannot' if count else 'can'} be read as text"
    return DataError(what, fix=fix, problems=problems[:20])
