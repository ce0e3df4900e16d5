"""The tables of `luthier plan`, and what it ends with."""

from dataclasses import replace

from click.testing import CliRunner

from luthier.api._planning import Plan, PlanStep, TrainingPlan, _underneath
from luthier.cli.plan import command

FITS = TrainingPlan(
    method="lora",
    chosen=True,
    tokens=1000,
    scored=48,
    memory={"runtime": 500_000_000, "weights": 300_000_000, "optimizer": 60_000_000},
    phase="steps",
    limit=1_000_000_000,
    seconds={"loading": 2.0, "steps": 58.0},
    disk=250_000_000,
    free_disk=10**10,
    usd=None,
    changes=(),
)
TOO_LARGE = replace(
    FITS,
    method="full",
    chosen=False,
    memory={"runtime": 500_000_000, "weights": 1_100_000_000},
    seconds=None,
    changes=(("train: {method: lora}", 860_000_000), ("train: {micro_batch_tokens: 256}", 1_400_000_000)),
)


def run(monkeypatch, training, *options):
    plan = Plan("tiny", (PlanStep("measure prompt", "96 answers", 30.0, None),), training, ("a note",))
    project = type("Project", (), {"plan": lambda self: plan})
    monkeypatch.setattr("luthier.cli.plan.open_project", lambda *_: project())
    return CliRunner().invoke(command, options)


def test_the_table_has_a_line_for_each_way_to_train(monkeypatch):
    done = run(monkeypatch, (FITS, TOO_LARGE))
    assert done.exit_code == 0  # the task's own way fits
    lines = done.output.splitlines()
    [lora] = [line for line in lines if "lora" in line and "yes" in line]
    assert "0.86" in lora and "1.0" in lora and "no price" in lora
    assert any("train: {method: lora}" in line and "0.86 GB, fits" in line for line in lines)
    assert any("micro_batch_tokens: 256" in line and "not enough by itself" in line for line in lines)
    assert "at most 2 minutes" in done.output


def test_it_fails_where_the_chosen_way_does_not_fit(monkeypatch):
    done = run(monkeypatch, (replace(TOO_LARGE, chosen=True), replace(FITS, chosen=False)))
    assert done.exit_code == 1
    assert run(monkeypatch, (replace(FITS, free_disk=10),)).exit_code == 1
    assert run(monkeypatch, ()).exit_code == 0


def test_json_says_the_same(monkeypatch):
    import json

    done = run(monkeypatch, (replace(TOO_LARGE, chosen=True),), "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert not found["fits"] and found["seconds"] is None
    assert found["training"][0]["peak"] == 1_600_000_000


def test_what_a_rung_stands_on_is_planned_where_it_is_no_rung_itself():
    assert _underneath(["prompt", "few-shot", "retrieval"]) == []
    assert _underneath(["few-shot nearest", "few-shot"]) == ["prompt"]
    assert _underneath(["fine-tune + retrieval"]) == ["prompt", "retrieval"]
    assert _underneath(["constrained", "fine-tune"]) == []
