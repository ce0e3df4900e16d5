"""Every step of ours is the step of TRL's `SFTTrainer`: same loss, same gradient, same weights at the end, in fp32."""

import random
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import get_args

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from luthier.data import Message
from luthier.models import load_folder
from luthier.train import Recipe, TrainingRow, fine_tune
from luthier.train._course import Course
from luthier.train._model import Trainee, load_body
from luthier.train._rows import encode_rows
from luthier.train._setting import Packing, Setting

ARCHITECTURES = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "gemma": ("GemmaConfig", {"head_dim": 16}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "phi": ("PhiConfig", {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "gpt-2": ("GPT2Config", {"n_positions": 512, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "gpt-neox": ("GPTNeoXConfig", {"tie_word_embeddings": False}),
}
RECIPE = Recipe(
    method="full",
    learning_rate=1e-3,
    epochs=1.0,
    batch_size=8,
    tokens_per_micro_batch=220,  # several parts a step, in every packing
    min_warmup=1,
    weight_decay=0.01,
    clip=0.5,
    evaluate_every=10**6,
    replay_share=0.0,
)
TOLERANCE = 1e-5  # relative


@dataclass(frozen=True)
class Taken:
    """What a run was: of each step the loss, the norm of the gradient, the gradient, and the weights after it."""

    losses: list[float]
    norms: list[float]
    gradients: torch.Tensor
    weights: torch.Tensor


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request, make_tiny_model):
    config_class, changes = ARCHITECTURES[request.param]
    return load_folder(make_tiny_model(config_class, **changes), name=request.param)


@pytest.fixture(scope="module")
def talk():
    """Rows with a common prompt, rows with none, and conversations that go on where another row ends."""
    rng = random.Random(0)
    words = "parcel invoice refund lights music kitchen weather sunny wrong amount address answer".split()
    system = Message("system", "You are a helpful assistant. Sort each message into one of: billing, shipping, other.")
    rows = []
    for number in range(10):
        asked, said = Message("user", " ".join(rng.choices(words, k=rng.randrange(2, 9)))), rng.choice(words)
        rows.append(((system, asked), said))
        rows.append(((Message("user", " ".join(rng.choices(words, k=6))),), " ".join(rng.choices(words, k=4))))
        if number % 2:
            rows.append(((system, asked, Message("assistant", said), Message("user", "and?")), rng.choice(words)))
    return [TrainingRow(str(i), turns, wanted, "") for i, (turns, wanted) in enumerate(rows[:24])]


@pytest.fixture(scope="module")
def wanted(model, talk, tmp_path_factory):
    """TRL's run of all weights."""
    with quiet_trl():
        return theirs(model, load_body(model, torch.float32), talk, RECIPE, tmp_path_factory.mktemp("trl"))


@contextmanager
def quiet_trl():
    """TRL runs, and leaves no device state behind."""
    from accelerate.state import AcceleratorState

    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property that has a new name by now.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Kept:
    """The gradient that every optimizer step in the block is given, and the weights that it leaves, as vectors."""

    def __enter__(self):
        self._gradients, self._weights = [], []
        self._hooks = [
            register_optimizer_step_pre_hook(lambda o, *_: self._gradients.append(vector(o, lambda p: p.grad))),
            register_optimizer_step_post_hook(lambda o, *_: self._weights.append(vector(o, lambda p: p.detach()))),
        ]
        return self

    def __exit__(self, *_):
        for hook in self._hooks:
            hook.remove()
        self.both = torch.stack(self._gradients), torch.stack(self._weights)


def vector(optimizer, of):
    return torch.cat([of(p).flatten() for group in optimizer.param_groups for p in group["params"]])


def ours(base, rows, recipe, packing, out, monkeypatch):
    """A run of ours."""
    monkeypatch.setattr("luthier.train._loop.setting_for", lambda *_: Setting("float32", "", packing, ""))
    with Kept() as kept:
        result = fine_tune(base, rows, recipe, out, score=lambda model: 0.0)
    assert result.setting.packing == packing
    return Taken([p.loss for p in result.curve], [p.gradient_norm for p in result.curve], *kept.both)


def theirs(base, module, rows, recipe, out, **settings):
    """A run of TRL's trainer on the same tokens, labels, order, rates and optimizer."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    losses, norms = [], []

    class Notes(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                losses.append(logs["loss"])
                norms.append(logs["grad_norm"])

    course = Course(encode_rows(base, rows, None), [], recipe)
    rates = [recipe.rate(step, course.steps) for step in range(course.steps)]
    ordered = [row for step in range(course.steps) for row in course.batch(step)]
    data = [{"input_ids": list(row.ids), "completion_mask": [0] * row.start + [1] * row.labels} for row in ordered]
    weights = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, betas=betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    accumulated = settings.get("gradient_accumulation_steps", 1)
    config = SFTConfig(
        output_dir=str(out),
        max_steps=course.steps,
        per_device_train_batch_size=recipe.batch_size // accumulated,
        max_length=None,
        completion_only_loss=True,
        max_grad_norm=recipe.clip,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=None,
        activation_checkpointing=False,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **settings,
    )
    trainer = SFTTrainer(
        model=module,
        args=config,
        train_dataset=Dataset.from_list(data),
        processing_class=base.tokenizer,
        optimizers=(optimizer, schedule),
        callbacks=[Notes()],
    )
    with Kept() as kept:
        trainer.train()
    return Taken(losses, norms, *kept.both)


def assert_same(found, wanted):
    assert len(found.losses) == len(wanted.losses) == 3
    assert found.losses == pytest.approx(wanted.losses, rel=TOLERANCE)
    assert found.norms == pytest.approx(wanted.norms, rel=TOLERANCE)
    for ours, theirs in zip(found.gradients, wanted.gradients, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < TOLERANCE
    # Some gradients are zero but for rounding (of the bias of keys, which a softmax does not see). AdamW divides each
    # by its own size, so what it makes of them is chance.
    largest = wanted.gradients.abs().amax(0)
    clear = (largest == 0) | (largest > 1e-6 * largest.max())
    assert clear.float().mean() > 0.98
    for ours, theirs in zip(found.weights[:, clear], wanted.weights[:, clear], strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < TOLERANCE


@pytest.mark.parametrize("packing", get_args(Packing))
def test_a_run_is_that_of_trl(packing, model, talk, wanted, tmp_path, monkeypatch):
    assert_same(ours(model, talk, RECIPE, packing, tmp_path / "out", monkeypatch), wanted)


@pytest.mark.parametrize("packing", get_args(Packing))
@pytest.mark.parametrize("settings", [{"gradient_accumulation_steps": 2}, {"padding_free": True}])
def test_however_either_side_divides_a_batch(packing, settings, base, talk, tmp_path, monkeypatch):
    with quiet_trl():
        wanted = theirs(base, load_body(base, torch.float32), talk, RECIPE, tmp_path / "trl", **settings)
    cut = replace(RECIPE, tokens_per_micro_batch=100)
    assert_same(ours(base, talk, cut, packing, tmp_path / "out", monkeypatch), wanted)


@pytest.mark.parametrize("packing", get_args(Packing))
def test_an_adapter_is_that_of_trl(packing, base, talk, tmp_path, monkeypatch):
    from peft import PeftModel

    recipe = replace(RECIPE, method="lora", rank=4, alpha=8)
    trainee = Trainee(load_body(base, torch.float32), recipe)
    (tmp_path / "first").mkdir()
    trainee.save(trainee.weights(), tmp_path / "first", base)
    with quiet_trl():
        module = PeftModel.from_pretrained(load_body(base, torch.float32), tmp_path / "first", is_trainable=True)
        wanted = theirs(base, module, talk, recipe, tmp_path / "trl")
    assert_same(ours(base, talk, recipe, packing, tmp_path / "out", monkeypatch), wanted)
