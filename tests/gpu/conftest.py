"""Rows and bases for tests that need a GPU; without one they are skipped."""

import pytest
import torch

from luthier.data import Message
from luthier.train import Recipe, TrainingRow

SYSTEM = "You are a helpful assistant. Sort each message into one of: billing, shipping, technical, other."
LABELS = ("billing", "shipping", "technical", "other")


def pytest_collection_modifyitems(items):
    """Mark them all."""
    if not torch.cuda.is_available():
        for item in items:
            if "tests/gpu" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def rows():
    return [
        TrainingRow(
            id=f"row-{i}",
            messages=(Message("system", SYSTEM), Message("user", f"message {i} about {LABELS[i % 4]}")),
            output=LABELS[i % 4],
            source=f"examples.jsonl:{i + 1}",
        )
        for i in range(40)
    ]


@pytest.fixture(scope="session")
def replay():
    asked = ("Name a colour.", "What is the capital of France?")
    return [
        TrainingRow(f"replay-{i}", (Message("user", text),), "Some words of an answer.", "replay")
        for i, text in enumerate(asked)
    ]


@pytest.fixture
def recipe():
    return Recipe(rank=8, alpha=16, learning_rate=5e-3, epochs=3.0, batch_size=8, evaluate_every=5, patience=9)


@pytest.fixture(scope="session")
def folder(make_tiny_model):
    """A base whose heads are wide enough for FlexAttention, and whose layers are wide enough for 4 bits."""
    return make_tiny_model(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.05,
    )


@pytest.fixture
def base(folder):
    from luthier.models import load_folder

    return load_folder(folder, name="tiny")


@pytest.fixture(scope="session")
def score(rows):
    """A development score: mean log-likelihood of a label token of some rows' answers."""
    from luthier.train._rows import encode_rows

    def of(model):
        encoded = encode_rows(model, rows[:8], None)
        found = model.logprobs([row.ids for row in encoded], [row.start for row in encoded])
        return float(sum(part.sum() for part in found)) / sum(row.labels for row in encoded)

    return of
