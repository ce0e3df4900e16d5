"""Training throughput and memory against other trainers, on the same rows, with the same learning rates.

    python benchmarks/train.py [--data snips banking77 tldr turns] [--peers trl litgpt] [--variants ...]
        [--steps 4] [--rounds 2] [--threads 1] [--plot FILE]

Every round runs ours and each variant of each peer, one after another, each in a process of its own. Printed are
processor seconds a step (the first step is not counted), the peak memory of the process, ratios of the peer's figure to
ours, the largest difference of the two loss curves, and how far we are from the matrix products that the machine does.
A peer's packages are installed into an environment of their own the first time. TRL also begins with our first weights
and takes our tokens; what differs for the others stands in `peers/train_*.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

from luthier.data import Message
from luthier.models import load_model
from luthier.train import Recipe, TrainingRow
from luthier.train._course import Course
from luthier.train._model import Trainee, load_body
from luthier.train._rows import encode_rows
from luthier.train._setting import multiplies_bf16
from peers.environments import python_of

MODEL = "smollm2-135m"
HALF = ("default", "no checkpointing", "bf16 weights", "bf16 weights, chunked loss")
PEERS = {
    "trl": HALF if multiplies_bf16() else ("default", "fp32", "fp32, chunked loss"),
    "litgpt": ("bf16 weights",),
}
OURS = "luthier"
FASTEST = torch.bfloat16 if multiplies_bf16() else torch.float32


def read(path: Path) -> list[dict]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def snips(data: Path) -> list[dict]:
    """Utterance to JSON under instructions of about 200 tokens."""
    rows = read(data / "snips" / "train.jsonl")
    records = [json.loads(row["completion"]) for row in rows]
    intents = sorted({record["intent"] for record in records})
    slots = sorted({slot for record in records for slot in record["slots"]})
    told = (
        "Turn what the user says into JSON with two keys: intent and slots.\n"
        f"intent is one of: {', '.join(intents)}.\nslots holds the parts of the sentence that matter, copied word for "
        f"word, under these names: {', '.join(slots)}. Leave out slots that are not mentioned."
    )
    return [_row(told, row["prompt"], row["completion"]) for row in rows]


def banking77(data: Path) -> list[dict]:
    """Question to label, with all 77 labels in the instructions."""
    rows = read(data / "banking77" / "train.jsonl")
    labels = sorted({row["completion"] for row in rows})
    told = f"Which of these is the customer's question about? Answer with the label alone: {', '.join(labels)}."
    return [_row(told, row["prompt"], row["completion"]) for row in rows]


def tldr(data: Path) -> list[dict]:
    """Wish to shell command: ten tokens of instructions, nothing else shared."""
    rows = read(data / "tldr" / "examples.jsonl")
    return [_row("Give the shell command.", row["prompt"], row["completion"]) for row in rows]


def turns(data: Path) -> list[dict]:
    """Conversations of four turns about one paragraph, a row for each answer: every row extends the one before it."""
    by_document: dict[str, list[dict]] = {}
    for row in read(data / "xquad" / "questions.jsonl"):
        by_document.setdefault(row["document"], []).append(row)
    found = []
    for document, questions in sorted(by_document.items()):
        text = (data / "xquad" / "documents" / document).read_text("utf-8")
        said = [{"role": "system", "content": f"Answer from this text, in as few words as it takes.\n\n{text}"}]
        for question in questions[:4]:
            said = [*said, {"role": "user", "content": question["prompt"]}]
            found.append({"messages": said, "output": question["completion"]})
            said = [*said, {"role": "assistant", "content": question["completion"]}]
    return found


def _row(told: str, asked: str, wanted: str) -> dict:
    messages = [{"role": "system", "content": told}, {"role": "user", "content": asked}]
    return {"messages": messages, "output": wanted}


DATA = {"snips": snips, "banking77": banking77, "tldr": tldr, "turns": turns}


def prepare(name: str, data: Path, steps: int, threads: int, folder: Path) -> dict:
    """What both sides are given: rows as messages, the same rows as tokens in the order of the steps, first weights."""
    base = load_model(MODEL)
    rows = DATA[name](data)[: 8 * steps]
    recipe = Recipe(epochs=1.0, evaluate_every=10**6, tokens_per_micro_batch=2048)
    encoded = encode_rows(base, _training_rows(rows), None)
    course = Course(encoded, [], recipe)
    assert course.steps == steps
    ordered = [row for step in range(steps) for row in course.batch(step)]
    trainee = Trainee(load_body(base, FASTEST), recipe)
    adapter = folder / "adapter"
    adapter.mkdir()
    trainee.save(trainee.weights(), adapter, base)
    return {
        "model": MODEL,
        "folder": str(base.folder),
        "adapter": str(adapter),
        "threads": threads,
        "rows": rows,
        "tokenised": [{"ids": list(row.ids), "start": row.start} for row in ordered],
        "recipe": recipe.as_dict(),
        "rates": [recipe.rate(step, steps) for step in range(steps)],
        "row_tokens": sum(len(row.ids) for row in encoded) / steps,
    }


def _training_rows(rows: list[dict]) -> list[TrainingRow]:
    return [
        TrainingRow(str(i), tuple(Message(**m) for m in row["messages"]), row["output"], "benchmark")
        for i, row in enumerate(rows)
    ]


def run(python: Path | str, program: str, job: dict, folder: Path) -> dict:
    """One side's figures; its last line of output is JSON."""
    path = folder / "job.json"
    path.write_text(json.dumps(job | {"out": str(folder / "out")}), "utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"]), "TRANSFORMERS_VERBOSITY": "error"}
    environment.pop("PYTHONPATH", None)
    program_path = Path(__file__).parent / "peers" / program
    done = subprocess.run([python, program_path, path], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} ({job.get('variant', '')}) failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def seconds_a_step(found: dict) -> float:
    """Processor seconds a step, the first one left out."""
    times = found["times"]
    return (times[-1] - times[0]) / (len(times) - 1)


def matrix_rate(threads: int) -> float:
    """Products of the model's most common shape, bf16 where that is faster, in GFLOP a processor second."""
    torch.set_num_threads(threads)
    a, w = torch.randn(512, 576).to(FASTEST), torch.randn(1536, 576).to(FASTEST)
    torch.nn.functional.linear(a, w)
    began = time.process_time()
    for _ in range(200):
        torch.nn.functional.linear(a, w)
    return 200 * 2 * 512 * 576 * 1536 / (time.process_time() - began) / 1e9


def compare(name: str, arguments: argparse.Namespace) -> list[dict]:
    """The figures of one data set, a row for each side."""
    sides: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        job = prepare(name, arguments.shared, arguments.steps, arguments.threads, folder)
        for _ in range(arguments.rounds):
            sides.setdefault(OURS, []).append(run(sys.executable, "train_luthier.py", job, folder))
            for peer in arguments.peers:
                for variant in arguments.variants or PEERS[peer]:
                    found = run(python_of(peer), f"train_{peer}.py", job | {"variant": variant}, folder)
                    sides.setdefault(f"{peer}, {variant}", []).append(found)
    ours = sides[OURS]
    mean = statistics.median(seconds_a_step(found) for found in ours)
    peak = statistics.median(found["peak"] for found in ours)
    table = []
    for side, found in sides.items():
        seconds = statistics.median(seconds_a_step(f) for f in found)
        memory = statistics.median(f["peak"] for f in found)
        gap = max(abs(a - b) for a, b in zip(ours[0]["losses"], found[0]["losses"], strict=True))
        table.append(
            {
                "data": name,
                "side": side,
                "seconds": seconds,
                "tokens": job["row_tokens"] / seconds,
                "peak": memory / 1e9,
                "faster": seconds / mean,
                "memory": peak / memory,
                "gap": gap,
                "losses": found[0]["losses"],
            }
        )
    run_tokens = statistics.mean(ours[0]["tokens"][1:])
    work = 4 * 106.2e6 * run_tokens / mean / 1e9
    about = (
        f"{job['row_tokens']:.0f} row tokens a step, of which we run {run_tokens:.0f}; {ours[0]['setting']}; "
        f"{work:.0f} GFLOP a processor second of {matrix_rate(arguments.threads):.0f} in products"
    )
    for row in table:
        row["about"] = about
        print(
            f"| {row['data']} | {row['side']} | {row['seconds']:.2f} | {row['tokens']:.0f} | {row['peak']:.2f} | "
            f"{row['faster']:.2f} | {row['memory']:.2f} | {row['gap']:.4f} |",
            flush=True,
        )
    return table


def plot(table: list[dict], path: Path) -> None:
    """The loss curves, a panel for each data set."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["data"] for row in table))
    figure, panels = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        for row in table:
            if row["data"] == name:
                panel.plot(range(1, len(row["losses"]) + 1), row["losses"], label=row["side"], lw=1)
        panel.set(title=name, xlabel="step", ylabel="nats a label token")
    panels[0][-1].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["trl"])
    parser.add_argument("--variants", nargs="+", help="of one peer; all that are worth it by default")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    print(f"torch {version('torch')}, transformers {version('transformers')}, {arguments.threads} thread(s)")
    print("\n| data | | s a step | row tokens/s | peak GB | times ours | our memory | loss gap |")
    print("|---|---|--:|--:|--:|--:|--:|--:|", flush=True)
    table = [row for name in arguments.data for row in compare(name, arguments)]
    for name, about in dict.fromkeys((row["data"], row["about"]) for row in table):
        print(f"{name}: {about}")
    if arguments.plot:
        plot(table, arguments.plot)


if __name__ == "__main__":
    main()
