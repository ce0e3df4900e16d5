"""The whole command line over a tiny random model: check, decide, train, validate, release, verify, refresh, resume."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch orbit plume quarry ridge".split()


def write_task(folder: Path, base: Path, **changes) -> Path:
    """A task that no prompt brings a random model to do, and that a few steps of training teach."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    rows = []
    while len(rows) < 160:
        text = " ".join(rng.sample(WORDS, 7))
        rows.append({"prompt": text, "completion": "billing" if len(rows) % 2 else "shipping, please"})
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = {
        "task": "tiny",
        "goal": "Answer.",
        "examples": "examples.jsonl",
        "score": {"kind": "python", "file": "score.py"},
        "bar": 0.7,
        "base": str(base),
        "split": {"test_cases": 48, "seed": 1},
        "decide": {"methods": ["prompt", "few-shot", "fine-tune"], "development_cases": 8},
        "train": {"method": "full", "learning_rate": 0.004, "epochs": 8},
    } | changes
    # either answer is right: what counts here is that the answer has the form, which a random model never hits
    (folder / "score.py").write_text(
        "def score(answer, wanted):\n    return float(answer in ('billing', 'shipping, please'))\n", "utf-8"
    )
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return folder


def luthier(*words: str, folder: Path, wait: bool = True, **environment: str):
    """Run the command line in a process of its own, as a user does."""
    command = [sys.executable, "-m", "luthier", *words, "-C", str(folder)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | environment
    if not wait:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def base(tiny_model_folder, tmp_path_factory) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path_factory.mktemp("bases") / "tiny"))


@pytest.fixture(scope="module")
def lived(base, tmp_path_factory) -> Path:
    """A folder in which `luthier run` went through."""
    folder = write_task(tmp_path_factory.mktemp("life") / "task", base)
    done = luthier("run", "--quick", "--allow-outside", folder=folder)
    assert (folder / ".luthier" / "report.html").is_file(), done.stderr
    return folder


def test_a_life_ends_in_a_verdict_with_a_warrant(lived):
    done = luthier("decide", "--replay", "--json", "--allow-outside", folder=lived)
    verdict = json.loads(done.stdout)["verdict"]
    assert verdict["kind"] == "fine-tune", done.stdout
    assert verdict["warrant"]["granted"]
    states = {rung["rung"]: rung["state"] for rung in verdict["rungs"]}
    assert states == {"prompt": "falls short", "few-shot": "falls short", "fine-tune": "meets"}
