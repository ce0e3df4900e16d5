"""Self-consistency as a rung that is asked for by name: measured, costed, saved, loaded and served with its votes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.api import Project
from luthier.decide import Bench, Climb, Setup, System, climb, decide, rules_of, variant_count
from luthier.decide._ladder import _ladder_hash
from luthier.decide._planned import planned_rungs, possible_rungs
from luthier.decide._system import Votes
from luthier.errors import SpecError
from luthier.evaluate import vote_form
from luthier.models import Request, ScriptedModel, VotingModel
from luthier.store import Store


def sometimes_right(request: Request) -> str:
    """Right greedily for a half of the cases; sampled in about two of three answers for all of them."""
    number = int(request.messages[-1].content.split()[1])
    right = "paid" if number % 2 else "due"
    if request.sample is None:
        return right if number % 4 < 2 else "no idea"
    return right if request.sample.seed % 3 else "no idea"


BASE = ScriptedModel(sometimes_right, identity="sometimes")


def bench_of(folder: Path, methods: list[str] | None = None, **changes: Any) -> Bench:
    rows = [{"prompt": f"invoice {i} of mine", "completion": "paid" if i % 2 else "due"} for i in range(160)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "answers.json").write_text('{"*": "x"}', "utf-8")
    task = {"task": "t", "goal": "Is it paid?", "examples": "examples.jsonl", "score": {"kind": "label"}, "bar": 0.7}
    task |= {"base": f"scripted:{folder}/answers.json", "split": {"train": 0.5, "development": 0.1, "test": 0.4}}
    task |= {"decide": {"methods": methods or ["prompt", "self-consistency"], "votes": 9}} | changes
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return replace(Project(folder)._bench(), base=BASE)


def test_the_vote_is_better_and_pays_for_all_its_answers(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    found = climb(bench, Climb(everything=True))
    prompt, voted = found.evidence.rungs
    means = [sum(rung.scores) / len(rung.scores) for rung in (prompt, voted)]
    assert means[0] < 0.7 and means[1] > 0.9
    assert voted.choices["chosen"].startswith("9 votes") and variant_count("self-consistency", bench) == 2
    if voted.choices["chosen"] == "9 votes":
        assert voted.cost.prompt_tokens == 9 * prompt.cost.prompt_tokens
    verdict = decide(rules_of(bench.task), found.evidence)
    assert verdict.kind == verdict.rung == "self-consistency"
    assert "fine-tuning is not warranted" in verdict.sentence


def test_what_was_measured_is_what_is_loaded(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    found = climb(bench, Climb(everything=True))
    system = found.systems["self-consistency"]
    assert system.setup.format == 2 and system.setup.votes.labels == ("due", "paid")
    system.save(tmp_path / "saved")
    again = System.load(tmp_path / "saved", lambda *_: BASE, lambda *_: pytest.fail("there is no index"))
    assert again.identity == system.identity and again.model.identity == system.model.identity
    for case, record in zip(bench.test[:10], found.records["self-consistency"], strict=False):
        [(_, answer)] = again.model.answer([again.request(case.messages)])
        assert answer.text == record.answer and answer.prompt_tokens == record.prompt_tokens
    assert Setup.from_dict(json.loads(json.dumps(system.setup.as_dict()))) == system.setup


def test_what_it_spends_is_counted_as_its_bases(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    climb(bench, Climb(everything=True))
    store: Store = bench.store
    words = [answer["prompt_tokens"] for answer in store.answers_of(BASE.identity)]
    assert max(words) >= 9 * min(words)  # the votes stand among the answers of the base
    system = VotingModel(BASE, votes=9, temperature=0.7, form=str, form_name="x")
    assert not list(store.answers_of(system.identity))


def test_it_is_no_part_of_the_default_ladder(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    decided = bench.task.decide.model_copy(update={"methods": None})
    plain = bench.task.model_copy(update={"decide": decided})
    assert "self-consistency" not in possible_rungs(plain, bench.scorer, trainable=True)
    more = bench.task.decide.model_copy(update={"votes": 11})
    other = replace(bench, task=bench.task.model_copy(update={"decide": more}))
    plan = {step.method: (step,) for step in planned_rungs(bench)}
    assert _ladder_hash(bench, plan["prompt"]) == _ladder_hash(other, plan["prompt"])
    assert _ladder_hash(bench, plan["self-consistency"]) != _ladder_hash(other, plan["self-consistency"])


def test_a_score_whose_answers_seldom_agree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        bench_of(tmp_path, score={"kind": "rouge"})
    assert "self-consistency counts answers that say the same" in str(error.value.problems)


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [
        ("label", ["paid", "Paid.", '"paid"\nfor it was'], ["due"]),
        ("number", ["so it is 1,200", "1200.0"], ["12"]),
        ("json", ['{"a": 1, "b": "X"}', '```json\n{"b":"x","a":1}\n```'], ['{"a": 1}']),
        ("exact", ["it", " it\n"], ["It"]),
        ("answer", ["The Tower!", "tower"], ["towers"]),
    ],
)
def test_answers_that_say_the_same_have_one_form(kind: str, same: list[str], other: list[str]) -> None:
    form = vote_form(kind, ("paid", "due"))
    assert len({form(text) for text in same}) == 1 and form(same[0]) not in (None, form(other[0]))
    if kind in ("label", "number", "json"):
        assert form("none of these") is None


def test_votes_are_saved_by_value() -> None:
    given = {"base": "b", "base_identity": "i", "instructions": "x", "max_tokens": 4}
    setup = Setup("self-consistency", **given, votes=Votes(5, 0.7, "number"))
    assert setup.as_dict()["votes"] == {"k": 5, "temperature": 0.7, "form": "number", "labels": []}
    assert "votes" not in Setup("prompt", **given).as_dict()
