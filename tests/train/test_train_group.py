"""Several processes train what one would have trained, with whole weights in each of them and with their parts."""

import multiprocessing
import runpy
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.data import Message
from luthier.errors import TrainingError
from luthier.models import load_folder
from luthier.store import read_json
from luthier.train import Group, Recipe, TrainingRow, _loop, _shard, fine_tune
from luthier.train._checkpoint import FOLDER
from luthier.train._course import Course
from luthier.train._rows import encode_rows
from luthier.train._trie import tree_tokens

HERE = Path(__file__).parent
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["peft", "transformers.models.llama.modeling_llama", "luthier.train._loop", "luthier.train._nf4"]
)
RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.0, batch_size=8, evaluate_every=3)
PACKED = replace(RECIPE, method="qlora")
FULL = replace(RECIPE, method="full", learning_rate=1e-3, weight_decay=0.01)
REPLAY = [TrainingRow(f"r{i}", (Message("user", f"what is {i}"),), f"it is {40 + i}, I think", "") for i in range(6)]


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


@pytest.fixture
def together(rows, tiny_model_folder):
    """Trains in several processes; gives their exit codes. One of them may get a signal in one of its steps."""

    def run(out, recipe, size=2, *, stop_after=None, interrupted=0, number=signal.SIGTERM, **how):
        port = free_port()
        given = {"folder": tiny_model_folder, "rows": rows, "recipe": recipe, "replay": REPLAY, "out": out}
        given |= {"size": size, "port": port, "stop_after": stop_after, "interrupted": interrupted, "number": number}
        given |= {"shard": False, "half": False, "recompute": False, "conftest": str(HERE / "conftest.py")} | how
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


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def weights(result):
    [file] = result.folder.glob("*.safetensors")
    return load_file(file)


def assert_equal_within_rounding(result, alone, rtol=1e-3, atol=1e-5):
    assert [p.label_tokens for p in result.curve] == [p.label_tokens for p in alone.curve]
    for a, b in zip(result.curve, alone.curve, strict=True):
        assert (a.loss, a.drift) == pytest.approx((b.loss, b.drift), rel=1e-4, abs=1e-7)
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-3)
    found, wanted = weights(result), weights(alone)
    assert found.keys() == wanted.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, wanted[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("recipe", "shard", "size"),
    [
        pytest.param(RECIPE, False, 2, id="lora"),
        pytest.param(RECIPE, False, 3, id="lora, three"),
        pytest.param(RECIPE, True, 2, id="lora, sharded"),
        pytest.param(replace(RECIPE, variant="dora"), True, 2, id="dora, sharded"),
        pytest.param(PACKED, False, 2, id="qlora"),
        pytest.param(PACKED, True, 2, id="qlora, sharded"),
        pytest.param(replace(PACKED, variant="dora", layers=("q_proj",)), True, 3, id="qdora, sharded, three"),
        pytest.param(FULL, False, 2, id="full"),
        pytest.param(FULL, True, 2, id="full, sharded"),
        pytest.param(FULL, True, 3, id="full, sharded, three"),
    ],
)
def test_the_result_is_that_of_one_process_within_rounding(recipe, shard, size, base, rows, score, tmp_path, together):
    alone = fine_tune(base, rows, recipe, tmp_path / "alone", score=score, replay=REPLAY)
    assert together(tmp_path / "out", recipe, size, shard=shard) == [0] * size
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score, replay=REPLAY)  # reads what lies there
    assert_equal_within_rounding(result, alone)
    names = {file.name for file in alone.folder.iterdir()}
    assert {file.name for file in result.folder.iterdir()} == names
    for name in ("adapter_config.json", "config.json", "tokenizer.json"):
        if name in names:
            assert (result.folder / name).read_bytes() == (alone.folder / name).read_bytes()


@pytest.mark.parametrize("recipe", [RECIPE, FULL], ids=["lora", "full"])
def test_sharded_processes_without_rows_and_with_more_passes_than_others_keep_company(
    recipe, base, rows, score, tmp_path, together
):
    """Two rows a step for three processes, then rows that need a pass each."""
    for name, change in {"few": {"batch_size": 1, "epochs": 0.25}, "many": {"tokens_per_micro_batch": 48}}.items():
        changed = replace(recipe, **change)
        alone = fine_tune(base, rows, changed, tmp_path / f"{name} alone", score=score, replay=REPLAY)
        assert together(tmp_path / name, changed, 3, shard=True) == [0, 0, 0]
        result = fine_tune(base, rows, changed, tmp_path / name, score=score, replay=REPLAY)
        assert_equal_within_rounding(result, alone)


@pytest.mark.parametrize("recipe", [RECIPE, PACKED, FULL], ids=["lora", "qlora", "full"])
def test_layers_that_are_computed_again_give_the_same(recipe, base, rows, score, tmp_path, together, monkeypatch):
    alone = fine_tune(base, rows, recipe, tmp_path / "alone", score=score, replay=REPLAY)
    assert together(tmp_path / "out", recipe, shard=True, recompute=True) == [0, 0]
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score, replay=REPLAY)
    assert result.setting.recompute
    assert_equal_within_rounding(result, alone)
    found = _loop.setting_for
    monkeypatch.setattr(_loop, "setting_for", lambda *given: replace(found(*given), recompute=True))
    again = fine_tune(base, rows, recipe, tmp_path / "again", score=score, replay=REPLAY)
    assert_equal_within_rounding(again, alone)


@pytest.mark.parametrize("recipe", [RECIPE, FULL], ids=["lora", "full"])
def test_half_precision_with_exact_masters_is_that_of_one_process(
    recipe, rows, score, tmp_path, tiny_model_folder, together
):
    """A GPU's precision: passes in bf16, whose order of sums shows; masters and what is added up in fp32."""
    base = load_folder(tiny_model_folder, name="tiny")
    base.module.bfloat16()
    alone = fine_tune(base, rows, recipe, tmp_path / "alone", score=score, replay=REPLAY)
    assert alone.setting.precision == "bfloat16"
    assert together(tmp_path / "out", recipe, shard=True, half=True) == [0, 0]
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score, replay=REPLAY)
    assert [p.loss for p in result.curve] == pytest.approx([p.loss for p in alone.curve], rel=0.005)
    assert {name: w.dtype for name, w in weights(result).items()} == {n: w.dtype for n, w in weights(alone).items()}
    start = load_file(tiny_model_folder / "model.safetensors") if recipe.method == "full" else {}
    moved = different = 0.0
    for name, weight in weights(alone).items():
        moved += float((weight.float() - start.get(name, torch.zeros(()))).square().sum())
        different += float((weight.float() - weights(result)[name].float()).square().sum())
    assert different < 0.1**2 * moved


@pytest.mark.parametrize("interrupted", [0, 1])
@pytest.mark.parametrize(
    ("recipe", "shard"),
    [(RECIPE, False), (RECIPE, True), (FULL, True)],
    ids=["lora", "lora, sharded", "full, sharded"],
)
def test_whoever_is_interrupted_all_stop_after_the_same_step_and_one_process_goes_on(
    recipe, shard, interrupted, base, rows, score, tmp_path, together
):
    assert together(tmp_path / "out", recipe, shard=shard, stop_after=5, interrupted=interrupted) == [9, 9]
    saved = read_json(tmp_path / "out" / FOLDER / "state.json")["state"]
    assert saved["step"] == 5
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score, replay=REPLAY)
    alone = fine_tune(base, rows, recipe, tmp_path / "alone", score=score, replay=REPLAY)
    assert_equal_within_rounding(result, alone)


@pytest.mark.parametrize("recipe", [RECIPE, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_what_one_process_began_two_go_on_with(recipe, shard, base, rows, score, tmp_path, together):
    assert together(tmp_path / "out", recipe, 1, stop_after=4) == [9]
    assert together(tmp_path / "out", recipe, 2, shard=shard) == [0, 0]
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score, replay=REPLAY)
    alone = fine_tune(base, rows, recipe, tmp_path / "alone", score=score, replay=REPLAY)
    assert_equal_within_rounding(result, alone)


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_when_a_process_dies_the_other_one_ends_too(shard, tmp_path, together):
    began = time.monotonic()
    codes = together(tmp_path / "out", RECIPE, shard=shard, stop_after=4, interrupted=1, number=signal.SIGKILL)
    assert codes == [1, -signal.SIGKILL]
    assert time.monotonic() - began < 200


def test_who_waits_for_a_process_that_has_ended_is_told_so():
    given = {"port": free_port()}
    processes = [
        SERVER.Process(target=runpy.run_path, args=(str(HERE / "leaver.py"), given | {"rank": rank})) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        process.kill()
    assert [process.exitcode for process in processes] == [7, 3]


def test_added_tokens_cannot_be_sharded(base):
    with pytest.raises(TrainingError, match="cannot be sharded"):
        _shard.make_trainee(base, replace(RECIPE, added_tokens=("<a>",)), torch.float32, Group(0, 2), shard=True)


def test_one_process_cannot_shard(base, rows, score, tmp_path):
    with pytest.raises(TrainingError, match="one process cannot share its weights out"):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, shard=True)
    assert not (tmp_path / "out").exists()


def test_weights_are_sharded_unasked_where_a_device_is_too_small(base, monkeypatch):
    weights = base.n_parameters
    linear = sum(layer.weight.numel() for layer in base.module.model.layers.modules() if hasattr(layer, "in_features"))
    packed = 4 - (4 - 0.5) * linear / weights  # scales come on top
    # Base and copy; base, masters, gradients and moments.
    needed = {"lora": 4, "qlora": 4 + packed + 0.03, "full": 4 + 16}
    for recipe in (RECIPE, PACKED, FULL):
        for room, fits in ((needed[recipe.method] / 0.6 + 0.1, True), (needed[recipe.method] / 0.6 - 0.1, False)):
            monkeypatch.setattr(_shard, "_memory", lambda device, group, room=room: room * weights)
            assert _shard._fits(base, recipe, torch.float32, Group(0, 2)) is fits


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
