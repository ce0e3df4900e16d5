"""PEFT adapters on a base whose weights stay shared and untouched."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from luthier.errors import ModelError, Problem
from luthier.models._identity import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_hash
from luthier.models._quiet import quiet

_FIX = "name a folder that `luthier tune` or PEFT's save_pretrained wrote, for this base"


@dataclass(frozen=True)
class Adapter:
    """An adapter as read from its folder, with its scale already in the configuration."""

    folder: Path
    config: Any
    weights: dict[str, torch.Tensor]
    identity: str


def read_adapter(folder: Path, scale: float) -> Adapter:
    """Reads a LoRA adapter; safetensors only.

    Raises:
        ModelError: a file is missing or damaged, it is no LoRA adapter, or it cannot be scaled.
    """
    with quiet():
        from peft import LoraConfig, PeftConfig

    missing = [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if not (folder / name).is_file()]
    if missing:
        pickled = (folder / "adapter_model.bin").is_file()
        raise ModelError(
            f"{folder} holds no adapter that can be read: {' and '.join(missing)} missing",
            why="adapter_model.bin is a pickle, which runs code when it is read; only safetensors are"
            if pickled
            else "",
            fix="save it again with PEFT's save_pretrained (its default is safetensors)" if pickled else _FIX,
        )
    try:
        config = PeftConfig.from_pretrained(str(folder))
        weights = load_file(str(folder / ADAPTER_WEIGHTS))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the adapter in {folder} is damaged: {error}", fix=_FIX) from error
    if not isinstance(config, LoraConfig):
        raise ModelError(
            f"the adapter in {folder} is of type {config.peft_type}, not LoRA",
            why="prompt and prefix tuning change positions, which sharing a prompt's beginning does not allow for",
            fix="train it as LoRA, or merge it into its base and name the merged folder",
        )
    _scale(config, scale, folder)
    config.base_model_name_or_path = None  # a place on another machine; whether it fits is seen by its tensors
    return Adapter(folder, config, weights, adapter_hash(folder))


def attach(module: Any, adapter: Adapter) -> Any:
    """A PEFT model on a copy of `module` that shares its weights; `module` itself is not changed.

    Raises:
        ModelError: the adapter does not fit; every tensor that does not is named.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    if hasattr(module, "peft_config"):
        raise ModelError(
            "the model already has an adapter", fix="put the adapter on the base model, or merge the first one into it"
        )
    with quiet(), warnings.catch_warnings():
        # PEFT asks transformers under a name that is being renamed; the answer is the same.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        try:
            model = get_peft_model(sharing_copy(module), adapter.config, low_cpu_mem_usage=True)
        except ValueError as error:  # no layer has the names that the adapter changes
            raise ModelError(
                f"the adapter in {adapter.folder} does not fit this base: {error}",
                why="it was trained on a model with other layers",
                fix=_FIX,
            ) from error
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
        _check_shapes(adapter, {name: tuple(tensor.shape) for name, tensor in wanted.items()})
        set_peft_model_state_dict(model, adapter.weights, low_cpu_mem_usage=True)
        _settle_tokens(model)
    return model.to(module.device).eval()


def _settle_tokens(model: Any) -> None:
    """Put trained rows of tokens into their tables, which PEFT would copy as a whole in every pass."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for layer in model.modules():
        if isinstance(layer, TrainableTokensLayer):
            layer.merge()


def sharing_copy(module: Any) -> Any:
    """A copy of the modules around the same weights: what replaces modules of it leaves the original's alone."""
    shared: dict[int, Any] = {}
    for parameter in module.parameters():
        # A parameter object of its own, on the same memory: PEFT freezes it without freezing the original.
        shared[id(parameter)] = torch.nn.Parameter(parameter.detach(), requires_grad=False)
    return copy.deepcopy(module, shared)


def _scale(config: Any, scale: float, folder: Path) -> None:
    if scale == 1.0:
        return
    extras = [
        name for name in ("use_dora", "modules_to_save", "trainable_token_indices") if getattr(config, name, None)
    ]
    if extras or not 0 <= scale <= 2:
        raise ModelError(
            f"the adapter in {folder} cannot be used at scale {scale:g}"
            + (f": it has {', '.join(extras)}" if extras else ""),
            why="only the low-rank product can be scaled, from 0 (the base) over 1 (as trained) to 2",
            fix="use scale 1",
        )
    config.lora_alpha = config.lora_alpha * scale
    config.alpha_pattern = {name: alpha * scale for name, alpha in (config.alpha_pattern or {}).items()}


def _check_shapes(adapter: Adapter, wanted: dict[str, tuple[int, ...]]) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in adapter.weights.items()}
    problems = [Problem(f"{name}: missing in the adapter") for name in sorted(wanted.keys() - found.keys())]
    problems += [Problem(f"{name}: the base has no place for it") for name in sorted(found.keys() - wanted.keys())]
    problems += [
        Problem(f"{name}: {list(found[name])} in the adapter, {list(wanted[name])} in the base")
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    if problems:
        raise ModelError(
            f"the adapter in {adapter.folder} does not fit this base: {len(problems)} tensor(s) differ",
            why="it was trained on another model",
            fix=_FIX,
            problems=problems[:20],
        )
