"""What `plan` predicts for a training run against what the run then takes.

    python benchmarks/plan.py [--only NAME ...] [--rounds 1] [--threads 1]

Each configuration is planned in one process (calibrated with a few micro-steps, nothing of the run is seen) and then
trained in another: SmolLM2-135M, real rows, replay, a development score of real answers, checkpoints, the adapter or
model written. Compared are the peak memory of the process that trains (`VmHWM`) and its processor seconds from
before the base is loaded to after the result is written; wall time would measure who else uses the machine. Processor
time does not see waiting for the disk. The first group is what the memory model was made on, the second was not.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from luthier.data import Message
from luthier.models import Request, load_model
from luthier.train import Asked, Job, Recipe, TrainingRow, estimate, fine_tune
from peers.memory import peak

MODEL = "smollm2-135m"
CASES = 6  # of the development score
DATA = Path(__file__).parents[2] / "shared" / "data"
# name -> (rows, changes to the recipe, steps)
MADE_ON = {
    "lora, short rows": ("short", {}, 10),
    "lora, long shared prompts": ("snips", {}, 8),
    "lora, rank 64": ("snips", {"rank": 64}, 8),
    "dora": ("short", {"variant": "dora"}, 8),
    "full, short rows": ("short", {"method": "full", "learning_rate": 5e-5}, 8),
    "lora, nothing shared": ("tldr", {}, 10),
    "lora, 256 tokens at once": ("snips", {"tokens_per_micro_batch": 256}, 8),
}
NOT_MADE_ON = {
    "lora, conversations, 2,048 tokens at once": ("turns", {"rank": 8, "tokens_per_micro_batch": 2048}, 8),
    "full, long shared prompts": ("snips", {"method": "full", "learning_rate": 5e-5}, 8),
    "lora on attention alone, labels of 77": (
        "banking77",
        {"layers": ["q_proj", "k_proj", "v_proj", "o_proj"], "rank": 32},
        10,
    ),
}


def read(path: Path) -> list[dict]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def rows_of(name: str) -> list[dict]:
    """Rows with messages and output, in the order of their file."""
    from train import DATA as LONG
    from train import _row

    if name == "short":
        asked = [(row["prompt"], row["completion"]) for row in read(DATA / "snips" / "train.jsonl")]
        return [_row("Turn what is said into JSON.", prompt, wanted) for prompt, wanted in asked]
    return LONG[name](DATA)


def training_rows(rows: list[dict], name: str) -> list[TrainingRow]:
    return [
        TrainingRow(f"{name}-{i}", tuple(Message(**m) for m in row["messages"]), row["output"], "benchmark")
        for i, row in enumerate(rows)
    ]


def replay() -> list[TrainingRow]:
    """General questions with sentences as answers, as long as the base's own mostly are."""
    rows = read(DATA / "xquad" / "questions.jsonl")[::60]
    found = []
    for row in rows:
        text = (DATA / "xquad" / "documents" / row["document"]).read_text("utf-8")
        messages = [{"role": "user", "content": row["prompt"]}]
        found.append({"messages": messages, "output": ". ".join(text.split(". ")[:2])[:220]})
    return training_rows(found, "replay")


def job_of(base: object, data: str, changes: dict, steps: int) -> tuple[list[TrainingRow], Recipe, Asked]:
    """Rows, recipe and development cases of a configuration."""
    size = 8
    rows = rows_of(data)
    layers = changes.get("layers")
    changes = changes | {"layers": None if layers is None else tuple(layers)}
    recipe = Recipe(epochs=1.0, batch_size=size, evaluate_every=steps, **changes)
    cases = training_rows(rows[size * steps : size * steps + CASES], "case")
    lengths = tuple(len(base.tokenizer.encode(case.output)) + 1 for case in cases)
    room = int(1.25 * max(lengths)) + 8
    asked = Asked(tuple(Request(case.messages, room) for case in cases), lengths)
    return training_rows(rows[: size * steps], data), recipe, asked


def plan(data: str, changes: dict, steps: int) -> dict:
    """What is predicted."""
    base = load_model(MODEL)
    rows, recipe, asked = job_of(base, data, changes, steps)
    with tempfile.TemporaryDirectory() as place:
        job = Job.of(base, rows, recipe, replay())
        found = estimate(job, asked=asked, place=Path(place), clock=time.process_time)
    memory = {"peak": found.memory.peak, "phase": found.memory.phase, "phases": found.memory.phases}
    return {"memory": memory, "seconds": found.seconds, "parts": found.parts, "tokens": found.tokens}


def run(data: str, changes: dict, steps: int) -> dict:
    """What then happens."""
    began = time.process_time()
    base = load_model(MODEL)
    rows, recipe, asked = job_of(base, data, changes, steps)
    times = {}

    def score(model: object) -> float:
        start = time.process_time()
        answers = dict(model.answer(asked.requests))
        times["answering"] = times.get("answering", 0.0) + time.process_time() - start
        return sum(answers[i].completion_tokens for i in range(CASES)) / 1000

    with tempfile.TemporaryDirectory() as place:
        result = fine_tune(base, rows, recipe, Path(place) / "out", score=score, replay=replay())
    return {
        "peak": peak(),
        "seconds": time.process_time() - began,
        "parts": times | {"steps": result.seconds},
        "tokens": result.tokens,
        "setting": f"{result.setting.precision}, {result.setting.packing}",
    }


def in_a_process(what: str, job: tuple, threads: int) -> dict:
    """`plan` or `run` in a process of its own."""
    command = [sys.executable, __file__, "--do", what, json.dumps(job)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{what} {job} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(name: str, job: tuple, arguments: argparse.Namespace) -> list[tuple[float, float]]:
    """Plan and run in turn; prints a line a round and gives predicted over measured memory and time."""
    ratios = []
    for _ in range(arguments.rounds):
        planned = in_a_process("plan", job, arguments.threads)
        taken = in_a_process("run", job, arguments.threads)
        memory, seconds = planned["memory"]["peak"] / taken["peak"], planned["seconds"] / taken["seconds"]
        ratios.append((memory, seconds))
        print(
            f"| {name} | {planned['memory']['phase']} | {planned['memory']['peak'] / 1e9:.2f} | "
            f"{taken['peak'] / 1e9:.2f} | {memory:.2f} | {planned['seconds']:.0f} | {taken['seconds']:.0f} | "
            f"{seconds:.2f} |",
            flush=True,
        )
        if arguments.details:
            for told in (planned, taken):
                print(json.dumps(told), file=sys.stderr, flush=True)
    return ratios


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*MADE_ON, *NOT_MADE_ON])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--details", action="store_true", help="print the parts of both sides to standard error")
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.do:
        what, job = arguments.do
        print(json.dumps({"plan": plan, "run": run}[what](*json.loads(job))))
        return
    print(f"{dt.date.today()}, {MODEL}, {arguments.threads} thread(s), {arguments.rounds} round(s)")
    for title, group in (("made on", MADE_ON), ("not made on", NOT_MADE_ON)):
        print(f"\n| {title} | peak in | planned GB | GB | ratio | planned s | s | ratio |")
        print("|---|---|--:|--:|--:|--:|--:|--:|", flush=True)
        chosen = [name for name in group if not arguments.only or name in arguments.only]
        ratios = [ratio for name in chosen for ratio in compare(name, group[name], arguments)]
        memory = sum(abs(m - 1) <= 0.15 for m, _ in ratios)
        seconds = sum(abs(s - 1) <= 0.25 for _, s in ratios)
        print(f"\n{memory} of {len(ratios)} within 15 % in memory, {seconds} within 25 % in time")


if __name__ == "__main__":
    main()
