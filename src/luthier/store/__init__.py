"""What is recorded: one folder and one database per task, and the only way to write files.

The file functions and the row types import nothing heavy; `Store` (SQLAlchemy) is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.store._files import (
    clean_folder,
    hash_file,
    hash_folder,
    new_folder,
    read_json,
    replace_folder,
    write_json,
    write_text_atomic,
    writing,
)
from luthier.store._rows import ReleaseRow, TrafficRow

if TYPE_CHECKING:
    from luthier.store._store import Store

__all__ = [
    "ReleaseRow",
    "Store",
    "TrafficRow",
    "clean_folder",
    "hash_file",
    "hash_folder",
    "new_folder",
    "read_json",
    "replace_folder",
    "write_json",
    "write_text_atomic",
    "writing",
]


def __getattr__(name: str) -> Any:
    if name == "Store":
        from luthier.store._store import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
