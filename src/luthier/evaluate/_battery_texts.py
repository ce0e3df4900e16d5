"""Texts for comparing distributions: what the base answers, how it carries plain text on, and the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data import Message
from luthier.evaluate._battery import ScoringModel, TextFamily
from luthier.models import Request, render_prompt

_SEED = 0
_TOP_P = 0.95  # plain sampling from a small model drifts into noise, which says little about what it is used for
_MOST = 1000  # tokens to draw from; 95 % of a sharper distribution than noise lie within them


@dataclass(frozen=True)
class TokenText:
    """Tokens of a text; those from `start` on are compared. `text` is what a person reads of them."""

    ids: tuple[int, ...]
    start: int
    text: str


def make_texts(base: ScoringModel, family: TextFamily) -> Iterator[TokenText]:
    """The family's texts in order; the same on every call on one machine."""
    if family.source == "chat":
        yield from _chat(base, family)
    elif family.source == "plain":
        yield from _continued(base, family)
    else:
        for piece in family.prompts:
            ids = base.tokenizer.encode(piece)
            yield TokenText(tuple(ids), 1, piece)


def _chat(base: ScoringModel, family: TextFamily) -> Iterator[TokenText]:
    conversations = [(Message("user", prompt),) for prompt in family.prompts]
    answers = dict(base.answer([Request(messages, family.tokens) for messages in conversations]))
    for i, messages in enumerate(conversations):
        prompt = render_prompt(base.tokenizer, messages)
        answer = base.tokenizer.encode(answers[i].text, add_special_tokens=False)
        if answer:  # a base that ends its turn at once says nothing to compare
            yield TokenText((*prompt, *answer), len(prompt), answers[i].text)


def _continued(base: ScoringModel, family: TextFamily) -> Iterator[TokenText]:
    """The openings carried on by the base, sampled with a fixed seed.

    All are cut to the length of the shortest: rows of one length need no padding, which not every architecture takes.
    """
    encoded = [base.tokenizer.encode(opening) for opening in family.prompts]
    length = min(len(ids) for ids in encoded)
    begun = [ids[:length] for ids in encoded]
    for ids, drawn in zip(begun, _sample(base.module, begun, family.tokens), strict=True):
        yield TokenText((*ids, *drawn), length, base.tokenizer.decode(drawn))


def _sample(module: Any, rows: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Further tokens for rows of one length, drawn from the likeliest that make up 95 % (Holtzman et al. 2020)."""
    import torch

    draw = torch.Generator().manual_seed(_SEED)
    step, cache = torch.tensor([list(row) for row in rows], device=module.device), None
    columns: list[torch.Tensor] = []
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode():
            while len(columns) < tokens:
                out = module(input_ids=step, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                chances = out.logits[:, -1].float().softmax(-1)
                chances, order = (found.cpu() for found in chances.topk(min(_MOST, chances.shape[-1])))
                chances[chances.cumsum(-1) - chances > _TOP_P] = 0
                columns.append(order.gather(1, torch.multinomial(chances, 1, generator=draw)))
                step = columns[-1].to(module.device)
    finally:
        for part in training:
            part.training = True
    found: list[list[int]] = torch.cat(columns, dim=1).tolist()
    return found
