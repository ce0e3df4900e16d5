"""Several processes train what one would have trained."""

import multiprocessing
import runpy
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.data import Message
from luthier.store import read_json
from luthier.train import Recipe, TrainingRow, fine_tune
from luthier.train._checkpoint import FOLDER
from luthier.train._course import Course
from luthier.train._rows import encode_rows
from luthier.train._trie import tree_tokens

HERE = Path(__file__).parent
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["peft", "transformers.models.llama.modeling_llama", "luthier.train._loop"])
RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.0, batch_size=8, evaluate_every=3)
REPLAY = [TrainingRow(f"r{i}", (Message("user", f"what is {i}"),), f"it is {40 + i}, I think", "") for i in range(6)]


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


@pytest.fixture
def together(rows, tiny_model_folder):
    """Trains in two processes; gives their exit codes. One of them may be interrupted in one of its steps."""

    def run(out, recipe, size=2, stop_after=None, interrupted=0):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = {"folder": tiny_model_folder, "rows": rows, "recipe": recipe, "replay": REPLAY, "out": out}
        given |= {"size": size, "port": port, "stop_after": stop_after, "interrupted": interrupted}
        given |= {"conftest": str(HERE / "conftest.py")}
        members = [
            SERVER.Process(target=runpy.run_path, args=(str(HERE / "member.py"), given | {"rank": rank}))
            for rank in range(size)
        ]
        for member in members:
            member.start()
        for member in members:
            member.join(300)
            member.kill()
        return [member.exitcode for member in members]

    return run


def weights(result):
    return load_file(result.folder / "adapter_model.safetensors")


@pytest.mark.parametrize("size", [2, 3])
def test_the_adapter_is_that_of_one_process_within_rounding(size, base, rows, score, tmp_path, together):
    alone = fine_tune(base, rows, RECIPE, tmp_path / "alone", score=score, replay=REPLAY)
    assert together(tmp_path / "out", RECIPE, size) == [0] * size
    result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, replay=REPLAY)  # reads what lies there
    assert [p.label_tokens for p in result.curve] == [p.label_tokens for p in alone.curve]
    for a, b in zip(result.curve, alone.curve, strict=True):
        assert (a.loss, a.drift) == pytest.approx((b.loss, b.drift), rel=1e-4, abs=1e-7)
    for name, weight in weights(result).items():
        torch.testing.assert_close(weight, weights(alone)[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("interrupted", [0, 1])
def test_whoever_is_interrupted_all_stop_after_the_same_step_and_one_process_goes_on(
    interrupted, base, rows, score, tmp_path, together
):
    assert together(tmp_path / "out", RECIPE, stop_after=5, interrupted=interrupted) == [9, 9]
    saved = read_json(tmp_path / "out" / FOLDER / "state.json")["state"]
    assert saved["step"] == 5
    result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, replay=REPLAY)
    alone = fine_tune(base, rows, RECIPE, tmp_path / "alone", score=score, replay=REPLAY)
    assert [p.loss for p in result.curve] == pytest.approx([p.loss for p in alone.curve], rel=1e-4)


@pytest.mark.parametrize("packing", ["tree", "padded"])
@pytest.mark.parametrize("size", [2, 5, 40])
def test_shares_are_a_division_of_the_rows(packing, size, base, rows):
    course = Course(encode_rows(base, rows, None), [], replace(RECIPE, batch_size=16))
    for step in range(3):
        shares = [
            [row for part in course.micro_batches(step, packing, rank, size) for row in part] for rank in range(size)
        ]
        assert sorted(r.id for share in shares for r in share) == sorted(r.id for r in course.batch(step))
        if size == 2:
            tokens = [tree_tokens(share) for share in shares]
            assert max(tokens) < 0.7 * sum(tokens)
