"""Hashes that say which model it is. Big files are read once: their hashes are kept by path, size and time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data import content_hash
from luthier.errors import ModelError
from luthier.store import read_json, write_json, writing

MODEL_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
KEPT_HASHES = "hashes.json"


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/luthier/models`, or `~/.cache/luthier/models`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "luthier" / "models"


def folder_hash(folder: Path, *, trust_cache: bool = True, cache: Path | None = None) -> str:
    """SHA-256 (hex) of what a model folder's answers depend on: weights, configuration, tokenizer, chat template.

    Files that do not change an answer (a model card, a licence in Markdown) do not count. With `trust_cache` a file
    whose path, size and modification time are those of an earlier call is not read again; without it all are.

    Raises:
        StoreError: a file cannot be read.
        ModelError: the folder holds no such file.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix in MODEL_SUFFIXES and p.is_file()) if folder.is_dir() else []
    if not files:
        raise ModelError(
            f"{folder} holds no model",
            why="there is no safetensors, JSON or template file in it",
            fix="name the folder that holds config.json and model.safetensors",
        )
    hashes = file_hashes(files, trust_cache=trust_cache, cache=cache)
    return content_hash([[file.name, digest] for file, digest in zip(files, hashes, strict=True)])


def adapter_hash(folder: Path, *, trust_cache: bool = True, cache: Path | None = None) -> str:
    """SHA-256 (hex) of an adapter: its weights and configuration, less the name of the base, which is only a place.

    Raises:
        StoreError: a file is missing or unreadable.
    """
    config: dict[str, Any] = dict(read_json(folder / ADAPTER_CONFIG))
    config.pop("base_model_name_or_path", None)
    weights = file_hashes([folder / ADAPTER_WEIGHTS], trust_cache=trust_cache, cache=cache)
    return content_hash({"config": config, "weights": weights})


def file_hashes(files: Sequence[Path], *, trust_cache: bool = True, cache: Path | None = None) -> list[str]:
    """SHA-256 (hex) of each file, streamed; kept in `hashes.json` of the cache folder.

    Raises:
        StoreError: a file is missing or unreadable, or the kept hashes are damaged.
    """
    store = (cache or default_cache()) / KEPT_HASHES
    kept: dict[str, list[Any]] = read_json(store) if store.is_file() else {}
    found: dict[str, list[Any]] = {}
    for file in files:
        with writing(file):
            state = file.stat()
            stamp = [state.st_size, state.st_mtime_ns]
            key = str(file.resolve())
            entry = kept.get(key)
            if not trust_cache or entry is None or entry[:2] != stamp:
                with file.open("rb") as handle:
                    entry = [*stamp, hashlib.file_digest(handle, "sha256").hexdigest()]
        found[key] = entry
    if any(kept.get(key) != entry for key, entry in found.items()) and _writable(store.parent):
        # Two processes may each write what they know; the one that loses only reads its files once more.
        write_json(store, {path: entry for path, entry in (kept | found).items() if Path(path).exists()})
    return [found[str(file.resolve())][2] for file in files]


def _writable(folder: Path) -> bool:
    """Whether `folder` is there, or can be made, for us to write in: a read-only machine works without kept hashes."""
    place = folder
    while not place.exists():
        place = place.parent
    return os.access(place, os.W_OK)
