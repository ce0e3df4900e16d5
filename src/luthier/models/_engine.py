"""One transformers model, made ready to run many sequences: what its layers allow, and what fits its memory."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cached_property
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from luthier.models._attention import ATTENTION, NotShareableError, attending
from luthier.models._plan import Limits
from luthier.models._prefix import Beginnings, Prefix, extend
from luthier.models._rows import Rows, run_tree
from luthier.models._trie import lay_down

# Attention functions of transformers that read its usual masks; anything else is put aside while a model answers.
_PLAIN = frozenset({"sdpa", "eager", "flash_attention_2", "flash_attention_3"})
_CACHE_BYTES = 2 * 2**30  # of keys and values on a CPU; on a GPU half of what is free
_LOGIT_BYTES = 256 * 2**20
_KEPT = 8  # a part of that cache may hold beginnings for later calls: one in so many
_NODES = {"cpu": 256, "cuda": 2048}  # of a tree: its attention is quadratic, and a processor is busy with few
_PREFILL = {"cpu": 512, "cuda": 2048}  # of a tree of prompts
# What a pass costs before its first token, in tokens. Matrix products of SmolLM2-135M on one thread take 43 ms and 3.1
# ms more a row, so that 64 rows are within a fifth of the best a row can cost; on a GPU an assumption.
_OVERHEAD = {"cpu": 14, "cuda": 256}
_ROWS = {"cpu": 64, "cuda": 128}


class Batching(Enum):
    """How a model's sequences may run together."""

    PREFIX = "prefix"  # a common beginning is computed once, the rows run together
    PADDED = "padded"  # the rows run together, padded on the left; nothing is shared
    SINGLE = "single"  # one sequence at a time


class Engine:
    """Runs one model without leaving a trace on it: modes, attention and generation settings are put back.

    Args:
        core: a causal language model of transformers (the inner one of a PEFT model).
        stops: ids that end an answer.
        keeps: whether beginnings of prompts are kept from call to call; not for a model whose weights change.
    """

    def __init__(self, core: Any, stops: Sequence[int], *, keeps: bool = True) -> None:
        self.core, self.stops, self.keeps = core, tuple(stops), keeps
        self._lock = threading.RLock()  # re-entered where `batching` is first asked for inside a run

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        found: torch.device = self.core.device
        return found

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return int(self.core.get_output_embeddings().weight.shape[0])

    @cached_property
    def batching(self) -> Batching:
        """How sequences may run together, by the model's layers; sharing is tried out once before it is relied on."""
        kinds = {type(layer) for layer in DynamicCache(config=self.core.config).layers}
        known = bool(kinds) and kinds <= {DynamicLayer, DynamicSlidingWindowLayer}
        arguments = inspect.signature(self.core.forward).parameters
        if not known or not self.core._supports_attention_backend or "position_ids" not in arguments:
            return Batching.SINGLE
        sinks = any(name.endswith("sinks") for name, _ in self.core.named_parameters())
        if sinks or "logits_to_keep" not in arguments or not self._shares_rightly():
            return Batching.PADDED
        return Batching.PREFIX

    @cached_property
    def span(self) -> int:
        """Longest sequence, prompt and answer together, whose rows may share a beginning.

        Inside a sliding window (or a chunk of attention) every layer sees everything. Rotary embeddings that change
        with the longest row of a batch must not see a row beyond the length they were trained on.
        """
        config = self.core.config.get_text_config(decoder=True)
        limits = [self.max_length]
        layers: list[Any] = DynamicCache(config=config).layers
        limits += [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
        rope = getattr(config, "rope_parameters", None) or {}
        for settings in (rope, *(value for value in rope.values() if isinstance(value, dict))):
            if settings.get("rope_type") in ("dynamic", "longrope"):
                limits.append(int(settings.get("original_max_position_embeddings") or self.max_length))
        return min(limits)

    @cached_property
    def max_length(self) -> int:
        """Most tokens of a sequence, prompt and answer together; 2**31 - 1 for a model without such a limit."""
        config = self.core.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)

    def may_share(self, length: int) -> bool:
        """Whether a sequence of this length (prompt and answer) may run behind a shared beginning."""
        return length <= self.span and self.batching is Batching.PREFIX

    def limits(self) -> Limits:
        """What one batch may take."""
        config = self.core.config.get_text_config(decoder=True)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token = 2 * config.num_hidden_layers * heads * width * self.core.dtype.itemsize
        on_gpu = self.device.type == "cuda"
        room = torch.cuda.mem_get_info(self.device)[0] // 2 if on_gpu else _CACHE_BYTES
        kind = "cuda" if on_gpu else "cpu"
        return Limits(
            rows=_ROWS[kind],
            prefill=_PREFILL[kind],
            cache=max(1, room // token),
            nodes=max(1, min(_NODES[kind], _LOGIT_BYTES // (4 * self.vocabulary))),
            overhead=_OVERHEAD[kind],
        )

    def beginning(self, ids: tuple[int, ...]) -> tuple[Prefix | None, int]:
        """The keys and values of tokens that prompts begin with, and how many of them were still there."""
        if not ids:
            return None, 0
        with self.running(shared=False):
            return self.beginnings.get(ids, self.limits().cache // _KEPT)

    @cached_property
    def beginnings(self) -> Beginnings:
        """What prompts began with."""
        return Beginnings(self.core, self.device)

    def finish(self) -> None:
        """To be called when a call is over: a model whose weights may change keeps nothing for the next one."""
        if not self.keeps:
            self.beginnings.forget()

    @contextmanager
    def running(self, *, shared: bool) -> Iterator[None]:
        """One run at a time, without gradients, with the attention that a shared beginning needs or a plain one."""
        now = self.core.config._attn_implementation
        plain = now if now in _PLAIN else "sdpa"
        with self._lock, torch.inference_mode(), attending(self.core, ATTENTION if shared else plain):
            yield

    def _shares_rightly(self) -> bool:
        """Whether rows behind a shared beginning get the logits of their whole sequence: tried on two short rows."""
        size = self.vocabulary
        ids = [(7919 * i + 13) % size for i in range(11)]
        whole = [ids[:9], ids[:6] + ids[9:]]
        with self.running(shared=False):
            wanted = [
                self.core(input_ids=torch.tensor([row], device=self.device)).logits[0, -1].float() for row in whole
            ]
            prefix, _ = extend(self.core, None, ids[:5], self.device)
        trie = lay_down([tuple(row[5:-1]) for row in whole])
        try:
            with self.running(shared=True):
                _, found = run_tree(self.core, prefix, trie, trie.paths[0][-1:], self.device)
                rows = Rows(self.core, prefix, self.device)
                rows.join(found, trie.paths)
                got = rows.step(torch.tensor([row[-1] for row in whole], device=self.device))
        except NotShareableError:
            return False
        exact = self.core.dtype in (torch.float32, torch.float64)
        return all(
            bool((a - b).abs().max() <= (1e-3 if exact else 0.25) * a.std()) for a, b in zip(wanted, got, strict=True)
        )
