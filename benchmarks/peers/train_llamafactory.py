"""LLaMA-Factory's side of `benchmarks/train.py`; runs in LLaMA-Factory's own environment.

It renders the rows itself, with its template of the model; the number of tokens is compared with ours. Order, first
adapter weights and learning rates are ours. What differs is its optimizer (the default of transformers).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
import warnings
from contextlib import redirect_stdout
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import torch

# LLaMA-Factory imports it for rows with sound, and no build of it fits a CPU build of torch 2.13; our rows are text.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)
os.environ |= {"DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}

from llamafactory.train.tuner import run_exp  # noqa: E402  # after the lines above
from transformers import TrainerCallback  # noqa: E402

VARIANTS: dict[str, dict] = {
    "bf16": {"bf16": True},
    "bf16 weights": {"bf16": True, "pure_bf16": True, "disable_gradient_checkpointing": True},
}


class Notes(TrainerCallback):
    """Processor time after each step, and the loss that is logged for it; sets our learning rates."""

    def __init__(self, rates: list[float]) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []
        self.rates = rates

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs) -> None:
        """A step begins."""
        for group in optimizer.param_groups:
            group["lr"] = self.rates[state.global_step]

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """A step is over."""
        self.times.append(time.process_time())

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Something is logged."""
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def write_data(job: dict, folder: Path) -> None:
    """The rows as conversations in the order of our steps, and LLaMA-Factory's description of them."""
    rows = [job["rows"][i] for i in job["order"]]
    turns = [[*row["messages"], {"role": "assistant", "content": row["output"]}] for row in rows]
    (folder / "rows.json").write_text(json.dumps([{"messages": turn} for turn in turns]), "utf-8")
    tags = {"role_tag": "role", "content_tag": "content", "system_tag": "system"}
    described = {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages"}}
    tags |= {"user_tag": "user", "assistant_tag": "assistant"}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": described | {"tags": tags}}), "utf-8")


def settings(job: dict, folder: Path) -> dict:
    """What would stand in LLaMA-Factory's YAML file."""
    recipe = job["recipe"]
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job["folder"],
        "adapter_name_or_path": job["adapter"],
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": recipe["rank"],
        "lora_alpha": recipe["alpha"],
        "lora_dropout": 0.0,
        "dataset": "rows",
        "dataset_dir": str(folder),
        "template": "smollm2",
        "mask_history": True,
        "cutoff_len": 8192,
        "disable_shuffling": True,
        "output_dir": str(folder / "saved"),
        "per_device_train_batch_size": recipe["batch_size"],
        "gradient_accumulation_steps": 1,
        "max_steps": len(job["rates"]),
        "learning_rate": recipe["learning_rate"],
        "max_grad_norm": recipe["clip"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        **VARIANTS[job["variant"]],
    }


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(job["threads"])
    warnings.simplefilter("ignore")
    folder, notes = Path(job["out"]), Notes(job["rates"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_data(job, folder)
    with redirect_stdout(sys.stderr):
        run_exp(settings(job, folder), callbacks=[notes])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"times": notes.times, "losses": notes.losses, "peak": peak, "setting": job["variant"]}))


if __name__ == "__main__":
    main()
