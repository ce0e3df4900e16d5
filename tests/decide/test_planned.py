"""Which rungs are planned on which bases, in what order; and with which prompt a fine-tuned rung is trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.api import Project
from luthier.api._decisions import base_to_tune, keep_decision, last_decision
from luthier.decide import Climb, Evidence, Planned, Rules, RungEvidence, decide, planned_rungs
from luthier.decide._ladder import _Ascent
from luthier.decide._planned import base_labels
from luthier.decide._tuning import _untrained, training_rows
from luthier.errors import ScorerError, SpecError
from luthier.models import Budget, Price, ScriptedModel
from luthier.models._base import Answer
from luthier.models._base import Request as Asked


def bench_of(folder: Path, **changes):
    rows = [{"prompt": f"question {i}", "completion": "yes" if i % 2 else "no"} for i in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "answers.json").write_text('{"*": "yes"}', "utf-8")
    models = {
        name: {"input": usd, "cached": usd, "output": usd} for name, usd in (("cheap", 1), ("dear", 9), ("mid", 3))
    }
    sheet = {"date": "2026-01-31", "source": "test", "models": models}
    (folder / "prices.yaml").write_text(json.dumps(sheet), "utf-8")
    task = {"task": "t", "goal": "Say yes or no.", "examples": "rows.jsonl", "score": {"kind": "label"}}
    task |= {"base": f"scripted:{folder}/answers.json", "prices": "prices.yaml", "instructions": "Long. Instructions."}
    (folder / "luthier.yaml").write_text(json.dumps(task | changes), "utf-8")
    return Project(folder)._bench()


def scripted(name: str) -> ScriptedModel:
    return ScriptedModel({"*": "yes"}, name=name)


def test_a_base_with_all_its_rungs_stands_before_a_dearer_one(tmp_path):
    bench = bench_of(tmp_path, decide={"methods": ["prompt", "few-shot"]})
    bases = replace(bench, base=scripted("unpriced"), others=(scripted("dear"), scripted("cheap"), scripted("mid")))
    order = ["cheap", "mid", "dear", "unpriced"]
    assert [s.rung for s in planned_rungs(bases)] == [f"{m} on {b}" for b in order for m in ("prompt", "few-shot")]
    assert [s.rung for s in planned_rungs(replace(bases, others=()))] == ["prompt", "few-shot"]


def test_labels_are_short_and_differ():
    names = ["http://h/v1#big", "org/small", "/models/small", "smollm2-135m"]
    assert base_labels(names) == {
        "http://h/v1#big": "big",
        "org/small": "org/small",
        "/models/small": "/models/small",
        "smollm2-135m": "smollm2-135m",
    }


def test_bases_in_the_folder_are_found_there_and_told_apart(tmp_path):
    for name in ("m1", "m2"):
        (tmp_path / name).mkdir()
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', "utf-8")
    task = {"task": "t", "goal": "g", "examples": "rows.jsonl", "score": {"kind": "exact"}, "base": "./m1"}
    (tmp_path / "luthier.yaml").write_text(json.dumps(task | {"other_bases": ["m2"]}), "utf-8")
    assert Project(tmp_path).task.other_bases == (str(tmp_path / "m2"),)
    (tmp_path / "luthier.yaml").write_text(json.dumps(task | {"other_bases": ["m1"]}), "utf-8")
    with pytest.raises(SpecError, match="is named twice"):
        Project(tmp_path)


def test_tuning_takes_the_base_that_was_spoken_of_only_while_the_task_names_it(tmp_path):
    bench = bench_of(tmp_path, decide={"methods": ["prompt"]}, bar=0.9)
    task = bench.task.model_copy(update={"base": "https://h/v1#big", "other_bases": ("/here/small",)})
    assert base_to_tune(task, bench.store) == "/here/small"  # nothing was decided: the first that has weights
    project = Project(tmp_path)
    project.decide()
    decision = last_decision(project.store)
    spoken = replace(decision.verdict.warrant, rung=decision.evidence.rungs[0].rung)
    keep_decision(replace(decision, verdict=replace(decision.verdict, warrant=spoken)), project.store)
    assert base_to_tune(project.task, project.store) == project.task.base
    assert base_to_tune(task, project.store) == "/here/small"


def test_a_base_is_named_once(tmp_path):
    with pytest.raises(SpecError, match="is named twice"):
        bench_of(tmp_path, other_bases=["x", "x"])


def test_bases_share_one_budget():
    price = Price(input=1.0, cached=1.0, output=1.0, date="2026-01-31", source="test")
    first = Budget(0.001, price, spent=0.0004)
    second = first.shared(price, spent=0.0003)
    assert first.spent == second.spent == pytest.approx(0.0007)
    request = Asked((), 50)
    aside = second.set_aside(request)
    assert aside is not None
    assert first.set_aside(Asked((), 60)) is None  # what the other one has promised is not there
    second.settle(aside, Answer("x", 100, 50, 0.0, "stop"))
    assert first.spent == pytest.approx(0.0007 + 150e-6)


@pytest.mark.parametrize(("prompt", "said"), [("goal", "Say yes or no."), ("instructions", "Long. Instructions.")])
def test_a_fine_tune_is_trained_with_the_prompt_that_the_task_says(prompt, said, tmp_path):
    bench = bench_of(tmp_path, train={"prompt": prompt})
    system = _untrained(bench, None)
    assert {row.messages[0].content for row in training_rows(bench, system)} == {said}
    assert system.request(bench.test[0].messages).messages[0].content == said  # and served with it


def test_without_training_a_rung_that_is_not_needed_is_told_from_one_that_was_not_allowed(tmp_path):
    bench = bench_of(tmp_path, bar=0.3, decide={"methods": ["prompt", "fine-tune"], "development_cases": 8})
    for settled, everything, said in [
        (False, False, "training was not allowed (--no-train)"),
        (True, True, "training was not allowed (--no-train)"),
        (True, False, "a cheaper rung meets the bar"),
    ]:
        ascent = _Ascent(bench, Climb(everything=everything, train=False), 2)
        ascent._settled = RungEvidence("prompt", "prompt", "b", "s", (1.0,)) if settled else None
        assert ascent._why_not(Planned("fine-tune", "fine-tune", bench)) == said


def test_further_trainings_that_did_not_take_place_are_said():
    rung = RungEvidence("fine-tune", "fine-tune", "b", "s", (1.0,) * 40, repeats_stopped="the budget is used up")
    cases = tuple(map(str, range(40)))
    shown = Evidence(cases, cases, (rung,), True, "exact")
    reasons = decide(Rules(0.5, 0.03, 0.05, None), Evidence.from_dict(shown.as_dict())).reasons
    assert "not run: further trainings of fine-tune (the budget is used up)" in reasons


def test_methods_of_which_none_is_possible_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"nothing is left to try: decide\.methods names only fine-tune") as told:
        planned_rungs(bench_of(tmp_path, decide={"methods": ["fine-tune"]}))
    assert "retrieval needs documents" in told.value.why
    with pytest.raises(SpecError, match="nothing is left to try"):
        Project(tmp_path).power()


def test_the_row_whose_wanted_output_breaks_the_scorer_is_named(tmp_path):
    (tmp_path / "score.py").write_bytes("# café\ndef score(answer, wanted):\n    return 1 / 0\n".encode())
    with pytest.raises(ScorerError, match=r"the wanted output of rows.jsonl:\d+: the scorer .* ZeroDivisionError"):
        bench_of(tmp_path, score={"kind": "python", "file": "score.py"})


def test_a_scorer_s_file_may_be_in_another_encoding(tmp_path):
    text = "# -*- coding: latin-1 -*-\ndef score(answer, wanted):\n    return 1.0  # caf\xe9\n"
    (tmp_path / "score.py").write_bytes(text.encode("latin-1"))
    one = bench_of(tmp_path, score={"kind": "python", "file": "score.py"}).score_hash
    (tmp_path / "score.py").write_bytes(text.replace("1.0", "0.5").encode("latin-1"))
    assert bench_of(tmp_path, score={"kind": "python", "file": "score.py"}).score_hash != one


def test_a_bar_that_is_changed_after_looking_is_said_by_every_later_decision(tmp_path):
    said = []
    for bar in (0.9, 0.9, 0.3, 0.2):
        bench_of(tmp_path, bar=bar, decide={"methods": ["prompt"], "development_cases": 4})
        verdict = Project(tmp_path).decide()
        said.append([line for line in verdict.reasons if "after looking" in line])
    assert said[:2] == [[], []]
    assert "answered for a bar of 0.90 before, and now a bar of 0.30" in said[2][0]
    assert "answered for a bar of 0.90 and a bar of 0.30 before, and now a bar of 0.20" in said[3][0]
    assert Project(tmp_path).replay() == verdict
