"""TRL's side of `benchmarks/gpu.py`, and Unsloth's, which trains through it: our tokens, order, rates, adapter."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import torch

ON_GPU = torch.cuda.is_available()
# The first is what TRL does when nothing is said: fp32 weights under bf16 autocast, activations computed again. The
# others are what its documentation recommends for speed; padding-free without FlashAttention, which has no wheel.
VARIANTS: dict[str, tuple[torch.dtype, dict]] = {
    "default": (torch.float32, {}),
    "liger": (torch.bfloat16, {"gradient_checkpointing": False, "use_liger_kernel": True}),
    "liger-checkpointing": (torch.bfloat16, {"gradient_checkpointing": True, "use_liger_kernel": True}),
    "liger-padding-free": (
        torch.bfloat16,
        {"gradient_checkpointing": False, "use_liger_kernel": True, "padding_free": True},
    ),
    "unsloth": (torch.bfloat16, {}),
}
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def wait() -> float:
    """The time when all that was asked of the GPU is done."""
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def load(job: dict, data: str):
    """The model in training, and whether it is new: Unsloth and full fine-tuning keep none between data sets."""
    dtype = VARIANTS[job["variant"]][0]
    if job["variant"] == "unsloth":
        from unsloth import FastLanguageModel

        model, _ = FastLanguageModel.from_pretrained(
            job["model"], max_seq_length=2048, dtype=dtype, load_in_4bit=False, local_files_only=True
        )
        return FastLanguageModel.get_peft_model(
            model, r=16, lora_alpha=32, lora_dropout=0.0, target_modules=LAYERS, use_gradient_checkpointing=False
        )
    from transformers import AutoModelForCausalLM

    device = {"device_map": {"": 0}} if ON_GPU else {}
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype, **device)
    if job["method"] == "lora":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, Path(job["handed"]) / data, is_trainable=True)
    return model


def train(job: dict, data: str, rates: list[float]) -> dict:
    model = load(job, data)
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Notes(TrainerCallback):
        """Time after each step, and the loss that is logged for it."""

        def __init__(self) -> None:
            self.times: list[float] = []
            self.losses: list[float] = []

        def on_step_end(self, args, state, control, **kwargs) -> None:
            """A step is over."""
            self.times.append(wait())

        def on_log(self, args, state, control, logs=None, **kwargs) -> None:
            """Something is logged."""
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    tokenised = json.loads((Path(job["handed"]) / data / "rows.json").read_text("utf-8"))
    rows = [
        {"input_ids": row["ids"], "labels": [-100] * row["start"] + row["ids"][row["start"] :]} for row in tokenised
    ]
    settings = VARIANTS[job["variant"]][1]
    notes = Notes()
    config = SFTConfig(
        output_dir=str(Path(job["handed"]) / "trl"),
        max_steps=len(rates),
        per_device_train_batch_size=job["batch"],
        max_length=None,
        max_grad_norm=1.0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=not ON_GPU,
        bf16=ON_GPU,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        **settings,
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1.0, weight_decay=0.0, fused=ON_GPU)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        optimizers=(optimizer, schedule),
        callbacks=[notes],
    )
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    warm, batch = job["warm_up"], job["batch"]
    timed = [tokenised[i : i + batch] for i in range(warm * batch, len(tokenised), batch)]
    padded = settings.get("padding_free") is not True
    run = sum(len(s) * max(len(r["ids"]) for r in s) if padded else sum(len(r["ids"]) for r in s) for s in timed)
    return {
        "seconds": (notes.times[-1] - notes.times[warm - 1]) / job["steps"],
        "losses": notes.losses[: len(rates)],
        "run_tokens": run / job["steps"],
        "peak": torch.cuda.max_memory_allocated() if ON_GPU else 1,
    }


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    if job["variant"] == "unsloth":
        import unsloth  # noqa: F401  # before transformers and trl: it replaces parts of them
    warnings.simplefilter("ignore")
    rates = json.loads((Path(job["handed"]) / "rates.json").read_text("utf-8"))
    found: dict = {}
    for data in job["data"]:
        try:
            found[data] = train(job, data, rates[data])
        except torch.OutOfMemoryError as error:
            found[data] = {"error": f"out of memory: {str(error)[:90]}"}
        if ON_GPU:
            torch.cuda.empty_cache()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
