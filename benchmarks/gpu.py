"""Training on one GPU against TRL and Unsloth: random weights at real shapes, the rows of `benchmarks/train.py`.

    python benchmarks/gpu.py [--models llama-3-8b qwen3-4b] [--methods lora full] [--data snips banking77 tldr turns]
        [--variants default liger liger-checkpointing liger-padding-free unsloth]
        [--steps 10] [--batch 16] [--budgets 4096] [--tokenizer F]

Every side of a model runs in a process of its own and goes through all data sets. Our side comes first and leaves its
tokens, their order and the adapter's first weights, which the others take. Printed are row tokens a second (each row
counted in full), the share of the GPU's dense bf16 rate that the model's arithmetic takes (4 operations a token and
parameter for LoRA, 6 for all weights, on the tokens that a side really runs), the peak of allocated memory, ratios to
ours, and the largest difference of the losses. The first three steps warm up. There is nothing to download: the model
folders are made of a configuration and a tokenizer's folder. Unsloth needs older versions of what the others have: its
side takes its packages from the folder that `UNSLOTH_SITE` names, where that is set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from train import DATA

WARM_UP = 3
RATES = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 operations a second, by the data sheets
VARIANTS = {
    "lora": ("default", "liger", "liger-checkpointing", "liger-padding-free", "unsloth"),
    "full": ("default", "liger", "liger-checkpointing", "liger-padding-free"),
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-3-8b": (
        "LlamaConfig",
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_theta": 500000.0,
        },
    ),
    "qwen3-4b": (
        "Qwen3Config",
        {
            "vocab_size": 151936,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "tie_word_embeddings": True,
        },
    ),
    "small": (
        "LlamaConfig",
        {
            "vocab_size": 49152,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
        },
    ),
}


def make(name: str, tokenizer: Path, folder: Path) -> Path:
    """A model folder with random weights (bf16) and somebody's tokenizer."""
    import torch
    import transformers

    place = folder / name
    if not (place / "config.json").is_file():
        kind, shape = SHAPES[name]
        words = transformers.AutoTokenizer.from_pretrained(tokenizer)
        ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": 0}
        config = getattr(transformers, kind)(**shape, **ends)
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(place)
        words.save_pretrained(place)
    return place


def run(program: str, job: dict, folder: Path, log: Path | None) -> dict:
    """One side's figures by data set; its last line of output is JSON. What goes wrong is said in it."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), "utf-8")
    program_path = Path(__file__).parent / "peers" / program
    environment = dict(os.environ)
    if job.get("variant") == "unsloth" and "UNSLOTH_SITE" in environment:
        environment["PYTHONPATH"] = environment["UNSLOTH_SITE"]  # it needs older versions of what the others have
    began = time.perf_counter()
    done = subprocess.run([sys.executable, program_path, path], env=environment, capture_output=True, text=True)
    name = f"{job['name']} {job['method']} {program} {job.get('variant', '')} {job.get('budget', '')}"
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            seconds = time.perf_counter() - began
            file.write(
                f"=== {name} rc {done.returncode} {seconds:.0f} s\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}\n"
            )
    if done.returncode != 0:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        print(f"{name}: failed: {said[-1] if said else done.returncode}", flush=True)
        return {}
    found: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def rate() -> float:
    """Dense bf16 operations a second of this GPU; not a number where it is not known."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return next((rate for part, rate in RATES.items() if part in name), float("nan"))


def show(side: str, found: dict, ours: dict, job: dict, operations: float) -> None:
    """A row for each data set of one side."""
    for data in job["data"]:
        if data not in found or data not in ours:
            continue
        own, one = ours[data], found[data]
        if "error" in one:
            print(f"| {job['name']} | {job['method']} | {data} | {side} | {one['error']} | | | | | | |", flush=True)
            continue
        share = ours["work"] * one["run_tokens"] / one["seconds"] / operations
        faster, less = one["seconds"] / own["seconds"], own["peak"] / one["peak"]
        gap = max(abs(a - b) for a, b in zip(own["losses"], one["losses"], strict=True))
        print(
            f"| {job['name']} | {job['method']} | {data} | {side} | {one['seconds']:.3f} | "
            f"{own['row_tokens'] / one['seconds']:.0f} | {share:.0%} | {one['peak'] / 1e9:.1f} | {faster:.2f} | "
            f"{less:.2f} | {gap:.3f} |",
            flush=True,
        )
        if "setting" in one:
            print(f"  {data}: {json.dumps({k: v for k, v in one.items() if k in NOTED})}", flush=True)


NOTED = ("setting", "planned", "peak", "reserved", "loading", "error")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["llama-3-8b", "qwen3-4b"])
    parser.add_argument("--methods", nargs="+", choices=("lora", "qlora", "full"), default=["lora", "full"])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--variants", nargs="*", help="of the peers; all by default")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--budgets", type=int, nargs="+", default=[4096], help="tokens a micro-batch of ours")
    parser.add_argument("--compiled", action="store_true", help="ours once more, with compiled layers")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer with a chat template")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "luthier-gpu")
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{device}, torch {torch.__version__}\n")
    print("| model | | data | | s a step | row tokens/s | MFU | peak GB | times ours | our memory | loss gap |")
    print("|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    rows = {
        name: DATA[name](arguments.shared)[: arguments.batch * (arguments.steps + WARM_UP)] for name in arguments.data
    }
    operations = rate()
    for name in arguments.models:
        began = time.perf_counter()
        place = make(name, arguments.tokenizer, arguments.folder)
        if arguments.log:
            print(f"  made {name} in {time.perf_counter() - began:.0f} s", flush=True)
        for method in arguments.methods:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
                job = {
                    "name": name,
                    "model": str(place),
                    "method": method,
                    "rows": rows,
                    "data": arguments.data,
                    "batch": arguments.batch,
                    "steps": arguments.steps,
                    "warm_up": WARM_UP,
                    "handed": temporary,
                }
                ways = [(budget, False) for budget in arguments.budgets]
                ways += [(arguments.budgets[0], True)] * arguments.compiled
                ours: dict = {}
                for budget, compiled in ways:
                    one = job | {"budget": budget, "compiled": compiled}
                    found = run("gpu_luthier.py", one, Path(temporary), arguments.log)
                    ours = ours or found
                    show(f"luthier, {budget}{', compiled' * compiled}", found, ours, job, operations)
                if not ours:
                    continue
                variants = VARIANTS.get(method, ()) if arguments.variants is None else arguments.variants
                for variant in variants:
                    found = run("gpu_trl.py", job | {"variant": variant}, Path(temporary), arguments.log)
                    show(variant if variant == "unsloth" else f"trl, {variant}", found, ours, job, operations)


if __name__ == "__main__":
    main()
