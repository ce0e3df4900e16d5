"""Our side of `benchmarks/train.py`: a run of `fine_tune` as `luthier tune` makes it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import torch
from memory import peak

from luthier.data import Message
from luthier.models import load_model
from luthier.train import Recipe, TrainingRow, TrainProgress, fine_tune


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(job["threads"])
    rows = [
        TrainingRow(str(i), tuple(Message(**m) for m in row["messages"]), row["output"], "benchmark")
        for i, row in enumerate(job["rows"])
    ]
    recipe = Recipe.from_dict(job["recipe"])
    times, losses, tokens = [], [], []

    def note(state: TrainProgress) -> None:
        if len(losses) < state.step:
            times.append(time.process_time())
            losses.append(state.loss)

    out = Path(job["out"])
    shutil.rmtree(out, ignore_errors=True)
    result = fine_tune(
        load_model(job["model"]), rows, recipe, out, score=lambda model: 0.0, progress=note, checkpoint_seconds=1e9
    )
    tokens = [point.tokens for point in result.curve]
    setting = f"{result.setting.precision}, {result.setting.packing}"
    print(json.dumps({"times": times, "losses": losses, "tokens": tokens, "peak": peak(), "setting": setting}))


if __name__ == "__main__":
    main()
