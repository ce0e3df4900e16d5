"""What a processor compiles for products in half precision is counted, and no more of it kept than is used again."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from transformers import MixtralConfig

from luthier.models import load_folder
from luthier.train import Job, Recipe
from luthier.train._products import KEPT, LIMITS, SPARE, keep_few_products, products, products_kept, weight_shapes
from luthier.train._rows import EncodedRow
from luthier.train._setting import multiplies_bf16

ROWS = [(tuple(range(20, 60)) + tuple(range(100, 105 + 3 * n)), 40) for n in range(6)]
STEP = """
import json, sys
from pathlib import Path
import torch
from luthier.models import load_folder
from luthier.train import Recipe
from luthier.train._attention import attending_to_trees
from luthier.train._loss import batch_loss, tree_batch
from luthier.train._model import Trainee, load_body
from luthier.train._rows import EncodedRow
base = load_folder(Path(sys.argv[1]), name="tiny")
trainee = Trainee(load_body(base, torch.bfloat16), Recipe(rank=8, alpha=16))
rows = [EncodedRow("", "", tuple(ids), start) for ids, start in json.loads(sys.argv[2])]
with attending_to_trees(trainee.body):
    batch_loss(trainee.module, tree_batch(rows, torch.device("cpu"))).backward()
"""


@pytest.fixture
def unsaid(monkeypatch):
    """Nothing is said yet about how much is kept, on a processor that multiplies bf16."""
    monkeypatch.setattr("luthier.train._setting.multiplies_bf16", lambda: True)
    for name in LIMITS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def job_of(base, rows, **recipe):
    return Job.of(base, rows, Recipe(batch_size=8, **recipe), ())


def test_a_micro_batch_compiles_no_more_than_is_counted(make_tiny_model):
    """oneDNN itself says what it compiles; where the processor multiplies no bf16 it may be nothing."""
    folder = make_tiny_model(num_hidden_layers=3)
    environment = os.environ | {"ONEDNN_VERBOSE": "profile_create"}
    command = [sys.executable, "-c", STEP, folder, json.dumps(ROWS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    compiled = done.stdout.count("create:cache_miss")
    rows = [EncodedRow("", "", ids, start) for ids, start in ROWS]
    counted = products(rows, weight_shapes(load_folder(folder, name="tiny").module.config))
    assert compiled <= counted
    assert counted < 2 * compiled or not multiplies_bf16()


def test_what_one_micro_batch_needs_is_kept(base, rows, unsaid):
    job = job_of(base, rows)
    shapes = weight_shapes(job.config)
    most = max(products(part, shapes) for part in job.micro_batches("tree"))
    job.bound_products()
    [kept] = {int(os.environ[name]) for name in LIMITS}
    assert SPARE * most <= kept <= 3 * most
    assert products_kept(10 * most) == kept, "oneDNN has read it"


def test_a_later_training_that_needs_more_is_told(unsaid, caplog):
    keep_few_products(100)
    assert not caplog.records
    keep_few_products(300)
    assert "keeps 100 compiled products, and a step needs up to 300" in caplog.text


def test_in_full_precision_nothing_is_bounded(base, rows, unsaid):
    job_of(base, rows, method="full").bound_products()
    unsaid.setattr("luthier.train._setting.multiplies_bf16", lambda: False)
    job_of(base, rows).bound_products()
    assert not set(LIMITS) & set(os.environ)


def test_a_users_own_limit_stays(base, rows, unsaid):
    unsaid.setenv(LIMITS[0], "77")
    job_of(base, rows).bound_products()
    assert os.environ[LIMITS[0]] == "77"
    assert products_kept(1000) == 77


def test_held_rows_are_counted(base, rows, unsaid):
    encoded = job_of(base, rows).rows[:4]
    held = [*encoded[:3], replace(encoded[3], held=True)]
    assert products(held, 5) > products(encoded, 5)


def test_with_experts_as_many_are_kept_as_ever(unsaid):
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
    )
    assert weight_shapes(config) is None
    keep_few_products(None)
    assert {os.environ[name] for name in LIMITS} == {str(KEPT)}
