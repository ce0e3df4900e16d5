"""Rows of CSV, TSV and Parquet tables and of Hugging Face dataset folders."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.data._rows import Rows
from luthier.errors import DataError, Problem

_DELIMITERS = (",", "\t", ";")
_SPLIT_NAME = re.compile(r"^(train|training|validation|valid|val|dev|development|test)(?=[-_.]|$)")
_SHARD_SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")


def read_table(lines: Sequence[str], path: Path) -> Rows:
    """Rows of a table whose first line names the columns; the separator is the one that the header uses most.

    A row's line is its first line in the file, also where quoted cells span lines.

    Raises:
        DataError: no usable header, or quotes that do not fit together.
    """
    found = Rows()
    first = next(index for index, line in enumerate(lines) if line.strip())
    delimiter = max(_DELIMITERS, key=lines[first].count)
    reader = csv.reader(lines[first:], delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 0
    try:
        for cells in reader:
            start, line = first + line + 1, reader.line_num
            if header is None:
                header = _header(cells, path, start)
            elif len(cells) == len(header):
                found.add(path, start, dict(zip(header, cells, strict=True)))
            elif cells:
                what = (
                    f"{len(cells)} cells, and the header has {len(header)}; quote cells with {_name(delimiter)} in them"
                )
                found.problem(path, start, what)
    except csv.Error as error:
        what = f"the row that begins here: {error}; rows after it could not be read"
        fix = f'put cells with {_name(delimiter)}, quotes or line breaks in "…", double their quotes; or use JSON Lines'
        if "field limit" in str(error):
            fix = "write texts of this length as JSON Lines"
        problem = Problem(what, path, first + line + 1)
        raise DataError(f"{path} is not a table that can be read", fix=fix, problems=[problem]) from error
    return found


def _name(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"`{delimiter}`"


def _header(cells: list[str], path: Path, line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name in names if names.count(name) > 1]
    if twice or not all(names):
        what = f"the column `{twice[0]}` stands twice" if twice and twice[0] else "a column has no name"
        fix = "the first line names the columns, each once"
        raise DataError(f"{path} has no usable header", fix=fix, problems=[Problem(what, path, line)])
    return names


def read_parquet(path: Path) -> Rows:
    """Rows of a Parquet file; a row's line is its number. Class labels become their names.

    Raises:
        DataError: damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = Rows()
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            labels = _labels(json.loads(metadata.get(b"huggingface", b"{}")))
            batches = file.iter_batches(batch_size=1024)
            _add_all((row for batch in batches for row in batch.to_pylist()), labels, path, found)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is a damaged Parquet file: {error}", fix="write the file again") from error
    if not found.rows:
        raise DataError(f"{path} has no rows", fix="write the file again, with rows")
    return found


def _labels(metadata: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Names of class labels by column, as Hugging Face datasets keeps them in a Parquet file."""
    features = metadata.get("info", {}).get("features", {})
    return {
        column: kind["names"]
        for column, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and "names" in kind
    }


def _add_all(rows: Iterable[dict[str, Any]], labels: Mapping[str, Sequence[str]], path: Path, found: Rows) -> None:
    for number, row in enumerate(rows, 1):
        for column, names in labels.items():
            index = row.get(column)
            if isinstance(index, int):
                row[column] = names[index] if 0 <= index < len(names) else None
        found.add(path, number, row)


def is_saved_dataset(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def read_saved_dataset(folder: Path) -> Rows:
    """Rows of a dataset written by `save_to_disk`.

    Raises:
        DataError: damaged, or several splits.
    """
    import pyarrow as pa
    from datasets import ClassLabel, DatasetDict, load_from_disk

    try:
        dataset = load_from_disk(str(folder))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is a damaged dataset: {error}", fix="write it again with save_to_disk") from error
    if isinstance(dataset, DatasetDict):
        if len(dataset) != 1:
            raise _several_splits(folder, sorted(dataset), f"name one of them: {folder.name}/{sorted(dataset)[0]}")
        dataset = next(iter(dataset.values()))
    found = Rows()
    labels = {name: kind.names for name, kind in dataset.features.items() if isinstance(kind, ClassLabel)}
    _add_all((dict(row) for row in dataset), labels, folder, found)
    if not found.rows:
        raise DataError(f"{folder} has no rows", fix="write the dataset again, with rows")
    return found


def shards(folder: Path) -> list[Path]:
    """Data files of a folder in the layout of the Hugging Face hub: beside each other, or in `data/`.

    Raises:
        DataError: no data file, or files of several splits.
    """
    files = [p for p in _files(folder) if not p.name.startswith("dataset_info")] or _files(folder / "data")
    if not files:
        fix = f"put a file in it ({', '.join(_SHARD_SUFFIXES)}), or name a file"
        raise DataError(f"{folder} holds no examples", fix=fix)
    splits = {match.group(1) for p in files if (match := _SPLIT_NAME.match(p.name))}
    if len(splits) > 1:
        raise _several_splits(folder, sorted(splits), "name one file, or move the files of one split to a folder")
    return files


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in _SHARD_SUFFIXES)


def _several_splits(folder: Path, splits: Sequence[str], fix: str) -> DataError:
    return DataError(
        f"{folder} holds several splits: {', '.join(splits)}",
        why="reading them as one would mix test cases into the training rows",
        fix=fix,
    )
