"""The data behind a release in the words of Croissant 1.0 (MLCommons 2024), which dataset catalogues read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from luthier.data import first_row
from luthier.errors import DataError

if TYPE_CHECKING:
    from luthier.data import Example
    from luthier.release._lock import Provenance

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "recordSet": "cr:recordSet",
    "field": "cr:field",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "source": "cr:source",
    "fileObject": "cr:fileObject",
    "extract": "cr:extract",
    "column": "cr:column",
    "repeated": "cr:repeated",
}
_FORMATS = {
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/x-parquet",
}
_TYPES = {bool: "sc:Boolean", int: "sc:Integer", float: "sc:Float"}


def describe_data(made_from: Provenance, files: Mapping[str, str], now: dt.datetime) -> dict[str, Any]:
    """The examples of a release as a Croissant dataset; what the rows do not say (licence, authors) is left out.

    Args:
        made_from: what made the release.
        files: SHA-256 (hex) of its data files by the name a user knows them by.
        now: the time, with its zone.
    """
    task, split = made_from.task, made_from.split
    rows = [*split.train, *split.development, *split.test]
    place = task.examples
    name = place.relative_to(task.folder).as_posix() if place.is_relative_to(task.folder) else place.name
    paths = [path for path in files if path == name or path.startswith(f"{name}/")]
    described: dict[str, Any] = {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": task.task,
        "description": f"{task.goal} {len(rows):,} rows: {len(split.train):,} to train, {len(split.development):,}"
        f" to develop, {len(split.test):,} to test.",
        "datePublished": now.date().isoformat(),
        "distribution": [_file(path, files[path]) for path in paths],
    }
    for key, part in (("license", "licence"), ("isBasedOn", "source")):
        if found := _said(rows, part):
            described[key] = found
    if authors := _said(rows, "author"):
        described["creator"] = [{"@type": "sc:Person", "name": author} for author in authors]
    if len(paths) == 1 and (fields := _fields(made_from, paths[0])):
        described["recordSet"] = [{"@type": "cr:RecordSet", "@id": "examples", "name": "examples", "field": fields}]
    return described


def _file(path: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": PurePosixPath(path).name,
        "contentUrl": path,
        "encodingFormat": _FORMATS.get(PurePosixPath(path).suffix.lower(), "application/octet-stream"),
        "sha256": sha256,
    }


def _fields(made_from: Provenance, path: str) -> list[dict[str, Any]]:
    """One field for each key of the first row; none where the file no longer is what was read."""
    try:
        row = first_row(made_from.task.examples)
    except DataError:
        return []
    return [
        {
            "@type": "cr:Field",
            "@id": f"examples/{key}",
            "name": key,
            "dataType": _TYPES.get(type(value), "sc:Text"),
            **({"repeated": True} if isinstance(value, list) else {}),
            "source": {"fileObject": {"@id": path}, "extract": {"column": key}},
        }
        for key, value in row.items()
    ]


def _said(rows: Iterable[Example], part: str) -> list[str]:
    """What the rows say, each once, sorted."""
    return sorted({getattr(row.origin, part) for row in rows if row.origin is not None} - {""})
