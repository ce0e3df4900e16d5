"""Kill a training run at random moments, let it go on each time, and compare the adapter with an undisturbed one.

    python benchmarks/kills.py [--kills 50] [--rows 96] [--threads 1] [--small-disk FOLDER]

Every life is a process of its own that is sent SIGKILL at a random moment after training began. With `--small-disk`, a
folder on a file system with little room (`mount -t tmpfs -o size=60m tmpfs FOLDER`), a run is then let fill the disk;
printed is what it says, and that it ends with the same bytes once there is room.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = "smollm2-135m"


def train(out: Path, rows: int, data: Path) -> None:
    """One life: prints a line when training begins, and the adapter's hash at the end."""
    from luthier.data import Message
    from luthier.models import load_model
    from luthier.train import Recipe, TrainingRow, fine_tune
    from train import tldr

    given = [
        TrainingRow(str(i), tuple(Message(**m) for m in row["messages"]), row["output"], "benchmark")
        for i, row in enumerate(tldr(data)[:rows])
    ]
    steps: list[int] = []

    def told(state: object) -> None:
        if not steps:
            print("began", flush=True)
        steps.append(1)

    recipe = Recipe(epochs=1.0, evaluate_every=4, rank=8, alpha=16)
    result = fine_tune(
        load_model(MODEL), given, recipe, out, score=lambda model: 1.0, progress=told, checkpoint_seconds=0
    )
    print(f"ended {result.adapter_hash}", flush=True)


def life(out: Path, arguments: argparse.Namespace, seconds: float | None) -> tuple[int, str, str]:
    """Exit code, adapter hash (empty where killed) and errors of one life that is killed after some seconds."""
    command = [sys.executable, __file__, "--life", str(out), "--rows", str(arguments.rows)]
    command += ["--shared", str(arguments.shared)]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    if seconds is not None and said.startswith("began"):
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate()
    ended = [line.split()[1] for line in (said + rest).splitlines() if line.startswith("ended")]
    return process.returncode, ended[-1] if ended else "", errors


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="the latest moment of a kill after training began")
    parser.add_argument("--small-disk", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--life", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.life:
        train(arguments.life, arguments.rows, arguments.shared)
        return
    with tempfile.TemporaryDirectory() as place:
        _, wanted, errors = life(Path(place) / "straight", arguments, None)
        assert wanted, errors
        killed, runs, same = 0, 0, 0
        while killed < arguments.kills:
            out, runs = Path(place) / "killed", runs + 1
            shutil.rmtree(out, ignore_errors=True)
            found = ""
            while not found:
                code, found, errors = life(out, arguments, random.uniform(0, arguments.seconds))
                killed += code == -signal.SIGKILL
                assert found or code == -signal.SIGKILL, errors
            same += found == wanted
            print(f"{killed} kills, {runs} runs, {same} of them with the bytes of the undisturbed one", flush=True)
        if arguments.small_disk:
            out = arguments.small_disk / "out"
            shutil.rmtree(out, ignore_errors=True)
            code, found, errors = life(out, arguments, None)
            print(f"a full disk: exit {code}; {errors.strip().splitlines()[-1] if errors.strip() else found}")
            roomy = Path(place) / "roomy"
            shutil.copytree(out, roomy)
            _, found, errors = life(roomy, arguments, None)
            print(f"with room: {'the same bytes' if found == wanted else errors[-500:]}")


if __name__ == "__main__":
    main()
