"""A local model before its weights are there: its configuration and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.data import Message, content_hash
from luthier.errors import ModelError
from luthier.models._base import Answer, Request
from luthier.models._identity import default_cache
from luthier.models._load import (
    _HUB_ID,
    ALIASES,
    _find,
    _from_hub,
    _from_hub_cache,
    _shipped_file,
    check_folder,
    has_weights,
)
from luthier.models._quiet import quiet
from luthier.models._render import render_prompt

if TYPE_CHECKING:
    import torch


class Outline:
    """What can be said about a model without its weights: none of them has been read or fetched.

    Args:
        config: transformers' configuration.
        tokenizer: its tokenizer.
        name: as the user names it.
    """

    def __init__(self, config: Any, tokenizer: Any, *, name: str) -> None:
        self.config, self.tokenizer, self.name = config, tokenizer, name

    @property
    def identity(self) -> str:
        """Hash of the configuration; no answer depends on it, as there is none."""
        return content_hash({"outline": self.config.to_dict()})

    @cached_property
    def n_parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(p.numel() for p in without_weights(self.config).parameters())

    @property
    def max_length(self) -> int:
        """Most tokens of prompt and answer together; 2**31 - 1 where the architecture knows no limit."""
        text = self.config.get_text_config(decoder=True)
        return int(getattr(text, "max_position_embeddings", None) or 2**31 - 1)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens that these messages become."""
        return len(render_prompt(self.tokenizer, messages))

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Refused.

        Raises:
            ModelError: always: there are no weights.
        """
        raise ModelError(
            f"{self.name} cannot answer: its weights are not on this machine",
            why="it was opened to plan, from its configuration alone",
            fix="load it with load_model, which fetches the weights",
        )


def without_weights(config: Any, dtype: torch.dtype | None = None) -> Any:
    """The transformers model of a configuration on the meta device: shapes without memory."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM  # `from_config` has no types
    with quiet(), torch.device("meta"):
        return auto.from_config(config, dtype=dtype) if dtype is not None else auto.from_config(config)


def has_own_weights(name: str) -> bool:
    """Whether a model runs here, so that its weights can be trained: it is neither hosted nor a script."""
    return not name.startswith(("scripted:", "http://", "https://"))


def weights_at_hand(name: str) -> bool:
    """Whether `load_model(name)` would find the weights, or need none, without fetching anything."""
    if not has_own_weights(name):
        return True
    if name in ALIASES:
        alias = ALIASES[name]
        return _shipped_file(alias) is not None or _from_hub_cache(alias.hub) is not None
    path = Path(name).expanduser()
    if path.is_dir():
        return has_weights(path)
    return path.is_file() or not _HUB_ID.fullmatch(name) or _from_hub_cache(name) is not None


def outline_at_hand(name: str, *, cache: Path | None = None) -> Outline | None:
    """The outline of a model whose files are on this machine; None where they would have to be fetched.

    A GGUF file that is seen for the first time is converted.

    Raises:
        ModelError: the files are there and cannot be used.
    """
    if not has_own_weights(name) or not weights_at_hand(name):
        return None
    alias = ALIASES.get(name)
    hub = name if alias is None else alias.hub
    local = Path(name).expanduser().exists() or (alias is not None and _shipped_file(alias) is not None)
    folder = _find(name, cache or default_cache()) if local else _from_hub_cache(hub)
    if not isinstance(folder, Path):
        return None
    check_folder(folder)
    outline = load_outline(str(folder))
    outline.name = name
    return outline


def load_outline(name: str, *, cache: Path | None = None) -> Outline:
    """The outline of a local model; from the hub come its configuration and tokenizer only.

    Raises:
        ModelError: there is no such model, or its architecture is unknown.
    """
    from transformers import AutoConfig, AutoTokenizer

    path = Path(name).expanduser()
    if not path.is_dir():
        path = _from_hub(ALIASES[name].hub if name in ALIASES else name, name, weights=False)
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet():
        try:
            config = AutoConfig.from_pretrained(str(path), **how)
            tokenizer = AutoTokenizer.from_pretrained(str(path), **how)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"the model in {path} cannot be planned with: {(str(error).strip() or repr(error)).splitlines()[0]}",
                why="its configuration and its tokenizer are needed",
                fix="name a folder or a hub id with config.json and tokenizer.json of a model that transformers knows",
            ) from error
    return Outline(config, tokenizer, name=name)
