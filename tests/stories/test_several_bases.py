"""Prompt the large one or tune the small one: several bases on the same cases, in one decision."""

import json
import random
import shutil
from pathlib import Path

import pytest

from luthier.api import Project
from luthier.decide import State

WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch orbit plume quarry".split()


def write_task(folder: Path, model: Path, *, usd: float, volume: int | None = 1_000_000, **train) -> Path:
    """A small base that only training teaches, and a large one that is asked at `usd` a million tokens."""
    folder.mkdir(parents=True)
    rng = random.Random(7)
    rows = [
        {"prompt": " ".join(rng.sample(WORDS, 7)), "completion": "billing" if i % 2 else "shipping, please"}
        for i in range(160)
    ]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    shutil.copytree(model, folder / "small")
    (folder / "large.json").write_text('{"*": "billing"}', "utf-8")
    large = f"scripted:{folder / 'large.json'}"
    price = {"input": usd, "cached": usd, "output": usd}
    (folder / "prices.yaml").write_text(
        json.dumps({"date": "2026-01-31", "source": "test", "models": {large: price}}), "utf-8"
    )
    (folder / "score.py").write_text(
        "def score(answer, wanted):\n    return float(answer in ('billing', 'shipping, please'))\n", "utf-8"
    )
    task = {
        "task": "tiny",
        "goal": "Answer.",
        "examples": "examples.jsonl",
        "score": {"kind": "python", "file": "score.py"},
        "bar": 0.7,
        "base": str(folder / "small"),
        "other_bases": [large],
        "prices": "prices.yaml",
        "volume": volume,
        "split": {"test_cases": 48, "seed": 1},
        "decide": {"methods": ["prompt", "few-shot", "fine-tune"], "development_cases": 8},
        "train": {"method": "full", "learning_rate": 0.004, "epochs": 8} | train,
    }
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return folder


def decided(folder: Path):
    project = Project(folder, allow_outside=True)
    verdict = project.decide()
    return project, verdict, project.decision()


ORDER = ["prompt on small", "few-shot on small", "prompt on large.json", "few-shot on large.json", "fine-tune on small"]


def test_prompting_the_large_one_is_enough_where_tuning_the_small_one_saves_nothing(tiny_model_folder, tmp_path):
    project, verdict, decision = decided(write_task(tmp_path / "task", tiny_model_folder, usd=0.01))
    assert [rung.rung for rung in decision.evidence.rungs] == ORDER
    assert (verdict.kind, verdict.rung) == ("prompt", "prompt on large.json")
    assert [rung.state for rung in verdict.rungs][:3] == [State.FALLS_SHORT, State.FALLS_SHORT, State.MEETS]
    assert decision.evidence.rungs[-1].skipped == "a cheaper rung meets the bar"
    assert decision.evidence.failures is not None and decision.evidence.failures.rung == "prompt on large.json"
    gate = project.validate(quick=True)
    assert gate.passed and gate.rung == "prompt on large.json"
    release = project.promote()
    assert release.lock["base"]["name"].endswith("large.json")
    assert not project.verify()


@pytest.fixture(scope="module")
def dear(tiny_model_folder, tmp_path_factory):
    """Decided where a million requests a month of the large one cost far more than tuning the small one."""
    return decided(write_task(tmp_path_factory.mktemp("dear") / "task", tiny_model_folder, usd=500.0, seeds=2))


def test_the_small_one_is_tuned_where_the_large_one_would_cost_more(dear):
    project, verdict, _ = dear
    assert (verdict.kind, verdict.rung) == ("fine-tune", "fine-tune on small")
    assert verdict.warrant.granted and verdict.warrant.rung == "fine-tune on small"
    assert "prompt on large.json, which meets it too, would cost more to own" in verdict.warrant.reason
    assert any(line.startswith("cost: prompt on large.json meets 0.70 as well, at $") for line in verdict.reasons)
    assert project.replay() == verdict
    assert "fine-tune on small" in {rung.rung for rung in project.state().decision.evidence.rungs}


def test_training_again_with_another_seed_is_measured_and_said(dear):
    _, verdict, decision = dear
    tuned = decision.evidence.rungs[-1]
    [again] = tuned.repeats
    assert again.seed == 1 and again.system != tuned.system and again.answered == len(tuned.scores)
    assert any(line.startswith("fine-tune on small trained 2 times scores ") for line in verdict.reasons)


def test_without_a_volume_nothing_is_known_to_be_dearer(tiny_model_folder, tmp_path):
    _, verdict, _ = decided(write_task(tmp_path / "task", tiny_model_folder, usd=500.0, volume=None))
    assert verdict.rung == "prompt on large.json"


def test_power_and_plan_know_every_base(tiny_model_folder, tmp_path):
    project = Project(write_task(tmp_path / "task", tiny_model_folder, usd=1.0), allow_outside=True)
    assert sorted(project.power().rungs) == sorted(ORDER)
    names = [step.name for step in project.plan().steps]
    assert [f"measure {rung}" for rung in ORDER if rung != ORDER[-1]] == [
        name for name in names if name.startswith("measure") and name != f"measure {ORDER[-1]}"
    ]
    assert names.count("diagnose failures") == 1
