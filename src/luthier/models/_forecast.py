"""What answering will take, before it is asked: passes through the model, and memory beyond its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.models._trie import common_prefix

# A pass costs this much before its first token, in tokens of a forward pass: the weights have to be read from memory
# (measured on 2 CPU cores, SmolLM2-135M: 0.075 s a pass, 0.0045 s a token).
PASS = 16
ROWS = {"cpu": 32, "cuda": 128}  # prompts that are answered at the same time
SCORE_BYTES = 3 * 64 * 2**20  # attention scores of a long prefill, which are made in parts, their softmax and a copy


@dataclass(frozen=True)
class Forecast:
    """What answering takes.

    `work` is in tokens of a forward pass, `bytes` is the most that is held beyond the model's weights.
    """

    work: float
    bytes: int


def forecast_answers(
    config: Any, prompts: Sequence[Sequence[int]], lengths: Sequence[int], room: int, *, itemsize: int, kind: str
) -> Forecast:
    """Work and memory of answering prompts, a beginning that all share run once and the rest in batches.

    Args:
        config: the model's configuration (transformers).
        prompts: token ids.
        lengths: tokens that each answer will have, its end included.
        room: most tokens of an answer.
        itemsize: bytes of a weight.
        kind: "cpu" or "cuda".
    """
    text = config.get_text_config(decoder=True)
    shared = _shared(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    a_token = token_bytes(config, itemsize)
    wide = itemsize * (4 * text.hidden_size + 3 * (getattr(text, "intermediate_size", None) or 4 * text.hidden_size))
    work, most = float(shared + PASS if shared else 0), shared * (2 * a_token + wide)
    for start in range(0, len(order), ROWS[kind]):
        batch = order[start : start + ROWS[kind]]
        own = max(len(prompts[i]) for i in batch) - shared
        ends = [min(room, lengths[i]) for i in batch]
        work += len(ends) * own + PASS
        work += sum(PASS + sum(end > step for end in ends) for step in range(1, max(ends)))
        scores = len(ends) * own * (own + shared) * text.num_attention_heads * itemsize * 3
        held = a_token * (2 * shared + len(ends) * (own + room)) + min(scores, SCORE_BYTES)
        most = max(most, held + len(ends) * (own * wide + 8 * text.vocab_size))
    return Forecast(work, most)


def token_bytes(config: Any, itemsize: int) -> int:
    """Bytes of one token's keys and values in all layers."""
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width * itemsize)


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with, at least one of each left out."""
    if len(prompts) < 2:
        return 0
    alike = min(common_prefix(tuple(prompts[0]), tuple(other)) for other in prompts[1:])
    return min(alike, min(len(ids) for ids in prompts) - 1)
