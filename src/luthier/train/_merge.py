"""An adapter melted into its base: one plain model that needs no PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from luthier.data import Message
from luthier.errors import TrainingError
from luthier.models import LocalModel, quiet, render_prompt
from luthier.store import new_folder
from luthier.train._model import base_folder, load_body, save_model

TOLERANCE = 1e-3  # largest logit difference that fp32 arithmetic explains
SAMPLE = ("What is the capital of France?", "Write one sentence about the sea.", "List three primes.")


@dataclass(frozen=True)
class Merged:
    """A merged model.

    `merging_difference` is the largest difference of a logit between adapter and merged weights, both in fp32;
    `rounding_difference` that between the adapter and what was saved in `precision`; `same_choice` is the share of
    sample positions where the most likely token stayed the same after rounding.
    """

    folder: Path
    precision: str
    merging_difference: float
    rounding_difference: float
    same_choice: float


def merge(base: LocalModel, adapter: Path, out: Path, *, prompts: Sequence[str] = SAMPLE) -> Merged:
    """Merge an adapter into its base in fp32 and save it in the precision that the base's files have.

    Args:
        base: the untuned model that the adapter was trained on.
        adapter: its PEFT folder.
        out: where the model goes: safetensors, configuration, tokenizer and chat template.
        prompts: user messages on whose rendered form adapter and merged model are compared.

    Raises:
        ModelError: the adapter does not fit the base.
        TrainingError: the merged weights do not compute what base and adapter compute.
        DiskFullError, StoreError: `out` cannot be written.
    """
    samples = [render_prompt(base.tokenizer, [Message("user", prompt)]) for prompt in prompts]
    exact = LocalModel(
        load_body(base, torch.float32), base.tokenizer, name=base.name, identity=base.identity, folder=base.folder
    )
    tuned = exact.with_adapter(adapter)
    wanted = _logits(tuned.module, samples)
    with warnings.catch_warnings():
        # Trained rows of tokens stand in their tables already.
        warnings.filterwarnings("ignore", message="All adapters are already merged")
        body = tuned.module.merge_and_unload(safe_merge=True)
    merging = _difference(wanted, _logits(body, samples))
    if not merging <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise TrainingError(
            f"merging {adapter} changes logits by up to {merging:.3g}",
            why="base and adapter together do not compute what the merged weights compute",
            fix="use the adapter as it is: it can be served without being merged",
        )
    precision = saved_precision(base)
    with new_folder(out) as folder:
        save_model(body.to(precision), folder, base.with_tokens(tuned.added.texts) if tuned.added.texts else base)
    saved = _logits(_reload(out), samples)
    return Merged(
        folder=out,
        precision=str(precision).removeprefix("torch."),
        merging_difference=merging,
        rounding_difference=_difference(wanted, saved),
        same_choice=float((wanted.argmax(-1) == saved.argmax(-1)).double().mean()),
    )


def saved_precision(base: LocalModel) -> torch.dtype:
    """The precision of the base's files, as its configuration says; fp32 where it does not say."""
    found = AutoConfig.from_pretrained(base_folder(base), local_files_only=True).dtype
    return found if isinstance(found, torch.dtype) else torch.float32


def _reload(folder: Path) -> PreTrainedModel:
    with quiet():
        body: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return body


@torch.no_grad()
def _logits(model: Any, samples: Sequence[Sequence[int]]) -> Tensor:
    """Logits after every token of every sample, [tokens, vocabulary], on the CPU."""
    device = model.device
    return torch.cat([model(torch.tensor([ids], device=device), use_cache=False).logits[0].cpu() for ids in samples])


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())
