"""Answering few-shot prompts against `generate` of transformers on left-padded batches, greedy, fp32.

    python benchmarks/answer.py [--requests 64] [--rounds 2] [--threads 1] [--batch 8 16] [--model F] [--precision P]

The prompts are `snips` requests behind eight fixed demonstrations as chat turns. Each side runs in a process of its
own, one after another in every round. Printed are processor seconds, ratios of the peer's to ours, and in how many
cases all greedy tokens are the same; of the first that are not, how far the two tokens lie apart at the difference, in
the log-probabilities of the whole sequence run alone, so that a tie is seen as one. A batch of 1 is `generate` one
prompt at a time. On a GPU seconds are those of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

MODEL = "smollm2-135m"
SHOTS, TOKENS = 8, 48
LOOKED_AT = 10  # answers that differ


def conversations(data: Path, count: int) -> list[list[dict]]:
    """Chat messages of the requests, demonstrations first."""
    lines = (data / "snips" / "train.jsonl").read_text("utf-8").splitlines()[:SHOTS]
    said = [{"role": "system", "content": "Turn an utterance into JSON with its intent and slots."}]
    for row in map(json.loads, lines):
        said += [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    asked = (data / "snips" / "test.jsonl").read_text("utf-8").splitlines()[:count]
    return [[*said, {"role": "user", "content": json.loads(line)["prompt"]}] for line in asked]


def clock() -> float:
    """Processor seconds, or those of the clock where a GPU does the work."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def load(job: dict) -> Any:
    """The model in the wanted precision."""
    from luthier.models import LocalModel, load_model

    found = load_model(job["model"])
    module = found.module.to(getattr(torch, job["precision"]))
    return LocalModel(module, found.tokenizer, name=found.name, identity=found.identity)


def ours(job: dict) -> dict:
    """Tokens and processor seconds of our local model."""
    from luthier.data import Message
    from luthier.models import Request
    from luthier.models._generate import generate

    model = load(job)
    asked = conversations(Path(job["data"]), job["requests"])
    requests = [Request(tuple(Message(**m) for m in messages), TOKENS) for messages in asked]
    list(model.answer(requests[:2]))
    model._engine.beginnings.forget()  # what the warm-up computed
    began = clock()
    jobs = model._jobs(requests)
    found = {i: generated for some in generate(model._engine, jobs) for i, generated in some}
    spent = clock() - began
    about = [statistics.mean(len(job.prompt) for job in jobs), statistics.median_low(g.shared for g in found.values())]
    return {"tokens": [found[i].tokens for i in range(len(jobs))], "seconds": spent, "about": about}


def transformers(job: dict) -> dict:
    """Tokens and processor seconds of `generate`, in batches of neighbours in length."""
    from transformers import GenerationConfig

    from luthier.data import Message
    from luthier.models import render_prompt

    base = load(job)  # only to have the same weights and tokens
    module, tokenizer = base.module.eval(), base.tokenizer
    asked = conversations(Path(job["data"]), job["requests"])
    prompts = [render_prompt(tokenizer, [Message(**m) for m in messages]) for messages in asked]
    stops = list(base.stop_ids)
    settings = GenerationConfig(do_sample=False, max_new_tokens=TOKENS, eos_token_id=stops, pad_token_id=stops[0])
    tokens: list[list[int]] = [[] for _ in prompts]

    def answer(rows: list[int]) -> None:
        width = max(len(prompts[i]) for i in rows)
        ids = torch.tensor([[stops[0]] * (width - len(prompts[i])) + list(prompts[i]) for i in rows])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in rows])
        with torch.inference_mode():
            given = {"input_ids": ids.to(module.device), "attention_mask": mask.to(module.device)}
            out = module.generate(**given, generation_config=settings)
        for i, row in zip(rows, out[:, width:], strict=True):
            said = row.tolist()
            tokens[i] = said[: next((place for place, token in enumerate(said) if token in stops), len(said))]

    answer([0, 1])
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    began = clock()
    for start in range(0, len(order), job["batch"]):
        answer(order[start : start + job["batch"]])
    return {"tokens": tokens, "seconds": clock() - began}


def margin(model: Any, messages: list[dict], one: list[int], other: list[int]) -> float:
    """How far the two tokens lie apart at which two answers part (nats)."""
    from luthier.data import Message
    from luthier.models import render_prompt

    prompt = render_prompt(model.tokenizer, [Message(**m) for m in messages])
    ends = [[*tokens, model.stop_ids[0]] for tokens in (one, other)]
    same = next(i for i, (a, b) in enumerate(zip(*ends, strict=False)) if a != b)
    after = model.next_token_logprobs([*prompt, *one[:same]])[-1]
    return abs(float(after[ends[0][same]] - after[ends[1][same]]))


def run(side: str, job: dict) -> dict:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--job", json.dumps(job)]
    environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--side", choices=("ours", "transformers"), help=argparse.SUPPRESS)
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        torch.set_num_threads(arguments.job["threads"])
        print(json.dumps((ours if arguments.side == "ours" else transformers)(arguments.job)))
        return
    job = {"data": str(arguments.shared), "requests": arguments.requests, "threads": arguments.threads}
    job |= {"model": arguments.model, "precision": arguments.precision}
    sides: dict[str, list[dict]] = {}
    for _ in range(arguments.rounds):
        sides.setdefault("luthier", []).append(run("ours", job))
        for batch in arguments.batch:
            sides.setdefault(f"generate, batches of {batch}", []).append(run("transformers", job | {"batch": batch}))
    first = sides["luthier"][0]
    mean = statistics.median(found["seconds"] for found in sides["luthier"])
    prompt, shared = first["about"]
    print(f"torch {version('torch')}, transformers {version('transformers')}, {arguments.threads} thread(s)")
    print(f"{arguments.requests} requests of {prompt:.0f} tokens, {shared} of them shared, {TOKENS} new ones at most\n")
    print("| | s | times ours | same tokens |\n|---|--:|--:|--:|")
    apart: list[str] = []
    model = None
    for side, found in sides.items():
        seconds = statistics.median(f["seconds"] for f in found)
        different = [i for i, (a, b) in enumerate(zip(first["tokens"], found[0]["tokens"], strict=True)) if a != b]
        same = arguments.requests - len(different)
        print(f"| {side} | {seconds:.1f} | {seconds / mean:.2f} | {same} of {arguments.requests} |", flush=True)
        model = (model or load(job)) if different else model
        asked = conversations(arguments.shared, arguments.requests)
        for i in different[:LOOKED_AT]:
            nats = margin(model, asked[i], first["tokens"][i], found[0]["tokens"][i])
            apart.append(f"{side}, request {i}: {nats:.2g} nats apart")
    print("\n".join(apart))


if __name__ == "__main__":
    main()
