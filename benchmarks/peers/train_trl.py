"""TRL's side of `benchmarks/train.py`; runs in TRL's own environment.

Rows come as token ids with the same labels, in the order of our steps; the adapter begins with the same weights and the
learning rate follows the same course. What is compared is the engine.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import torch
from datasets import Dataset
from memory import peak
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

# The first is what TRL does when nothing is said; the others are what its documentation recommends for speed, in the
# precision that the processor multiplies faster.
VARIANTS: dict[str, tuple[torch.dtype, dict]] = {
    "default": (torch.float32, {}),
    "no checkpointing": (torch.float32, {"gradient_checkpointing": False}),
    "fp32": (torch.float32, {"gradient_checkpointing": False, "bf16": False}),
    "fp32, chunked loss": (
        torch.float32,
        {"gradient_checkpointing": False, "bf16": False, "loss_type": "chunked_nll"},
    ),
    "bf16 weights": (torch.bfloat16, {"gradient_checkpointing": False, "bf16": False}),
    "bf16 weights, chunked loss": (
        torch.bfloat16,
        {"gradient_checkpointing": False, "bf16": False, "loss_type": "chunked_nll"},
    ),
    "bf16 weights, chunked loss, padding-free": (
        torch.bfloat16,
        {"gradient_checkpointing": False, "bf16": False, "loss_type": "chunked_nll", "padding_free": True},
    ),
}


class Notes(TrainerCallback):
    """Processor time after each step, and the loss that is logged for it."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """A step is over."""
        self.times.append(time.process_time())

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Something is logged."""
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(job["threads"])
    warnings.simplefilter("ignore")
    dtype, settings = VARIANTS[job["variant"]]
    model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=dtype)
    model = PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
    rows = [
        {"input_ids": row["ids"], "labels": [-100] * row["start"] + row["ids"][row["start"] :]}
        for row in job["tokenised"]
    ]
    recipe, rates, notes = job["recipe"], job["rates"], Notes()
    config = SFTConfig(
        output_dir=job["out"],
        max_steps=len(rates),
        per_device_train_batch_size=recipe["batch_size"],
        max_length=None,
        max_grad_norm=recipe["clip"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
        dataloader_num_workers=0,
        **settings,
    )
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=1.0,
        betas=(recipe["beta1"], recipe["beta2"]),
        weight_decay=recipe["weight_decay"],
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job["folder"]),
        optimizers=(optimizer, schedule),
        callbacks=[notes],
    )
    trainer.train()
    print(json.dumps({"times": notes.times, "losses": notes.losses, "peak": peak(), "setting": job["variant"]}))


if __name__ == "__main__":
    main()
