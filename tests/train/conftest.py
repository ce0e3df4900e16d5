"""Small bases and rows to train on."""

import pytest
import torch

from luthier.data import Message
from luthier.train import Recipe, TrainingRow

SYSTEM = "You are a helpful assistant. Sort each message into one of: billing, shipping, technical, other."
LABELS = ("billing", "shipping", "technical", "other")


@pytest.fixture(autouse=True)
def one_thread():
    """Bytes depend on the number of threads, and eight people share this machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tiny_model_folder):
    from luthier.models import load_folder

    return load_folder(tiny_model_folder, name="tiny")


@pytest.fixture(scope="session")
def rows():
    return [
        TrainingRow(
            id=f"row-{i}",
            messages=(Message("system", SYSTEM), Message("user", f"message {i} about {LABELS[i % 4]}")),
            output=LABELS[i % 4],
            source=f"examples.jsonl:{i + 1}",
        )
        for i in range(20)
    ]


@pytest.fixture
def recipe():
    return Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.0, batch_size=8, evaluate_every=4)


def likelihood_of(rows):
    """A development score: mean log-likelihood of a label token of the rows' answers."""
    from luthier.train._rows import encode_rows

    def score(model):
        encoded = encode_rows(model, rows[:4], None)
        found = model.logprobs([row.ids for row in encoded], [row.start for row in encoded])
        return float(sum(part.sum() for part in found)) / sum(row.labels for row in encoded)

    return score


@pytest.fixture(scope="session")
def likelihood():
    return likelihood_of


@pytest.fixture(scope="session")
def score(rows):
    return likelihood_of(rows)
