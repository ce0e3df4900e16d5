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

from luthier.api import Project

WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch orbit plume quarry".split()


def write_task(folder: Path, model: Path, **changes) -> Path:
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
        "base": str(model),
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
        pipe = subprocess.PIPE
        # a shell that runs tests in the background has them ignore Ctrl-C, and children inherit that
        return subprocess.Popen(
            command, env=environment, stdout=pipe, stderr=pipe, text=True, preexec_fn=_listen_to_interrupts
        )
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def _listen_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


def test_plan_counts_the_answers_that_deciding_asks_for(lived):
    done = luthier("plan", "--json", "--allow-outside", folder=lived)
    plan = json.loads(done.stdout)
    planned = {step["name"]: step["amount"] for step in plan["steps"]}
    rungs = Project(lived, allow_outside=True).decision().evidence.rungs
    for rung in rungs[:2]:
        sizes = [row["cases"] for row in rung.choices["development"]]
        asked = sum(sizes) - min(sizes) * sum(size > min(sizes) for size in sizes)  # the second round keeps the first
        assert int(planned[f"measure {rung.rung}"].split()[0]) == asked + 48
    curve = rungs[2].choices["training"]["curve"]
    scored = sum(point["dev_score"] is not None for point in curve)
    [chosen] = [training for training in plan["training"] if training["chosen"]]
    assert chosen["scored"] >= 8 * scored
    assert chosen["fits"] and chosen["peak"] == sum(chosen["memory"].values())


def test_the_gate_refuses_what_forgot_all_it_could(lived):
    """A few hundred steps on two sentences wreck a random model: it answers as wanted, and is not released."""
    gate = json.loads(luthier("validate", "--quick", "--json", "--allow-outside", folder=lived).stdout)
    passed = {check["name"]: check["passed"] for check in gate["checks"]}
    assert passed["behaviour"] and passed["served requests"] and passed["served answers"]
    assert not passed["capability"]
    done = luthier("release", "promote", "--allow-outside", folder=lived)
    assert done.returncode == 1
    assert "capability" in done.stderr


@pytest.fixture(scope="module")
def released(base, tmp_path_factory) -> Path:
    """A folder in which an untrained rung is good enough and was released: half of two labels is right by chance."""
    settings = {"score": {"kind": "label"}, "bar": 0.2, "decide": {"methods": ["constrained"], "development_cases": 8}}
    folder = write_task(tmp_path_factory.mktemp("life") / "task", base, **settings)
    done = luthier("run", "--allow-outside", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_release_verifies_until_a_byte_changes(released):
    assert luthier("release", "verify", "--allow-outside", folder=released).returncode == 0
    system = next((released / ".luthier" / "releases").glob("*/system.json"))
    kept = system.read_bytes()
    system.write_bytes(kept.replace(b"Answer", b"Anzwer", 1))
    try:
        done = luthier("release", "verify", "--allow-outside", folder=released)
        assert done.returncode == 1
        assert system.name in done.stderr
    finally:
        system.write_bytes(kept)


def test_tuning_needs_a_warrant(base, tmp_path):
    folder = write_task(tmp_path / "task", base)
    done = luthier("tune", "--allow-outside", folder=folder)
    assert done.returncode == 1
    assert "not warranted" in done.stderr
    assert "--without-warrant" in done.stderr
    assert not (folder / ".luthier" / "adapters").exists()


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(base, lived, tmp_path):
    """SIGKILL at random moments of deciding and training; the adapter's bytes and the verdict are the same."""
    folder = write_task(tmp_path / "task", base)
    rng = random.Random(11)
    for _ in range(4):
        process = luthier("decide", "--allow-outside", folder=folder, wait=False)
        time.sleep(rng.uniform(4, 12))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = luthier("decide", "--json", "--allow-outside", folder=folder)
    expected = json.loads(luthier("decide", "--replay", "--json", "--allow-outside", folder=lived).stdout)
    found = json.loads(done.stdout)
    timed = ("cost", "choices", "timing")  # hold measured seconds
    for one in (expected, found):
        for rung in one["evidence"]["rungs"]:
            for name in timed:
                rung.pop(name)
    assert found["evidence"] == expected["evidence"]
    assert found["verdict"]["kind"] == expected["verdict"]["kind"]


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_goes_on(base, tmp_path):
    from luthier.store import Store

    folder = write_task(tmp_path / "task", base)
    with Store.open(folder) as store, store.lock("deciding"):
        second = luthier("decide", "--allow-outside", folder=folder)
    assert second.returncode == 2
    assert "error [busy]" in second.stderr
    assert f"process {os.getpid()} (deciding" in second.stderr


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(base, tmp_path):
    folder = write_task(tmp_path / "task", base)
    process = luthier("decide", "--allow-outside", folder=folder, wait=False)
    assert process.stderr is not None
    for line in process.stderr:  # until something was measured
        if "measuring prompt" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "run the same command to continue" in said
    again = luthier("decide", "--json", "--allow-outside", folder=folder)
    assert json.loads(again.stdout)["verdict"]["kind"] == "fine-tune"


def interrupted_training(folder: Path, *signals: int, once: str = "checkpoint") -> tuple[int, str]:
    """Train, and send signals as soon as there is a checkpoint; gives the exit code and what was said."""
    process = luthier("tune", "--without-warrant", "a test", "--allow-outside", folder=folder, wait=False)
    while process.poll() is None and not list((folder / ".luthier").glob(f"adapters/*/{once}")):
        time.sleep(0.01)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.005)
    _, said = process.communicate()
    return process.returncode, said


def trained(folder: Path) -> dict:
    [file] = (folder / ".luthier").glob("adapters/*/luthier-train.json")
    return json.loads(file.read_text("utf-8"))


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)])
def test_interrupted_training_goes_on_to_the_same_bytes(signals, base, lived, tmp_path):
    folder = write_task(tmp_path / "task", base)
    code, said = interrupted_training(folder, *signals)
    assert code == 130, said
    assert "run the same command to continue" in said and "Traceback" not in said
    done = luthier("tune", "--without-warrant", "a test", "--allow-outside", folder=folder)
    assert done.returncode == 0, done.stderr
    assert trained(folder)["adapter_hash"] == trained(lived)["adapter_hash"]
    assert "note:" not in done.stdout


def test_training_that_goes_on_from_the_checkpoint_before_says_so(base, lived, tmp_path):
    """A bit of the last checkpoint flips, and memory is set otherwise: both are said, neither begins a new run."""
    folder = write_task(tmp_path / "task", base)
    assert interrupted_training(folder, signal.SIGTERM, once="checkpoint-before")[0] == 130
    [place] = (folder / ".luthier").glob("adapters/*")
    assert {"checkpoint", "checkpoint-before"} <= {path.name for path in place.iterdir()}
    weights = place / "checkpoint" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 16
    weights.write_bytes(data)
    kept = Path(shutil.copytree(folder, tmp_path / "kept"))
    done = luthier("tune", "--without-warrant", "a test", "--allow-outside", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "training goes on" in done.stderr and "weights.safetensors" in done.stderr
    assert "note: after step" in done.stdout and "the checkpoint before it" in done.stdout
    assert trained(folder)["adapter_hash"] == trained(lived)["adapter_hash"]
    task = json.loads((kept / "luthier.yaml").read_text("utf-8"))
    write_task(kept, base, train=task["train"] | {"micro_batch_tokens": 200})
    done = luthier("tune", "--without-warrant", "a test", "--json", "--allow-outside", folder=kept)
    notes = json.loads(done.stdout)["training"]["notes"]
    assert [("SHA-256" in note, "tokens_per_micro_batch is 200 instead of 1024" in note) for note in notes] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"bse": "x"}, "did you mean"),
        ({"score": {"kind": "jsn"}}, "json"),
        ({"examples": "missing.jsonl"}, "missing.jsonl"),
        ({"base": "./no-such-model"}, "no-such-model"),
        ({"examples": "../outside.jsonl"}, "outside"),
    ],
)
def test_what_is_wrong_in_the_task_is_named(base, tmp_path, change, wanted):
    folder = write_task(tmp_path / "task", base, **change)
    (tmp_path / "outside.jsonl").write_text("{}", "utf-8")
    words = ["decide"] if "base" in change else ["check"]
    done = luthier(*words, *(["--allow-outside"] if "outside" not in str(change) else []), folder=folder)
    assert done.returncode == 2, done.stdout
    assert wanted.casefold() in done.stderr.casefold()
    assert "Traceback" not in done.stderr


def test_a_bad_line_in_a_long_file_is_named(base, tmp_path):
    folder = write_task(tmp_path / "task", base)
    rng, syllables = random.Random(0), ("ka", "lo", "mi", "ru", "te", "bra", "dun", "fel", "gos")
    texts = [" ".join("".join(rng.choices(syllables, k=3)) for _ in range(6)) for _ in range(3_000)]
    rows = [json.dumps({"prompt": text, "completion": "billing"}) for text in texts]
    rows[2_123] = rows[2_123][:-4]
    (folder / "examples.jsonl").write_text("\n".join(rows), "utf-8")
    done = luthier("check", "--allow-outside", folder=folder)
    assert done.returncode == 1 and "bad-json" in done.stdout
    assert "examples.jsonl:2124" in done.stdout
    done = luthier("decide", "--allow-outside", folder=folder)
    assert done.returncode == 2 and "examples.jsonl:2124" in done.stderr


def test_refresh_compares_with_the_champion_on_the_same_cases(base, released, tmp_path):
    """A second base: the same one with its weights perturbed."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(released, tmp_path / "task"))
    other = Path(shutil.copytree(base, tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    shaken = {n: w + 0.01 * w.std() * torch.randn(w.shape, generator=generator) for n, w in weights.items()}
    save_file(shaken, other / "model.safetensors", metadata={"format": "pt"})
    done = luthier("refresh", "--base", str(other), "--json", "--allow-outside", folder=folder)
    found = json.loads(done.stdout)
    assert found["comparison"]["n"] == 48
    assert found["comparison"]["low"] <= found["comparison"]["difference"] <= found["comparison"]["high"]
    listed = json.loads(luthier("release", "list", "--json", "--allow-outside", folder=folder).stdout)
    champion = next(row for row in listed if row["champion"])
    if found["promoted"] is None:
        assert done.returncode == 1
        assert champion["version"] == 1
    else:
        assert done.returncode == 0
        assert champion["version"] == found["promoted"] == 2
    assert luthier("release", "verify", "--allow-outside", folder=folder).returncode == 0


def test_init_copies_the_data_and_suggests_a_scorer(tmp_path):
    rows = [{"prompt": f"message {i} about things", "completion": json.dumps({"n": i})} for i in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = [
        sys.executable,
        "-m",
        "luthier",
        "init",
        str(tmp_path / "new"),
        "--examples",
        str(tmp_path / "rows.jsonl"),
    ]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    assert "kind: json" in (tmp_path / "new" / "luthier.yaml").read_text("utf-8")
    assert luthier("check", folder=tmp_path / "new").returncode == 0
    assert luthier("check", "--mask", folder=tmp_path / "new").returncode == 2  # there is no copy to write into
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "is there already" in again.stderr


@pytest.mark.parametrize("shard", [(), ("--shard",)], ids=["whole", "sharded"])
def test_two_launched_processes_train_what_one_trains(shard, base, tmp_path):
    settings = {"train": {"learning_rate": 0.004, "epochs": 2}}
    folder = write_task(tmp_path / "two", base, **settings)
    refused = luthier("tune", "--launch", "2", "--allow-outside", folder=folder)
    assert refused.returncode == 1 and "nothing was decided yet" in refused.stderr
    decided = luthier("decide", "--no-train", "--allow-outside", folder=folder)
    assert "warrant to fine-tune: granted" in decided.stdout, decided.stdout + decided.stderr
    shutil.copytree(folder, tmp_path / "one")
    runs = [
        luthier("tune", *words, "--json", "--allow-outside", folder=tmp_path / name)
        for name, words in (("two", ("--launch", "2", *shard)), ("one", ()))
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert "torch.distributed.run" in runs[0].stderr
    two, one = (json.loads(run.stdout)["training"] for run in runs)
    assert [p["label_tokens"] for p in two["curve"]] == [p["label_tokens"] for p in one["curve"]]
    assert [p["loss"] for p in two["curve"]] == pytest.approx([p["loss"] for p in one["curve"]], rel=0.02)
    luthier("decide", "--allow-outside", folder=folder)
    measured = Project(folder, allow_outside=True).decision().evidence.rungs[-1].choices["training"]
    assert measured["adapter_hash"] == two["adapter_hash"]  # not trained again


def test_several_machines_get_a_command_each(base, tmp_path):
    folder = write_task(tmp_path / "task", base)
    words = ("tune", "--launch", "2x4", "--shard", "--without-warrant", "to see", "--allow-outside")
    lines = luthier(*words, folder=folder).stdout.splitlines()[1:]
    verb = f"-m luthier tune -C {folder} --allow-outside --shard --without-warrant 'to see'"
    assert lines == [
        f"torchrun --nnodes=2 --node-rank={rank} --nproc-per-node=4 --master-addr=FIRST --master-port=29500 {verb}"
        for rank in (0, 1)
    ]
    assert len(json.loads(luthier(*words, "--json", folder=folder).stdout)["commands"]) == 2
    for wrong in ("1", "0", "2x", "1x1", "2x2x2", "many"):
        refused = luthier("tune", "--launch", wrong, "--without-warrant", "to see", folder=folder)
        assert refused.returncode == 2 and "--launch" in refused.stderr, wrong
    alone = luthier("tune", "--shard", "--without-warrant", "to see", "--allow-outside", folder=folder)
    assert alone.returncode == 2 and "luthier tune --launch 2 --shard" in alone.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for what is left of processes in /proc")
def test_an_interrupt_stops_all_launched_processes_and_keeps_what_they_did(base, tmp_path):
    train = {"method": "lora", "learning_rate": 0.0001, "epochs": 200}
    folder = write_task(tmp_path / "task", base, train=train)
    words = ("tune", "--launch", "2", "--shard", "--without-warrant", "to see", "--allow-outside")
    running = luthier(*words, folder=folder, wait=False)
    until = time.monotonic() + 200
    while not list(folder.rglob("progress.json")) and running.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    assert len(processes_of(folder)) > 2
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=100)
    assert running.returncode == 130, said
    assert said.count("run the same command to continue") == 1, said
    assert processes_of(folder) == []
    [state] = folder.rglob("state.json")
    assert json.loads(state.read_text("utf-8"))["state"]["step"] > 0


def processes_of(folder: Path) -> list[str]:
    """The commands of all running processes that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder).encode() in words:
            found.append(b" ".join(words).decode())
    return found
