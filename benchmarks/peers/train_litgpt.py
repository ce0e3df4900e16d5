"""LitGPT's side of `benchmarks/train.py`; runs in LitGPT's own environment.

Its own model code, LoRA layers and training loop (`litgpt.finetune.lora.fit`), on our token ids, labels, order and
learning rates. What differs: its adapter begins with its own random weights, and it does not clip gradients.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.loggers.logger import Logger
from litgpt.args import EvalArgs, TrainArgs
from litgpt.data.base import get_sft_collate_fn
from litgpt.finetune.lora import fit
from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint
from litgpt.utils import instantiate_torch_optimizer, load_checkpoint
from memory import peak
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

NAME = "SmolLM2-135M-Instruct"
PRECISIONS = {"bf16 weights": "bf16-true", "mixed precision": "bf16-mixed"}


class Notes(Logger):
    """The loss that is logged for each step."""

    name, version = "notes", 0

    def __init__(self) -> None:
        self.losses: list[float] = []

    def log_metrics(self, metrics, step=None) -> None:
        """Something is logged."""
        if "loss" in metrics:
            self.losses.append(float(metrics["loss"]))

    def log_hyperparams(self, *args, **kwargs) -> None:
        """Not kept."""


def sample(row: dict) -> dict:
    """A row as LitGPT's data modules give it."""
    ids = torch.tensor(row["ids"])
    labels = ids.clone()
    labels[: row["start"]] = -100
    count = {"raw": len(ids), "raw_plus_prompt_template": len(ids)}
    return {"input_ids": ids, "labels": labels, "token_counts": count}


def converted(job: dict) -> Path:
    """The base in LitGPT's own format."""
    folder = Path(job["out"]) / NAME
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in Path(job["folder"]).iterdir():
        shutil.copyfile(file, folder / file.name)
    convert_hf_checkpoint(folder)
    return folder


def train(job: dict) -> dict:
    recipe, rates, notes, times = job["recipe"], job["rates"], Notes(), []
    folder = converted(job)
    config = Config.from_file(
        folder / "model_config.yaml",
        lora_r=recipe["rank"],
        lora_alpha=recipe["alpha"],
        lora_dropout=0.0,
        **{f"lora_{part}": True for part in ("query", "key", "value", "projection", "mlp")},
    )
    fabric = L.Fabric(accelerator="cpu", devices=1, precision=PRECISIONS[job["variant"]], loggers=notes)
    fabric.seed_everything(0)
    with fabric.init_module(empty_init=False):
        model = GPT(config)
    mark_only_lora_as_trainable(model)
    model = fabric.setup_module(model)
    wanted = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0, "betas": [recipe["beta1"], recipe["beta2"]]}}
    wanted["init_args"]["weight_decay"] = recipe["weight_decay"]
    optimizer = fabric.setup_optimizers(instantiate_torch_optimizer(wanted, model.parameters()))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    load_checkpoint(fabric, model, folder / "lit_model.pth", strict=False)
    samples = [sample(row) for row in job["tokenised"]]
    loaders = [
        DataLoader(part, batch_size=recipe["batch_size"], collate_fn=get_sft_collate_fn())
        for part in (samples, samples[:1])
    ]
    register_optimizer_step_post_hook(lambda *_: times.append(time.process_time()))
    fit(
        fabric=fabric,
        model=model,
        optimizer=optimizer,
        scheduler=schedule,
        train_dataloader=fabric.setup_dataloaders(loaders[0]),
        val_dataloader=fabric.setup_dataloaders(loaders[1]),
        devices=1,
        checkpoint_dir=folder,
        out_dir=folder.parent,
        train=TrainArgs(
            save_interval=None,
            global_batch_size=recipe["batch_size"],
            micro_batch_size=recipe["batch_size"],
            lr_warmup_steps=None,
            epochs=2,  # ends by `max_steps`; at the end of its epochs it would write an example answer
            max_steps=len(rates),
        ),
        eval=EvalArgs(interval=10**9, max_new_tokens=1, max_iters=1),
        data=None,
    )
    return {"times": times, "losses": notes.losses}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(job["threads"])
    warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):
        found = train(job)
    print(json.dumps(found | {"peak": peak(), "setting": job["variant"]}))


if __name__ == "__main__":
    main()
