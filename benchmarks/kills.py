"""Kill a training run at random moments, let it go on each time, and compare the adapter with an undisturbed one.

    python benchmarks/kills.py [--kills 50] [--rows 96] [--threads 1] [--small-disk FOLDER]

Every life is a process of its own that is sent SIGKILL: every other one at a random moment after training began, the
rest at a random moment after a checkpoint began to be written. A checkpoint is written after every step. Printed is how
many kills there were, how many of them left a half-written checkpoint behind, and how many runs ended with the bytes
of the undisturbed one. A step or a few are done in a life, so that a run is killed about ten times.

With `--small-disk`, a folder on a file system with little room (`mount -t tmpfs -o size=200m tmpfs FOLDER`), a run then
finds the disk filled by something else after its first checkpoint; printed is what it says, what is left, and that it
ends with the same bytes once there is room.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

MODEL = "smollm2-135m"
# A server that has imported everything is forked for each life: an import of torch takes longer than the life.
SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["peft", "transformers.models.llama.modeling_llama", "luthier.models", "luthier.train._loop"]


@dataclass(frozen=True)
class Life:
    """How a process ended: killed, with an adapter's hash, or with an error."""

    killed: bool
    torn: bool
    found: str
    error: str


def train(out: Path, rows: list[dict], said: Connection) -> None:
    """One life; tells when training begins, and the adapter's hash or an error at the end."""
    from luthier.data import Message
    from luthier.errors import LuthierError
    from luthier.models import load_model
    from luthier.train import Recipe, TrainingRow, fine_tune

    given = [
        TrainingRow(str(i), tuple(Message(**m) for m in row["messages"]), row["output"], "benchmark")
        for i, row in enumerate(rows)
    ]
    told: list[int] = []

    def report(state: object) -> None:
        if not told:
            said.send(("began", ""))
        told.append(1)

    recipe = Recipe(epochs=1.0, batch_size=4, evaluate_every=4, patience=1000, rank=8, alpha=16)
    try:
        result = fine_tune(
            load_model(MODEL), given, recipe, out, score=lambda model: 1.0, progress=report, checkpoint_seconds=0
        )
        said.send(("ended", result.adapter_hash))
    except LuthierError as error:
        said.send(("failed", str(error)))


def live(out: Path, rows: list[dict], kill: str = "", seconds: float = 0.0) -> Life:
    """One life, killed within some seconds after "training" began or after "writing" a checkpoint did, if asked to."""
    here, there = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=train, args=(out, rows, there))
    process.start()
    there.close()
    heard = {}
    if kill:
        _hear(here, heard)
        while kill == "writing" and process.is_alive() and not _unfinished(out):
            time.sleep(0.001)
        process.join(random.uniform(0, seconds))
        process.kill()
    while _hear(here, heard):
        pass
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    return Life(killed, killed and _unfinished(out), heard.get("ended", ""), heard.get("failed", ""))


def _hear(here: Connection, heard: dict[str, str]) -> bool:
    try:
        word, text = here.recv()
    except EOFError:
        return False
    heard[word] = text
    return True


def _unfinished(out: Path) -> bool:
    return any(out.glob(".checkpoint.*.unfinished"))


def kill_again_and_again(place: Path, rows: list[dict], wanted: str, arguments: argparse.Namespace) -> None:
    """Runs that are killed until there were enough kills; a line for each of them."""
    began, killed, torn, runs, same = time.monotonic(), 0, 0, 0, 0
    while killed < arguments.kills:
        out, runs, life = place / "killed", runs + 1, None
        shutil.rmtree(out, ignore_errors=True)
        while life is None or life.killed:
            if killed == arguments.kills:
                life = live(out, rows)
            elif killed % 2:
                life = live(out, rows, "writing", arguments.writing)
            else:
                life = live(out, rows, "training", arguments.seconds)
            killed, torn = killed + life.killed, torn + life.torn
        assert life.found, life.error
        same += life.found == wanted
        print(
            f"{killed} kills, {torn} of them while a checkpoint was written; {runs} runs, {same} of them with the "
            f"bytes of the undisturbed one; {time.monotonic() - began:.0f} s",
            flush=True,
        )


def fill_a_disk(small: Path, rows: list[dict], wanted: str) -> None:
    """A run whose disk something else fills once its first checkpoint is written, and its end where there is room."""
    out, ballast = small / "out", small / "ballast"
    shutil.rmtree(out, ignore_errors=True)

    def fill() -> None:
        while not (out / "checkpoint").is_dir():
            time.sleep(0.1)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    life = live(out, rows)
    print(f"a full disk: {life.error or life.found}")
    print(f"kept: {', '.join(sorted(path.name for path in out.iterdir()))}")
    filling.join()
    ballast.unlink()
    life = live(out, rows)
    print(f"with room: {'the same bytes' if life.found == wanted else life.error or 'other bytes'}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="the latest moment of a kill after training began")
    parser.add_argument("--writing", type=float, default=0.3, help="the same, after a checkpoint began to be written")
    parser.add_argument("--small-disk", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    SERVER.set_forkserver_preload(PRELOADED)
    from train import tldr

    rows = tldr(arguments.shared)[: arguments.rows]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        began = time.monotonic()
        straight = live(place / "straight", rows)
        assert straight.found, straight.error
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        kill_again_and_again(place, rows, straight.found, arguments)
        if arguments.small_disk:
            fill_a_disk(arguments.small_disk, rows, straight.found)


if __name__ == "__main__":
    main()
