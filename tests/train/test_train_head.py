"""The loss from hidden states: a kernel is used where it gives what the chunked loss gives, and its absence is said."""

import importlib.util
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from luthier.train import Recipe, fine_tune
from luthier.train import _head as head_module
from luthier.train._head import FusedLosses, Head, losses_of, with_loss
from luthier.train._loss import batch_losses
from luthier.train._model import Trainee, load_body
from luthier.train._rows import EncodedRow, encode_rows
from luthier.train._setting import Setting

# What stands in for Liger: the same interface, plain torch inside; what it is called with is kept.
KERNEL = """
import torch
calls = []
class LigerFusedLinearCrossEntropyLoss:
    def __init__(self, *, reduction, softcap, accum_dtype):
        self.how = {"reduction": reduction, "softcap": softcap, "accum_dtype": accum_dtype}
    def __call__(self, weight, states, targets):
        calls.append(self.how | {"rows": len(states), "weight": weight})
        logits = (states @ weight.T).float()
        if self.how["softcap"]:
            logits = torch.tanh(logits / self.how["softcap"]) * self.how["softcap"]
        return SCALE * torch.nn.functional.cross_entropy(logits, targets, reduction=self.how["reduction"])
"""
SETTING = Setting("float32", "", "tree", "")
PADDED = replace(SETTING, packing="padded")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Installs a kernel for the CPU; `scale` other than 1 makes it a wrong one, `source` another one."""

    def install(scale=1.0, source=None):
        folder = tmp_path / "installed" / "liger_kernel"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / "transformers.py").write_text(source or KERNEL.replace("SCALE", str(scale)))
        about = folder.parent / "liger_kernel-0.8.5.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: liger-kernel\nVersion: 0.8.5\n")
        forget()
        monkeypatch.syspath_prepend(folder.parent)
        monkeypatch.setattr(head_module, "DEVICES", {"cpu"})

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "liger_kernel"]:
            del sys.modules[name]

    yield install
    forget()


def trainee_of(base, **how):
    trainee = Trainee(load_body(base, torch.float32), Recipe(rank=4, **how), base.added.ids)
    with torch.no_grad():
        for master in trainee.masters.values():
            master.add_(0.01)
    trainee.publish()
    return trainee


def mixed_rows(base, rows):
    """Rows, one of them twice, two that part within their answers, and two whose divergence is held down."""
    encoded = encode_rows(base, rows[:5], None)
    end = encoded[0].ids[-1]
    parting = [replace(encoded[0], ids=(*encoded[0].ids[:-1], 5, end)), replace(encoded[0], ids=(*encoded[0].ids, 7))]
    held = [replace(row, start=1, held=True) for row in encoded[3:5]]
    return [*encoded[:3], encoded[0], *parting, *held]


def gradients(trainee, setting, rows, base):
    losses = losses_of(trainee, setting)
    batch = setting.batch(rows, trainee.device)
    reference = setting.reference(trainee, base, rows)
    trainee.forget_gradients()
    with setting.attention(trainee.body):
        wanted, away = losses(batch, reference)
        (0.3 * wanted + 0.7 * away).backward()
    return wanted.item(), away.item(), torch.cat([m.grad.flatten() for m in trainee.masters.values()]).clone()


@pytest.mark.parametrize("packing", ["tree", "padding-free", "padded"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_losses_and_gradients_are_those_of_the_chunked_loss(base, rows, stand_in, packing, method):
    stand_in()
    trainee, some = trainee_of(base, method=method), mixed_rows(base, rows)
    setting = replace(SETTING, packing=packing)
    fused = with_loss(setting, trainee, encode_rows(base, rows, None))
    assert fused.loss == "liger" and "equal to the chunked loss within" in fused.loss_reason
    wanted, found = (gradients(trainee, one, some, base) for one in (setting, fused))
    assert found[:2] == pytest.approx(wanted[:2], rel=1e-5)
    assert found[1] > 0
    assert float((found[2] - wanted[2]).norm() / wanted[2].norm()) < 1e-5


def test_a_part_with_nothing_to_learn_gives_the_divergence_alone(base, rows, stand_in):
    stand_in()
    trainee, held = trainee_of(base), [row for row in mixed_rows(base, rows) if row.held]
    wanted, found = (gradients(trainee, replace(SETTING, loss=name), held, base) for name in ("chunked", "liger"))
    assert found[0] == wanted[0] == 0
    assert found[1] == pytest.approx(wanted[1], rel=1e-6) and torch.allclose(found[2], wanted[2], atol=1e-7)


def test_the_kernel_adds_up_in_full_precision_and_gets_each_label_of_each_row(base, rows, stand_in):
    stand_in()
    trainee, some = trainee_of(base), mixed_rows(base, rows)
    gradients(trainee, replace(SETTING, loss="liger"), some, base)
    (call,) = sys.modules["liger_kernel.transformers"].calls
    weight = call.pop("weight")
    labels = sum(row.labels for row in some if not row.held)
    assert call == {"reduction": "sum", "softcap": None, "accum_dtype": torch.float32, "rows": labels}
    assert weight is trainee.body.get_output_embeddings().weight


VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CAPPED = {"head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 5.0, "attn_implementation": "eager"}
GPT = {"n_embd": 32, "n_layer": 1, "n_head": 4}


def of_architecture(config, **more):
    """An untrained model of an architecture, as a trainee."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**SHAPE | more)).eval()
    return SimpleNamespace(sharded=False, device=body.device, body=body, module=body)


def random_rows(seed):
    rng = random.Random(seed)
    ids = [[rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(6, 20))] for _ in range(4)]
    return [EncodedRow(str(n), "", tuple(row), rng.randrange(1, len(row))) for n, row in enumerate(ids)]


@pytest.mark.parametrize(
    ("config", "more", "scale", "cap"),
    [
        ("LlamaConfig", {}, 1.0, None),
        ("Gemma2Config", CAPPED, 1.0, 5.0),
        ("GraniteConfig", {"logits_scaling": 3.0}, 1 / 3, None),
        ("CohereConfig", {"logit_scale": 0.25}, 0.25, None),
        ("GPT2Config", GPT, 1.0, None),
        ("GPTNeoXConfig", {}, 1.0, None),
    ],
)
def test_scales_and_caps_of_architectures_reach_the_kernel(config, more, scale, cap, stand_in):
    stand_in()
    trainee = of_architecture(config, **more)
    head = Head.of(trainee.body)
    assert (head.scale, head.cap) == (scale, cap)
    setting = with_loss(PADDED, trainee, random_rows(0))
    assert setting.loss == "liger", setting.loss_reason
    batch = setting.batch(random_rows(1), trainee.device)
    wanted, found = batch_losses(trainee.body, batch, None)[0], FusedLosses(trainee.body, head)(batch, None)[0]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "more"),
    [("GraniteConfig", {"logits_scaling": 3.0}), ("CohereConfig", {"logit_scale": 0.25}), ("Gemma2Config", CAPPED)],
)
def test_a_head_that_does_more_than_is_known_of_it_is_found_out(config, more, stand_in, monkeypatch):
    """As of an architecture whose scale or cap has another name."""
    stand_in()
    trainee = of_architecture(config, **more)
    plain = Head(trainee.body.get_output_embeddings(), 1.0, None)
    plain.layer.weight.data.mul_(50)  # logits that a cap changes
    monkeypatch.setattr(Head, "of", lambda body: plain)
    found = with_loss(PADDED, trainee, random_rows(0))
    assert found.loss == "chunked" and "the model's own head differs" in found.loss_reason


def test_a_head_with_a_bias_or_an_adapter_is_left_alone(base, rows, stand_in):
    stand_in()
    encoded = encode_rows(base, rows, None)
    trainee = trainee_of(base)
    trainee.body.lm_head.bias = torch.nn.Parameter(torch.zeros(trainee.body.config.vocab_size))
    assert with_loss(SETTING, trainee, encoded).loss_reason == "no liger: the output head has a bias"
    adapted = Trainee(of_architecture("LlamaConfig").body, Recipe(rank=4, layers=("lm_head", "q_proj")))
    assert "not a plain linear layer" in with_loss(SETTING, adapted, encoded).loss_reason
    more = base.with_tokens(("<refund>",))
    assert with_loss(SETTING, trainee_of(more), encoded).loss == "chunked"


def test_double_precision_and_shared_weights_are_left_alone(base, rows, stand_in):
    stand_in()
    trainee, encoded = trainee_of(base), encode_rows(base, rows, None)
    assert "adds up in fp32" in with_loss(replace(SETTING, precision="float64"), trainee, encoded).loss_reason
    trainee.sharded = True
    assert "shared out" in with_loss(SETTING, trainee, encoded).loss_reason


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"scale": 1.001}, "the loss differs from that of the chunked loss by 0.001"),
        ({"source": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"source": "other = 1"}, "ImportError: cannot import name 'LigerFused"),
        (
            {"source": KERNEL.replace("states @ weight.T", "(states.detach() + 0 * states) @ weight.T")},
            "the gradient of the hidden states differs",
        ),
        (
            {"source": KERNEL.replace("SCALE", "1").replace("weight.T)", "weight.T.detach() + 0 * weight.T.sum())")},
            "the gradient of the head differs",
        ),
    ],
)
def test_a_kernel_that_fails_or_differs_is_not_used_and_this_is_said(base, rows, stand_in, how, reason):
    stand_in(**{"source": None} | {k: v.replace("SCALE", "1") if isinstance(v, str) else v for k, v in how.items()})
    found = with_loss(SETTING, trainee_of(base, method="full"), encode_rows(base, rows, None))
    assert found.loss == "chunked" and found.loss_reason.startswith(f"no liger: {reason}")


def test_a_kernel_that_is_not_installed_is_named(base, rows, monkeypatch):
    monkeypatch.setattr(head_module, "DEVICES", {"cpu"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = with_loss(SETTING, trainee_of(base), encode_rows(base, rows, None))
    assert found.loss == "chunked" and 'pip install "luthier[cuda]"' in found.loss_reason


def test_a_processor_has_no_kernels(base, rows, stand_in, monkeypatch):
    stand_in()
    monkeypatch.setattr(head_module, "DEVICES", {"cuda"})
    assert with_loss(SETTING, trainee_of(base), encode_rows(base, rows, None)) == SETTING


def test_the_check_leaves_no_gradients(base, rows, stand_in):
    stand_in()
    trainee = trainee_of(base, method="full")
    trainee.forget_gradients()
    with_loss(SETTING, trainee, encode_rows(base, rows, None))
    assert not any(master.grad.any() for master in trainee.masters.values())


@pytest.fixture
def brief(recipe):
    """Five steps."""
    return replace(recipe, epochs=1.0, batch_size=4, evaluate_every=99)


def test_a_run_ends_alike_and_its_record_says_what_computed_the_loss(base, rows, brief, score, tmp_path, stand_in):
    plain = fine_tune(base, rows, brief, tmp_path / "plain", score=score)
    stand_in()
    fused = fine_tune(base, rows, brief, tmp_path / "fused", score=score)
    assert (plain.setting.loss, plain.setting.loss_reason, fused.setting.loss) == ("chunked", "", "liger")
    assert fused.versions["liger-kernel"] == "0.8.5" and "liger-kernel" not in plain.versions
    assert len(sys.modules["liger_kernel.transformers"].calls) >= fused.steps
    assert [p.loss for p in fused.curve] == pytest.approx([p.loss for p in plain.curve], rel=1e-3)


@pytest.mark.parametrize("begun_with", ["liger", "chunked"])
def test_a_run_goes_on_with_its_loss_or_says_why_not(
    base, rows, brief, score, tmp_path, stand_in, monkeypatch, begun_with
):
    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    if begun_with == "liger":
        stand_in()
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, brief, tmp_path / "out", score=score, progress=stop)
    stand_in()
    if begun_with == "liger":
        monkeypatch.setattr(head_module, "DEVICES", {"cuda"})
    found = fine_tune(base, rows, brief, tmp_path / "out", score=score)
    assert found.setting.loss == "chunked"
    said = ("after step 3: the loss is computed without liger (it runs on cpu now); the result is the same within "
            "rounding")  # fmt: skip
    assert found.notes == ((said,) if begun_with == "liger" else ())


def test_the_kernel_itself_gives_the_chunked_loss_and_its_gradients():
    """Liger's kernel in Triton's interpreter, forward and backward, the head's gradient among it."""
    missing = [name for name in ("triton", "liger_kernel") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)}: 1 GB with Triton, of no use without a GPU")
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).with_name("kernel.py")],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    single, half = done.stdout.splitlines()
    assert single.startswith("float32 liger liger: equal to the chunked loss within")
    assert half.startswith("bfloat16 liger liger: equal to the chunked loss within")
