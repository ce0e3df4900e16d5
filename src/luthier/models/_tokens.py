"""Further tokens for a model: longer vocabulary, more rows of its embeddings, the rest of the weights shared."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from luthier.errors import ModelError
from luthier.models._adapter import sharing_copy

_FIX = "correct train: added_tokens in luthier.yaml"


@dataclass(frozen=True)
class Added:
    """Tokens added to a vocabulary: their texts, and for each new id the ids that its text was split into before."""

    texts: tuple[str, ...] = ()
    pieces: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[int, ...]:
        """The new ids."""
        return tuple(self.pieces)


def longer_tokenizer(tokenizer: Any, tokens: Sequence[str]) -> tuple[Any, Added]:
    """A copy of the tokenizer that knows `tokens`, and what was added.

    They are ordinary tokens: an answer shows them.

    Raises:
        ModelError: a token is known already, or is named twice.
    """
    from transformers import AddedToken

    known = tokenizer.get_vocab()
    repeated = sorted({token for token in tokens if token in known or list(tokens).count(token) > 1})
    if repeated or not all(token.strip() for token in tokens):
        raise ModelError(
            f"these tokens cannot be added: {', '.join(map(repr, repeated)) or 'an empty one'}",
            why="an added token is a text that the tokenizer has no token for, named once",
            fix=_FIX,
        )
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
    ids = longer.convert_tokens_to_ids(list(tokens))
    pieces = [list(tokenizer.encode(token, add_special_tokens=False)) for token in tokens]
    return longer, Added(tuple(tokens), dict(zip(ids, pieces, strict=True)))


def longer_module(module: Any, added: Added) -> Any:
    """A copy of a transformers model with the rows of `add_rows`; it shares all other weights."""
    longer = sharing_copy(module)
    for layer in {id(part): part for part in _tables(longer)}.values():
        layer.weight.data = layer.weight.detach().clone()  # tied tables are one parameter: the rows are copied once
    add_rows(longer, added)
    return longer


@torch.no_grad()
def add_rows(module: Any, added: Added) -> None:
    """Give a model rows for new ids, each the mean of the rows of its pieces (Hewitt 2021), input and output alike.

    Raises:
        ModelError: the output layer has a bias, which PEFT leaves out beside trained tokens.
    """
    tables = _tables(module)
    if any(getattr(table, "bias", None) is not None for table in tables):
        raise ModelError(
            f"{type(module).__name__} takes no added tokens",
            why="its output layer has a bias, which PEFT's layer for trained tokens leaves out",
            fix="leave out train: added_tokens in luthier.yaml, or choose another base",
        )
    if max(added.ids) >= tables[0].weight.shape[0]:
        module.resize_token_embeddings(max(added.ids) + 1, mean_resizing=False)
    for table in _tables(module):
        for new, old in added.pieces.items():
            table.weight[new] = table.weight[list(old)].float().mean(0).to(table.weight.dtype)


def table_names(module: Any) -> list[str]:
    """Names of the layers with a row a token: the input embedding, and the output layer where it has its own."""
    names = {id(layer): name for name, layer in module.named_modules()}
    first, *rest = _tables(module)
    return [names[id(first)], *(names[id(table)] for table in rest if table.weight is not first.weight)]


def check_vocabulary(adapter: Path, tokenizer: Any) -> None:
    """Refuse an adapter beside which lies another tokenizer than the one in use.

    Raises:
        ModelError: the two have different vocabularies.
    """
    from tokenizers import Tokenizer

    file = adapter / "tokenizer.json"
    if not file.is_file():
        return
    wanted, found = Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True), tokenizer.get_vocab()
    different = sorted(token for token in {*wanted, *found} if wanted.get(token) != found.get(token))
    if different:
        raise ModelError(
            f"the adapter in {adapter} was trained with another tokenizer: {len(different)} token(s) differ, "
            f"{different[0]!r} for one",
            why="its tokens mean something else to this base",
            fix="name the base that it was trained on; tokens are added with train: added_tokens in luthier.yaml",
        )


def _tables(module: Any) -> list[Any]:
    return [table for table in (module.get_input_embeddings(), module.get_output_embeddings()) if table is not None]
