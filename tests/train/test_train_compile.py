"""Compiled layers give what eager ones give, are kept where they pay, and a run that goes on keeps what it had."""

import itertools
import shutil
from dataclasses import replace

import pytest
import torch

from luthier.train import Recipe, fine_tune
from luthier.train import _compile as compile_module
from luthier.train._compile import Timing, losses_under, while_compilable, with_compilation
from luthier.train._course import Course
from luthier.train._flex import compile_errors
from luthier.train._loss import batch_losses
from luthier.train._model import Trainee, load_body
from luthier.train._rows import encode_rows
from luthier.train._setting import BUCKET, Setting

SETTING = Setting("float32", "", "tree", "")


@pytest.fixture
def here(monkeypatch):
    """Has compiling be tried on a processor, however short the run."""
    monkeypatch.setattr(compile_module, "DEVICES", {"cpu"})
    monkeypatch.setattr(compile_module, "LONG", 0.0)


@pytest.fixture
def compilers(here, monkeypatch):
    """Puts a function in the place of what torch compiles a layer's `forward` to; without one it is run as it is."""

    def put(change=lambda forward: forward):
        calls = []

        def compile_(forward, *, dynamic, backend):
            assert dynamic and backend == "inductor"

            def run(*values, **named):
                calls.append(forward)
                return change(forward)(*values, **named)

            return run

        monkeypatch.setattr(torch, "compile", compile_)
        return calls

    return put


@pytest.fixture
def pays(monkeypatch):
    """Has compiling pay, whatever was measured."""
    monkeypatch.setattr(Timing, "verdict", lambda self, left: (True, "it pays"))


def trainee_of(base, layers=None):
    body = load_body(base, torch.float32)
    body.model.layers = body.model.layers[:layers]
    trainee = Trainee(body, Recipe(rank=4))
    with torch.no_grad():
        for master in trainee.masters.values():
            master.add_(0.01)
    trainee.publish()
    return trainee


def gradients(trainee, setting, rows, base):
    losses, found = losses_under(trainee, setting), []
    for part in (rows[:6], rows[3:8], rows[8:]):
        batch = setting.batch(part, trainee.device)
        reference = setting.reference(trainee, base, part)
        trainee.forget_gradients()
        with setting.attention(trainee.body):
            wanted, away = losses(batch, reference)
            (wanted + away).backward()
        gradient = torch.cat([m.grad.flatten() for m in trainee.masters.values()]).clone()
        found.append((wanted.item(), away.item(), gradient))
    return found


def test_compiled_layers_on_filled_up_batches_give_the_losses_and_gradients_of_eager_ones(base, rows, monkeypatch):
    """Traced by torch; its own backend is left out, as it takes minutes on a processor: graphs run as they are."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    monkeypatch.setattr(compile_module, "BACKEND", backend)
    encoded = encode_rows(base, rows[:12], None)
    encoded[2] = replace(encoded[2], start=1, held=True)
    trainee = trainee_of(base, layers=1)
    compiled = replace(SETTING, compiled=True)
    before = trainee.body.config._attn_implementation
    wanted, found = (gradients(trainee, setting, encoded, base) for setting in (SETTING, compiled))
    assert graphs and wanted[0][1] > 0
    for one, other in zip(wanted, found, strict=True):
        assert other[:2] == pytest.approx(one[:2], rel=1e-5)
        assert float((other[2] - one[2]).norm() / one[2].norm()) < 1e-5
    count = len(graphs)
    gradients(trainee, compiled, encode_rows(base, rows, None)[5:], base)
    assert len(graphs) <= count + 1, "other trees need nothing new"
    assert not any("forward" in vars(module) for module in trainee.body.modules())
    assert trainee.body.config._attn_implementation == before
    torch.compiler.reset()


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x).relu()


class Body(torch.nn.Module):
    _no_split_modules = ("Block",)

    def __init__(self):
        super().__init__()
        self.block = Block()


def test_what_cannot_be_compiled_is_said_by_torch(monkeypatch):
    def backend(graph, inputs):
        raise OSError("no compiler here")

    monkeypatch.setattr(compile_module, "BACKEND", backend)
    body, x = Body(), torch.randn(3, 4)
    layers = compile_module._Layers(body)
    with pytest.raises(compile_errors(), match="no compiler here"), layers.running():
        body.block(x)
    assert "forward" not in vars(body.block)


def test_a_run_goes_on_with_eager_layers_where_one_cannot_be_compiled_after_all(
    base, rows, recipe, score, tmp_path, compilers, pays
):
    from torch._dynamo.exc import TorchDynamoException

    brief = replace(recipe, epochs=1.0, batch_size=4, evaluate_every=99)
    left = [10**6]

    def failing(forward):
        left[0] -= 1
        if left[0] == 0:
            raise TorchDynamoException("no room for another kernel")
        return forward

    calls = compilers(failing)
    straight = fine_tune(base, rows, brief, tmp_path / "straight", score=score)
    left[0] = len(calls) - 3  # in the last steps: the trial before the first one takes most calls
    assert straight.setting.compiled and straight.notes == ()
    found = fine_tune(base, rows, brief, tmp_path / "failing", score=score)
    assert not found.setting.compiled and "no room for another kernel" in found.setting.compile_reason
    [note] = found.notes
    assert "layers run eager from here on" in note and "(not compiled: TorchDynamoException: no room" in note
    assert [point.loss for point in found.curve] == pytest.approx([point.loss for point in straight.curve], rel=1e-5)


@pytest.mark.parametrize("packing", ["tree", "padding-free"])
def test_what_fills_a_batch_up_changes_neither_losses_nor_gradients(base, rows, packing):
    encoded = encode_rows(base, rows[:7], None)
    encoded[2] = replace(encoded[2], start=1, held=True)
    trainee = trainee_of(base)
    plain = replace(SETTING, packing=packing)
    filled = replace(plain, compiled=True)
    found = []
    for setting in (plain, filled):
        batch = setting.batch(encoded, trainee.device)
        with setting.attention(trainee.body):
            losses = batch_losses(trainee.module, batch, setting.reference(trainee, base, encoded))
        gradient = torch.autograd.grad(sum(losses), list(trainee.masters.values()))
        found.append((losses[0].item(), losses[1].item(), torch.cat([part.flatten() for part in gradient])))
        size = batch.inputs["input_ids"].shape[1]
        assert batch.tokens == size and (size % BUCKET == 0) == (setting is filled)
    assert found[1][:2] == pytest.approx(found[0][:2], rel=1e-6)
    assert float((found[1][2] - found[0][2]).norm() / found[0][2].norm()) < 1e-5


@pytest.mark.parametrize(
    ("eager", "compiled", "building", "left", "kept"),
    [
        (1.0, 0.8, 60.0, 3600.0, True),  # saves 720 s
        (1.0, 0.8, 60.0, 200.0, False),  # saves 40 s
        (1.0, 0.98, 1.0, 1e6, False),  # within what timing varies by
        (1.0, 1.3, 1.0, 1e6, False),
    ],
)
def test_layers_are_compiled_where_that_saves_more_than_it_takes(eager, compiled, building, left, kept):
    found, reason = Timing(eager, compiled, building).verdict(left)
    assert found is kept and f"{compiled:.2f} of the time" in reason


def tried(base, rows, recipe, setting=SETTING, **how):
    trainee = Trainee(load_body(base, torch.float32), recipe)
    found = with_compilation(setting, trainee, base, Course(encode_rows(base, rows, None), [], recipe), **how)
    assert not any(master.grad.any() for master in trainee.masters.values())
    return found


def test_the_trial_compares_seconds_on_the_same_batches(base, rows, recipe, compilers, monkeypatch):
    """By a clock on which a compiled pass takes half a second, an eager one a second."""
    calls, readings, now = compilers(), itertools.count(), [0.0]

    def clock():
        if next(readings) % 2:  # the end of a pass
            now[0] += 0.5 if calls else 1.0
            calls.clear()
        return now[0]

    long = replace(recipe, epochs=200.0)
    steps = Course(encode_rows(base, rows, None), [], long).steps  # of a micro-batch each
    found = tried(base, rows, long, clock=clock)
    assert found.compiled and found.compile_reason.startswith("compiled: a micro-batch takes 0.50 of the time")
    assert f"it saves {steps / 2:.0f} s for 2 s" in found.compile_reason
    assert "loss and gradients equal within" in found.compile_reason
    assert f"it saves {steps / 4:.0f} s for 2 s" in tried(base, rows, long, clock=clock, processes=2).compile_reason
    monkeypatch.setattr(compile_module, "LONG", steps + 1.0)
    short = tried(base, rows, long, clock=clock)
    assert not short.compiled
    assert short.compile_reason == f"not compiled: the run is too short for a trial (about {steps / 60:.0f} minutes)"


def test_layers_that_compute_something_else_are_dropped(base, rows, recipe, compilers, pays):
    compilers(lambda forward: lambda *values, **named: 1.01 * forward(*values, **named))
    found = tried(base, rows, recipe)
    assert not found.compiled and "not compiled: loss or gradients differ by 0.0" in found.compile_reason


def test_layers_that_cannot_be_compiled_stay_eager(base, rows, recipe, compilers, pays):
    def failing(forward):
        raise OSError("no compiler\nhere")

    compilers(failing)
    assert tried(base, rows, recipe).compile_reason == "not compiled: OSError: no compiler here"


def test_what_is_not_tried_is_said(base, rows, recipe, compilers, monkeypatch):
    calls, trainee = compilers(), trainee_of(base)
    course = Course(encode_rows(base, rows, None), [], recipe)
    for setting, reason in (
        (replace(SETTING, packing="padded"), "padded rows come in too many sizes"),
        (replace(SETTING, recompute=True), "layers are computed again for the backward pass"),
    ):
        assert with_compilation(setting, trainee, base, course).compile_reason == f"not compiled: {reason}"
    trainee.sharded = True
    assert "shared out" in with_compilation(SETTING, trainee, base, course).compile_reason
    assert "shared out" in while_compilable(replace(SETTING, compiled=True), trainee).compile_reason
    monkeypatch.setattr(compile_module, "DEVICES", {"cuda"})
    assert with_compilation(SETTING, trainee, base, course) == SETTING
    assert not while_compilable(replace(SETTING, compiled=True), trainee).compiled
    assert calls == []


def test_a_run_that_goes_on_keeps_compiled_layers_to_the_same_bytes(
    base, rows, recipe, score, tmp_path, compilers, monkeypatch
):
    calls, brief = compilers(), replace(recipe, epochs=1.0, batch_size=4, evaluate_every=99)

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Timing, "verdict", lambda self, left: (True, "it pays"))
        straight = fine_tune(base, rows, brief, tmp_path / "straight", score=score)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(base, rows, brief, tmp_path / "same", score=score, progress=stop)
        shutil.copytree(tmp_path / "same", tmp_path / "elsewhere")
    monkeypatch.setattr(Timing, "verdict", lambda self, left: (False, "it does not pay"))
    calls.clear()
    resumed = fine_tune(base, rows, brief, tmp_path / "same", score=score)
    assert straight.setting.compiled and resumed.setting == straight.setting
    assert resumed.adapter_hash == straight.adapter_hash and resumed.notes == () and calls
    assert all(point.tokens % BUCKET == 0 for point in resumed.curve)
    monkeypatch.setattr(compile_module, "DEVICES", {"cuda"})
    calls.clear()
    elsewhere = fine_tune(base, rows, brief, tmp_path / "elsewhere", score=score)
    assert not elsewhere.setting.compiled and not calls
    assert elsewhere.notes == (
        "after step 2: layers run uncompiled (it runs on cpu now); the result is the same within rounding",
    )
    assert [p.loss for p in elsewhere.curve] == pytest.approx([p.loss for p in straight.curve], rel=1e-4)
