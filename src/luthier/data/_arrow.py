"""Rows of Parquet files and of Hugging Face dataset folders, and nothing that unpacks without bound."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.data._rows import Rows
from luthier.errors import DataError

MAX_UNPACKED = 8 * 1024**3  # bytes of a table's values, which are held in memory
MAX_ROWS = 20_000_000
BATCH_ROWS = 1024
_SPLIT_NAME = re.compile(r"^(train|training|validation|valid|val|dev|development|test)(?=[-_.]|$)")
_SHARD_SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
_BOMB_RATIO = 100  # times its own size that a small file may unpack to
_BOMB_LEAST = 512 * 1024**2  # bytes below which nobody is hurt
_BOMB_ROWS = 1_000_000


def read_parquet(path: Path) -> Rows:
    """Rows of a Parquet file; a row's line is its number. Class labels become their names.

    What it says to hold is looked at before anything is unpacked, and what it unpacks to while that happens.

    Raises:
        DataError: damaged, without rows, or of a size that its file cannot honestly have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = Rows()
    try:
        metadata = pq.read_metadata(path)
        limit = _Limit(path, path.stat().st_size)
        limit.declared(metadata.num_rows, _declared_bytes(metadata))
        with pq.ParquetFile(path, read_dictionary=_byte_columns(metadata)) as file:
            labels = _labels(_features(file.schema_arrow.metadata or {}))
            _add_all(limit.rows(file.iter_batches(batch_size=BATCH_ROWS)), labels, path, found)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is a damaged Parquet file: {error}", fix="write the file again") from error
    except MemoryError as error:
        raise _bomb(path, "asks for more memory than there is") from error
    if not found.rows:
        raise DataError(f"{path} has no rows", fix="write the file again, with rows")
    return found


def _declared_bytes(metadata: Any) -> int:
    return sum(int(metadata.row_group(index).total_byte_size) for index in range(metadata.num_row_groups))


def _byte_columns(metadata: Any) -> list[str]:
    """Columns of texts, also inside lists and objects; read as dictionaries, a value that repeats is held once."""
    columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _unpacked_bytes(array: Any) -> int:
    """Bytes of the values of an Arrow array once each stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_binary(kind.value_type)):
        return int(pc.sum(pc.take(pc.binary_length(array.dictionary), array.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_unpacked_bytes, array.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _unpacked_bytes(array.flatten())
    return int(array.nbytes)


class _Limit:
    """What a file may claim to hold and may unpack to, given its size in bytes."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size, self.unpacked = path, size, 0

    def declared(self, rows: int, unpacked: int) -> None:
        """Refuse by what the file says of itself."""
        if rows < 0 or rows > MAX_ROWS or (rows > _BOMB_ROWS and rows > 10 * self.size):
            raise _bomb(self.path, f"says that it holds {rows:,} rows in {self.size:,} bytes")
        if unpacked < 0 or unpacked > MAX_UNPACKED:
            raise _bomb(self.path, f"says that it unpacks to {unpacked:,} bytes")

    def rows(self, batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The rows of batches, as long as they do not unpack to too much."""
        for batch in batches:
            batch.validate(full=True)  # damaged offsets would make the conversion below read elsewhere
            self.unpacked += sum(map(_unpacked_bytes, batch.columns))
            if self.unpacked > max(_BOMB_LEAST, min(MAX_UNPACKED, _BOMB_RATIO * self.size)):
                raise _bomb(self.path, f"has {self.size:,} bytes and unpacks to more than {self.unpacked:,}")
            yield from batch.to_pylist()


def _bomb(path: Path, what: str) -> DataError:
    why = f"values are held in memory, up to {MAX_UNPACKED // 1024**3} GiB and {MAX_ROWS:,} rows a file"
    return DataError(f"{path} {what}", why=why, fix="write the rows again, in several files or as JSON Lines")


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """What Hugging Face datasets keeps in a file about its columns; nothing where that is damaged."""
    try:
        value = json.loads(metadata.get(b"huggingface", b"{}"))
        features = value["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _labels(features: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Names of class labels by column."""
    labels = {
        column: kind["names"]
        for column, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and isinstance(kind.get("names"), list)
    }
    return {column: names for column, names in labels.items() if all(isinstance(name, str) for name in names)}


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
        DataError: damaged, several splits, or files elsewhere than in the folder.
    """
    import pyarrow as pa
    from datasets import ClassLabel, DatasetDict, load_from_disk

    _refuse_elsewhere(folder)
    found = Rows()
    try:
        dataset = load_from_disk(str(folder))
        if isinstance(dataset, DatasetDict):
            if len(dataset) != 1:
                raise _several_splits(folder, sorted(dataset), f"name one of them: {folder.name}/{sorted(dataset)[0]}")
            dataset = next(iter(dataset.values()))
        labels = {name: kind.names for name, kind in dataset.features.items() if isinstance(kind, ClassLabel)}
        limit = _Limit(folder, sum(file.stat().st_size for file in folder.rglob("*.arrow")))
        limit.declared(len(dataset), 0)
        # as Arrow: features such as images would be decoded otherwise
        batches = dataset.with_format("arrow").iter(batch_size=BATCH_ROWS)
        _add_all(limit.rows(batches), labels, folder, found)
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} is a damaged dataset: {error}", fix="write it again with save_to_disk") from error
    if not found.rows:
        raise DataError(f"{folder} has no rows", fix="write the dataset again, with rows")
    return found


def _refuse_elsewhere(folder: Path) -> None:
    """The folder of a saved dataset names its files; one of another place is not what the user handed over."""
    for state in folder.rglob("state.json"):
        try:
            files = [entry["filename"] for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # the loader says what is wrong with it
        for name in files:
            if not isinstance(name, str) or Path(name).name != name:
                raise DataError(
                    f"{state} names a file outside of its folder: {name!r}", fix="write it again with save_to_disk"
                )


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
