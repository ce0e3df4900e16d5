"""The model in training: a copy of the base, what of it is trained, and the precise weights that the optimizer sees.

The forward pass runs on working weights in the run's precision. The optimizer works on fp32 masters, which are the
working weights themselves where that precision is fp32. So a bf16 base needs no casts between base and adapter, and
no update is lost to rounding (Micikevicius et al. 2018).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from luthier.errors import TrainingError
from luthier.models import LocalModel, add_rows, quiet, sharing_copy, table_names, write_origin
from luthier.train._course import Pass
from luthier.train._files import saving, write_tensors
from luthier.train._group import Group, placed, whole
from luthier.train._recipe import Method, Recipe
from luthier.train._rows import EncodedRow

ADAPTER = "default"
TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges*",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.jinja",
    "*.model",
)


def load_body(
    base: LocalModel, dtype: torch.dtype, method: Method = "lora", device: torch.device | None = None
) -> PreTrainedModel:
    """A fresh copy of the base, in `dtype` and without dropout; for `qlora` its linear layers in 4 bits.

    It is on the base's device unless told otherwise.

    Raises:
        TrainingError: the base is not a plain model that lies in a folder, or bitsandbytes is missing.
    """
    from transformers import AutoModelForCausalLM

    if method == "qlora":
        _check_quantisable(base)
    how: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    with quiet():
        body: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            base_folder(base), dtype="auto" if method == "qlora" else dtype, **how
        )
    if method == "qlora":
        with quiet():
            from luthier.train._nf4 import pack
        pack(body, dtype, device or base.device)
    else:
        body.to(device or base.device)  # type: ignore[arg-type]  # its stubs know strings only
    if base.added.texts:
        add_rows(body, base.added)
    body.eval()  # type: ignore[no-untyped-call]  # transformers leaves it without types
    return body


def training_copy(base: LocalModel, dtype: torch.dtype, method: Method) -> PreTrainedModel:
    """As `load_body`, without a second set of weights where training leaves them as the base has them (`shares`)."""
    quantised = getattr(base.module.config, "quantization_config", None) is not None  # then weights carry scales
    if quantised or not shares(base.module.dtype, dtype, method):
        return load_body(base, dtype, method)
    base_folder(base)  # refuses what cannot be trained
    body: PreTrainedModel = sharing_copy(base.module)
    return body


def shares(own: torch.dtype, dtype: torch.dtype, method: Method) -> bool:
    """Whether what is trained on a base in precision `own` can look at the base's own weights: LoRA in the same one."""
    return method == "lora" and own == dtype


def _check_quantisable(base: LocalModel) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise TrainingError(
            "train: {method: qlora} needs bitsandbytes, which is not installed",
            why="it keeps the base's weights in 4 bits",
            fix='pip install "luthier[qlora]", or set train: {method: lora} in luthier.yaml',
        )
    if getattr(base.module.config, "quantization_config", None) is not None:
        raise TrainingError(
            f"{base.name} is quantised already",
            why="quantising it again would train on other weights than it has",
            fix="set train: {method: lora} in luthier.yaml: the adapter is trained on the base as it is",
        )


def base_folder(base: LocalModel) -> Path:
    """Where the base's own weights lie.

    Raises:
        TrainingError: it has none, or it has an adapter on it.
    """
    if base.folder is None or base.adapter is not None:
        raise TrainingError(
            f"{base.name} cannot be trained",
            why="training starts from a plain model in a folder, not from one with an adapter or one in memory only",
            fix="name the base itself, or merge the adapter into it first and name the merged folder",
        )
    return base.folder


class Trainee:
    """The model in training.

    `body` is the transformers model; `module` is what is called: the body with LoRA layers in it, or the body itself.
    `masters` are the trained weights by name, fp32 at least; backward passes add to their gradients. `added_ids` are
    tokens whose rows are trained beside LoRA. Where `sharded`, each process has a part of every weight.
    """

    sharded = False

    def __init__(self, body: PreTrainedModel, recipe: Recipe, added_ids: Sequence[int] = ()) -> None:
        self.body = body.requires_grad_(recipe.method == "full")
        self.module: Any = self.body if recipe.method == "full" else _with_lora(self.body, recipe, added_ids)
        self.method = recipe.method
        self._settle()
        self._working = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        self.masters = {name: _master(parameter) for name, parameter in self._working.items()}
        for name, master in self.masters.items():
            master.grad = torch.zeros_like(master)
            if self._working[name] is not master:
                self._working[name].register_post_accumulate_grad_hook(partial(_hand_over, master))
        self.publish()

    def _settle(self) -> None:
        """Put the weights where they stay while it is trained; here they are there."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.body.device

    def passes(self, parts: Sequence[Sequence[EncodedRow]], rows: Sequence[EncodedRow], group: Group) -> list[Pass]:
        """What this process runs in a step: its `parts` of the step's `rows`."""
        return [Pass(part) for part in parts]

    @contextmanager
    def untrained(self, base: LocalModel) -> Iterator[tuple[Any, PreTrainedModel]]:
        """The model as it was before training, without gradients: what to call, and the transformers model in it.

        The adapter is put aside; with all weights in training it is the base itself.
        """
        with torch.no_grad():
            if self.method != "full":
                with self.module.disable_adapter():
                    yield self.module, self.body
            else:
                yield base.module, base.module

    def keep_only_layer_inputs(self) -> None:
        """Keep what enters a decoder layer, and compute the layer again for the backward pass (Chen et al. 2016).

        It makes the same weights with less memory and about a third more work.
        """
        for layer in self.body.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.gradient_checkpointing = True
                again = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False, preserve_rng_state=False)
                setattr(layer, "_gradient_checkpointing_func", again)  # noqa: B010  # mypy takes it for a submodule
                layer.training = True  # of this module alone: nothing inside it drops out

    def forget_gradients(self) -> None:
        """Begin a new optimizer step."""
        torch._foreach_zero_([master.grad for master in self.masters.values() if master.grad is not None])

    def sum_gradients(self, group: Group) -> None:
        """Give the masters the sum of all processes' gradients."""
        group.add([master.grad for master in self.masters.values() if master.grad is not None])

    def clip_gradients(self, limit: float) -> float:
        """Scale all gradients down where their norm is above `limit`; gives the norm that they had."""
        return float(torch.nn.utils.clip_grad_norm_(self.masters.values(), limit))

    @torch.no_grad()
    def publish(self) -> None:
        """Give the working weights the masters' values, rounded to the run's precision."""
        pairs = [(working, self.masters[name]) for name, working in self._working.items()]
        apart = [(working, master) for working, master in pairs if working is not master]
        if apart:
            torch._foreach_copy_([working for working, _ in apart], [master for _, master in apart])

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over saved masters."""
        for name, master in self.masters.items():
            master.copy_(placed(weights[name], master))
        self.publish()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the masters, on the CPU; of sharded ones called by all processes, for the first."""
        return {name: whole(master) for name, master in self.masters.items()}

    @contextmanager
    def in_one_piece(self, base: LocalModel) -> Iterator[PreTrainedModel]:
        """The transformers model as it is now, to be asked by the first process; called by all."""
        yield self.body

    def save(self, weights: dict[str, Tensor], folder: Path, base: LocalModel) -> None:
        """Write masters as what they are: a PEFT adapter, or a whole model with the base's tokenizer.

        The bytes depend on the weights and the recipe only, not on the machine or on where the base lies.
        """
        if self.method != "full":
            self._save_adapter(weights, folder, base)
        else:
            save_model(self._filled(weights, base), folder, base)

    def _filled(self, weights: dict[str, Tensor], base: LocalModel) -> PreTrainedModel:
        """A whole model with these weights."""
        self.load(weights)
        return self.body

    def _save_adapter(self, weights: dict[str, Tensor], folder: Path, base: LocalModel) -> None:
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self.module, state_dict=weights, save_embedding_layers=False)
        config = self.module.peft_config[ADAPTER].to_dict()
        config |= {"base_model_name_or_path": base_name(base), "inference_mode": True, "revision": None}
        text = json.dumps(config, indent=2, sort_keys=True, default=_json)
        write_tensors(folder / "adapter_model.safetensors", state)
        with saving(folder):
            (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
            if base.added.texts:
                base.tokenizer.save_pretrained(folder)
        write_origin(folder, base_folder(base), base_name(base), base.added.texts)


def base_name(base: LocalModel) -> str:
    """The base's name without a place on this machine."""
    return Path(base.name).name if Path(base.name).is_absolute() or base.name.startswith(".") else base.name


def save_model(body: PreTrainedModel, folder: Path, base: LocalModel) -> None:
    """Write a whole model as safetensors, with the files of the base's tokenizer and chat template beside it."""
    with saving(folder):
        with quiet():
            body.save_pretrained(folder)
        for pattern in TOKENIZER_FILES:
            for file in sorted(base_folder(base).glob(pattern)):
                shutil.copyfile(file, folder / file.name)
        if base.added.texts:
            base.tokenizer.save_pretrained(folder)


def _with_lora(body: PreTrainedModel, recipe: Recipe, added_ids: Sequence[int]) -> Any:
    with quiet():
        from peft import LoraConfig, TaskType, get_peft_model
    from transformers.pytorch_utils import Conv1D

    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        use_rslora=recipe.variant == "rslora",
        use_dora=recipe.variant == "dora",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in body.modules()),
        trainable_token_indices={name: list(added_ids) for name in table_names(body)} if added_ids else None,
        **_places(body, recipe),
    )
    _fuse(config, recipe)
    devices = [body.device] if body.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property that has a new name by now.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        torch.manual_seed(recipe.seed)
        try:
            module = get_peft_model(body, config, autocast_adapter_dtype=False)
        except ValueError as error:
            named = " ".join(recipe.layers or ())
            raise TrainingError(
                f"LoRA cannot be put on {type(body).__name__}: {error}",
                fix=f"correct train: layers in luthier.yaml ({named}), or leave it out: all linear layers"
                if named
                else "choose another base (base: in luthier.yaml), or train: {method: full}",
            ) from error
    return module.eval()


def _places(body: PreTrainedModel, recipe: Recipe) -> dict[str, Any]:
    """Which layers get an adapter, as PEFT is told; the blocks by their numbers, as its files name them.

    Raises:
        TrainingError: the model has no such block.
    """
    if recipe.from_layer == 0:
        return {"target_modules": "all-linear" if recipe.layers is None else list(recipe.layers)}
    blocks = body.config.get_text_config().num_hidden_layers
    if recipe.from_layer >= blocks:
        raise TrainingError(
            f"no layer is left to adapt: {type(body).__name__} has {blocks} blocks, counted from 0",
            fix=f"set train: {{from_layer: N}} in luthier.yaml with an N of at most {blocks - 1}, or leave it out",
        )
    numbers = list(range(recipe.from_layer, blocks))
    return {"target_modules": list(recipe.layers or _linear_names(body)), "layers_to_transform": numbers}


def _linear_names(body: PreTrainedModel) -> list[str]:
    """What the names of all linear layers but the output head end in."""
    from transformers.pytorch_utils import Conv1D

    linear = {name for name, layer in body.named_modules() if isinstance(layer, (torch.nn.Linear, Conv1D))}
    output = body.get_output_embeddings()  # type: ignore[no-untyped-call]  # as before
    head = {name for name, layer in body.named_modules() if layer is output}
    return sorted({name.rpartition(".")[2] for name in linear - head})


def _fuse(config: Any, recipe: Recipe) -> None:
    from luthier.train._lora import fuse

    if recipe.method == "qlora":
        from luthier.train._nf4 import FUSED

        fuse(config, FUSED)
    else:
        fuse(config)


def _master(working: Parameter) -> Parameter:
    if working.dtype.itemsize > 2:
        return working
    return Parameter(working.detach().to(torch.float32))


def _hand_over(master: Parameter, working: Tensor) -> None:
    """Add a working weight's gradient to its master's as soon as it is there, so that few of them are held at once."""
    assert master.grad is not None and working.grad is not None
    master.grad.add_(working.grad)
    working.grad = None


def _json(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{value!r} has no form in JSON")
