"""GGUF files, converted once to bf16 safetensors in the cache."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from filelock import FileLock

from luthier.errors import ModelError
from luthier.models._identity import file_hashes
from luthier.models._quiet import quiet
from luthier.store import new_folder, writing


def convert_gguf(file: Path, cache: Path) -> Path:
    """The folder of `cache` that holds `file` as bf16 safetensors with tokenizer and template.

    Made on the first call, under a temporary name and a lock, so that neither a crash nor a second process can leave
    half a model. The folder's name has the hash of the file's content: a changed file is converted anew.

    Raises:
        ModelError: the file is no GGUF model that transformers knows.
        DiskFullError, StoreError: the cache cannot be written.
    """
    digest = file_hashes([file], cache=cache)[0]
    folder = cache / f"{file.stem}-{digest[:16]}"
    if folder.is_dir():
        return folder
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():  # nobody made it while we waited
            with new_folder(folder) as temporary:
                _write(file, temporary)
    return folder


def _write(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # The converter draws a bar of its own that transformers' switches do not reach; errors come as exceptions.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                str(file.parent),
                gguf_file=file.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
                local_files_only=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError, ImportError) as error:
            raise ModelError(
                f"{file} cannot be read as a GGUF model: {str(error).strip() or type(error).__name__}",
                fix="fetch the file again, or name the model's safetensors (a folder or a hub id)",
            ) from error
        with writing(folder):
            model.save_pretrained(str(folder))
            tokenizer.save_pretrained(str(folder))
