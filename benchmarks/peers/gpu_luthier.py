"""Our side of `benchmarks/gpu.py`: the steps of a run as `fine_tune` makes them, without checkpoints and scores."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from luthier.data import Message
from luthier.models import load_model
from luthier.train import Recipe, TrainingRow
from luthier.train import _compile as compiling
from luthier.train._begin import settle
from luthier.train._group import current_group
from luthier.train._loop import _Hooks, _Run
from luthier.train._predict import NOTHING, Job, predict
from luthier.train._room import memory_limit
from luthier.train._rows import encode_rows
from luthier.train._shard import make_trainee

ON_GPU = torch.cuda.is_available()


def wait() -> float:
    """The time when all that was asked of the GPU is done."""
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def train(job: dict, data: str, base) -> dict:
    rows = [
        TrainingRow(str(i), tuple(Message(**m) for m in row["messages"]), row["output"], "benchmark")
        for i, row in enumerate(job["rows"][data])
    ]
    count = job["steps"] + job["warm_up"]
    recipe = Recipe(
        method=job["method"],
        epochs=count * job["batch"] / len(rows),
        batch_size=job["batch"],
        tokens_per_micro_batch=job["budget"],
        learning_rate=1e-5 if job["method"] == "full" else 2e-4,
        evaluate_every=10**6,
    )
    encoded = encode_rows(base, rows, None)
    began = wait()
    task = Job(base, recipe, tuple(encoded), ())
    predicted = predict(task, task.setting(), NOTHING, memory_limit(task.device))
    planned = predicted.memory(1.0)
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    group = current_group()
    trainee = make_trainee(base, recipe, predicted.setting.dtype, group, False)
    if job["compiled"]:
        compiling.LONG = 0.0
        compiling.Timing.verdict = lambda timing, left: (True, f"forced: {timing}")
    setting, _ = settle(replace(predicted.setting), None, trainee, task, base, group)
    handed = Path(job["handed"]) / data
    handed.mkdir(exist_ok=True)
    if job["method"] == "lora":
        trainee.save(trainee.weights(), handed, base)
    ordered = [row for step in range(count) for row in task.course.batch(step)]
    (handed / "rows.json").write_text(json.dumps([{"ids": list(row.ids), "start": row.start} for row in ordered]))
    run = _Run(base, task.course, recipe, setting, trainee, handed / "out", {}, _Hooks(float, print, 1e9), group)
    loading = wait() - began
    times = [wait()]
    with run.resting.resting():
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(count):
            run._step()
            times.append(wait())
        peak = torch.cuda.max_memory_allocated() if ON_GPU else 1  # of steps: now the base is made whole again
    timed = run.state.curve[job["warm_up"] :]
    steps = job["steps"]
    return {
        "seconds": (times[-1] - times[job["warm_up"]]) / steps,
        "losses": [point.loss for point in run.state.curve],
        "row_tokens": sum(point.row_tokens for point in timed) / steps,
        "run_tokens": sum(point.tokens for point in timed) / steps,
        "peak": peak,
        "reserved": torch.cuda.max_memory_reserved() if ON_GPU else 1,
        "planned": [planned.phase, planned.peak, sum(planned.phases["steps"].values())],
        "loading": round(loading, 1),
        "setting": setting.as_dict(),
        "rates": [recipe.rate(step, task.course.steps) for step in range(count)],
        "first": times[1] - times[0],
    }


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    base = load_model(job["model"])
    found: dict = {"work": (6 if job["method"] == "full" else 4) * base.n_parameters}
    for data in job["data"]:
        try:
            found[data] = train(job, data, base)
        except torch.OutOfMemoryError as error:
            found[data] = {"error": f"out of memory: {str(error)[:90]}"}
        if ON_GPU:
            torch.cuda.empty_cache()
    rates = {data: found[data].pop("rates", None) for data in job["data"]}
    (Path(job["handed"]) / "rates.json").write_text(json.dumps(rates))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
