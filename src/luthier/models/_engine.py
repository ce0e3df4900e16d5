"""Greedy decoding of many prompts at once on one transformers model; how they may share work depends on its layers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from luthier.models._constrain import Matcher
from luthier.models._plan import Batch, Limits, plan, shared_by_all
from luthier.models._prefix import ATTENTION, Prefix, Rows, attending, extend
from luthier.models._quiet import quiet


class Batching(Enum):
    """How a model's prompts may run together."""

    PREFIX = "a common beginning is computed once; rows run together"
    PADDED = "rows run together, padded on the left; nothing is shared"
    SINGLE = "one prompt at a time"


@dataclass(frozen=True)
class Job:
    """A prompt to continue."""

    prompt: tuple[int, ...]
    max_tokens: int
    matcher: Matcher | None = None


@dataclass
class Generated:
    """A continuation. `tokens` are without the stop token, which `computed` counts; `shared` prompt tokens were spared."""

    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    finish: Literal["stop", "length"] = "length"
    seconds: float = 0.0
    shared: int = 0


class Engine:
    """One model, ready to continue prompts greedily.

    Greedy means the largest of the model's own logits: sampling settings and repetition penalties that a model's
    generation config may carry are not applied, because training and log-probabilities know nothing of them.
    """
