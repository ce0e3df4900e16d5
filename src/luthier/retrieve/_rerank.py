"""A cross-encoder that reads query and passage together: what the first search found is put into a better order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import RetrievalError
from luthier.models import quiet
from luthier.retrieve._embed import model_folder, model_identity
from luthier.retrieve._items import well_formed


class Reranker:
    """A cross-encoder of sentence-transformers (Nogueira and Cho 2019), on the processor, without foreign code.

    Made by `load_reranker`. `name` is as the user wrote it; `identity` hashes the model's files.
    """

    def __init__(self, name: str, folder: Path) -> None:
        from sentence_transformers import CrossEncoder

        self.name = name
        self.identity = model_identity(folder, "cross-encoder")
        self._model: Any = CrossEncoder(
            str(folder), device="cpu", local_files_only=True, num_labels=1, model_kwargs={"use_safetensors": True}
        )

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """How well each text answers the query, [texts]; each is read alone, so it does not depend on the others."""
        pairs = [(well_formed(query), well_formed(text)) for text in texts]
        found = [self._model.predict([pair], show_progress_bar=False, convert_to_numpy=True)[0] for pair in pairs]
        return np.round(np.asarray(found, np.float64).reshape(len(pairs)), 6)


def load_reranker(name: str) -> Reranker:
    """Loads a cross-encoder.

    Args:
        name: a folder or a hub id with one output (`cross-encoder/ms-marco-MiniLM-L6-v2`).

    Raises:
        RetrievalError: sentence-transformers is not installed, or the model is not found or not of this kind.
    """
    folder = model_folder(name, setting="retrieval.reranker")
    _demand_head(folder)
    try:
        with quiet():
            return Reranker(name, folder)
    except ImportError as error:
        raise RetrievalError(
            f"the reranker {name} needs sentence-transformers: {error}",
            fix="pip install sentence-transformers, or take `reranker` out of `retrieval:` in luthier.yaml",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _no_cross_encoder(folder, str(error)) from error


def _demand_head(folder: Path) -> None:
    """Refuse a model without a classifier of its own: the library would put an untrained one in its place."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _no_cross_encoder(folder, f"its config.json cannot be read ({error})") from error
    kinds = config.get("architectures") or []
    if not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        raise _no_cross_encoder(folder, f"it has no classifier (architectures: {', '.join(map(str, kinds)) or 'none'})")
    outputs = len(config.get("id2label") or {}) or config.get("num_labels", 2)
    if outputs != 1:
        raise _no_cross_encoder(folder, f"it has {outputs} outputs")


def _no_cross_encoder(folder: Path, reason: str) -> RetrievalError:
    return RetrievalError(
        f"{folder} is not a cross-encoder that can be loaded: {reason}",
        why="wanted are the files that sentence-transformers saves, with safetensors weights and one output",
        fix="name another in retrieval.reranker, or take it out",
    )
