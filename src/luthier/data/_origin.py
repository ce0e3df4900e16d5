"""What a row says of where it comes from, and what else it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from luthier.data._examples import Origin

KEYS: Mapping[str, tuple[str, ...]] = {
    "licence": ("license", "licence", "license_name", "rights"),
    "source": ("source", "source_url", "url", "source_dataset", "dataset", "origin", "provenance"),
    "date": ("date", "created", "created_at", "creation_date", "timestamp", "datetime"),
    "author": ("annotator", "annotator_id", "annotators", "labeler", "labeller", "labeled_by", "labelled_by", "author"),
}
LONGEST = 200  # characters; a longer text is content and no name


def origin_of(row: Mapping[str, Any]) -> Origin | None:
    """Licence, source, date and author by their usual names, in the row or in its `meta` or `metadata`."""
    inner: Mapping[Any, Any] = next((row[key] for key in ("metadata", "meta") if isinstance(row.get(key), dict)), {})
    named = {str(key).lower(): value for key, value in inner.items()} | {str(k).lower(): v for k, v in row.items()}
    found = [next((text for key in keys if (text := _short(named.get(key)))), "") for keys in KEYS.values()]
    return _origin(*found) if any(found) else None


@lru_cache(maxsize=4096)
def _origin(*found: str) -> Origin:
    """One object for all rows that say the same."""
    return Origin(*found)


def _short(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    if isinstance(value, bool | dict | list) or value is None:
        return ""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST and text.lower() not in ("", "nan", "none", "null", "unknown") else ""


def plain(value: Any) -> Any:
    """A value as JSON can hold it: what it has no word for becomes text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return plain(str(value))
