"""Which base an adapter was trained on, in a file beside it: tensors of another base may well have the same shapes.

PEFT's own files name a place only. Other programs leave the file alone, and an adapter without it is judged by its
tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data import content_hash
from luthier.errors import ModelError
from luthier.models._identity import file_hashes
from luthier.store import read_json, write_json

ORIGIN = "luthier-adapter.json"
ORIGIN_VERSION = 1


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) of the weights in a model's folder: what an adapter fits, whatever the precision they run in."""
    return content_hash(sorted(file_hashes(sorted(folder.glob("*.safetensors")))))


@dataclass(frozen=True)
class Origin:
    """What an adapter was trained on: a base by name and by the hash of its weights, and tokens added to it."""

    name: str
    weights: str
    added_tokens: tuple[str, ...] = ()


def write_origin(adapter: Path, base: Path, name: str, added_tokens: Sequence[str]) -> None:
    """Note beside an adapter the base that it was trained on: its folder, and its name for people.

    Raises:
        DiskFullError, StoreError: it could not be written.
    """
    of = {"name": name, "weights": weights_hash(base)}
    write_json(adapter / ORIGIN, {"version": ORIGIN_VERSION, "base": of, "added_tokens": list(added_tokens)})


def read_origin(adapter: Path) -> Origin | None:
    """The note beside an adapter; None where another program made it.

    Raises:
        ModelError: a newer version of Luthier wrote it.
    """
    if not (adapter / ORIGIN).is_file():
        return None
    found: dict[str, Any] = read_json(adapter / ORIGIN)
    version = found.get("version")
    if not isinstance(version, int) or version > ORIGIN_VERSION:
        raise ModelError(
            f"{adapter / ORIGIN} is of version {version!r}; this version of luthier knows up to {ORIGIN_VERSION}",
            fix="pip install --upgrade luthier",
        )
    return Origin(found["base"]["name"], found["base"]["weights"], tuple(found["added_tokens"]))


def check_origin(adapter: Path, base: Path, name: str) -> None:
    """Refuse an adapter that was trained on other weights than those in the folder `base`.

    Raises:
        ModelError: it was; or as `read_origin`.
    """
    origin = read_origin(adapter)
    if origin is not None and origin.weights != weights_hash(base):
        raise ModelError(
            f"the adapter in {adapter} was trained on {origin.name}, and {name} has other weights",
            why="an adapter is a change to the weights it was trained on; on others it may fit, but means nothing",
            fix=f"name {origin.name} as the base, or tune again on this one; where these are the same weights in other "
            f"files, remove {adapter / ORIGIN}",
        )
