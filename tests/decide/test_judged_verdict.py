"""The verdict on a judge's scores: refusals, replay, old evidence, and tasks with a known truth."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from luthier.decide import Evidence, JudgeEvidence, Rules, RungEvidence, State, Verdict, decide

N = 200
CASES = tuple(f"c{i}" for i in range(N))
RULES = Rules(bar=0.8, margin=0.03, alpha=0.05, volume=None)
METHODS: tuple[Any, ...] = ("prompt", "few-shot", "retrieval", "fine-tune")


def evidence(
    truth: np.ndarray, judged: np.ndarray, labelled: int, *, methods: tuple[Any, ...] = METHODS, **judge: Any
) -> Evidence:
    """Rungs whose people's scores are the rows of `truth`; people labelled the first cases."""
    rungs = tuple(
        RungEvidence(method, method, "base", f"hash of {method}", tuple(map(float, row)))
        for method, row in zip(methods, judged, strict=True)
    )
    labels = {
        method: {case: float(value) for case, value in zip(CASES[:labelled], row, strict=False)}
        for method, row in zip(methods, truth, strict=True)
    }
    about = {"served": {"arbiter-1": 800}, "kin": "", "unjudged": {}, "usd": 0.5, "labels": labels} | judge
    found = JudgeEvidence("http://x/v1#arbiter", about.pop("served"), "hash", "pass/fail", "rubric", **about)
    return Evidence(CASES, CASES, rungs, False, "judge arbiter", judge=found)


def people(rng: np.random.Generator, means: tuple[float, ...]) -> np.ndarray:
    hard = rng.normal(size=N)
    return np.array([(np.sqrt(0.5) * (hard + rng.normal(size=N)) < ndtri(m)).astype(float) for m in means])


def judged(rng: np.random.Generator, truth: np.ndarray, quality: tuple[tuple[float, float], ...]) -> np.ndarray:
    draw = rng.random(truth.shape)
    q1, q0 = (np.array([q[k] for q in quality])[:, None] for k in (0, 1))
    return np.where(truth == 1, draw < q1, draw >= q0).astype(float)


@pytest.mark.parametrize("labelled", [30, 60])
def test_a_judge_that_falls_for_the_style_of_the_fine_tune_adopts_nothing_false(labelled: int) -> None:
    """No rung is good enough, the fine-tune nearly; the judge passes 45 of 100 of its wrong answers."""
    rules = replace(RULES, bar=0.75)
    rng = np.random.default_rng(labelled)
    false, uncorrected, tries = 0, 0, 300
    for _ in range(tries):
        truth = people(rng, (0.5, 0.5, 0.5, 0.73))
        found = evidence(truth, judged(rng, truth, ((0.95, 0.95),) * 3 + ((0.98, 0.55),)), labelled)
        false += decide(rules, found).rung is not None
        uncorrected += decide(rules, replace(found, judge=None, binary=True)).rung is not None
    assert false / tries <= 0.05  # alpha; of one rung it is .0125
    assert uncorrected / tries > 0.5


def test_a_good_judge_with_labels_finds_what_is_there() -> None:
    rng = np.random.default_rng(3)
    right, tries = 0, 100
    for _ in range(tries):
        truth = people(rng, (0.4, 0.5, 0.55, 0.95))
        found = evidence(truth, judged(rng, truth, ((0.95, 0.95),) * 4), 60)
        right += decide(RULES, found).kind == "fine-tune"
    assert right / tries > 0.8


@pytest.fixture
def good() -> Evidence:
    rng = np.random.default_rng(4)
    truth = people(rng, (0.4, 0.6, 0.5, 0.97))
    return evidence(truth, judged(rng, truth, ((0.95, 0.95),) * 4), 60)


def relabelled(found: Evidence, **changes: Any) -> Evidence:
    assert found.judge is not None
    return replace(found, judge=replace(found.judge, **changes))


def fewer(found: Evidence, count: int) -> dict[str, dict[str, float]]:
    assert found.judge is not None
    return {rung: dict(list(some.items())[:count]) for rung, some in found.judge.labels.items()}


def test_it_is_replayed_and_kept_as_json(good: Evidence) -> None:
    verdict = decide(RULES, good)
    assert verdict.kind == "fine-tune"
    again = Evidence.from_dict(json.loads(json.dumps(good.as_dict())))
    assert again == good and decide(RULES, again) == verdict
    assert Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) == verdict
    old = {k: v for k, v in good.as_dict().items() if k != "judge"} | {"format": 2}
    assert Evidence.from_dict(old).judge is None


def test_figures_are_the_corrected_ones_beside_what_the_judge_says_alone(good: Evidence) -> None:
    verdict = decide(RULES, good)
    tuned = verdict.rungs[-1]
    assert tuned.judged == pytest.approx(np.mean(good.rungs[-1].scores)) and tuned.mean != tuned.judged
    assert tuned.labels == 60 and tuned.state is State.MEETS
    assert all(c.test == "PPI++ on paired differences" for c in verdict.comparisons)
    assert any(line.startswith("judge: judging cost $0.50") for line in verdict.reasons)
    assert sum("alone it says" in line for line in verdict.reasons) == 4


def test_too_few_labels_refuse_all_or_one_rung(good: Evidence) -> None:
    none = decide(RULES, relabelled(good, labels={}))
    assert none.kind == "not enough evidence" and "0 of at least 60 labels" in none.sentence
    assert none.advice[0].startswith("label 60 more") and "luthier judge --sample 120" in none.advice[0]
    assert not none.warrant.granted and all(c.test.startswith("none") for c in none.comparisons)
    few = decide(RULES, relabelled(good, labels=fewer(good, 14)))  # 56 in all
    assert "56 of at least 60 labels" in few.sentence and few.advice[0].startswith("label 4 more")
    some = fewer(good, 60) | {"fine-tune": fewer(good, 12)["fine-tune"]}
    one = decide(RULES, relabelled(good, labels=some))
    assert one.kind == "not enough evidence"
    assert [str(v.state) for v in one.rungs] == ["falls short"] * 3 + ["open"]
    assert one.rungs[-1].note == "12 of 30 labels; label 18 more: luthier judge --sample 120"


def test_a_judge_no_better_than_chance_is_refused_unless_all_is_labelled() -> None:
    rng = np.random.default_rng(5)
    truth = people(rng, (0.4, 0.6, 0.5, 0.97))
    bad = judged(rng, truth, ((0.7, 0.6),) * 4)
    verdict = decide(RULES, evidence(truth, bad, 100))
    assert verdict.kind == "not enough evidence" and "agrees too little with people: J = 0." in verdict.sentence
    assert "at least 0.5 is asked for" in verdict.sentence and "stronger judge" in verdict.advice[0]
    assert decide(RULES, evidence(truth, bad, N)).kind == "fine-tune"


def test_a_judge_that_changed_on_the_way_is_refused_and_its_family_is_said(good: Evidence) -> None:
    changed = decide(RULES, relabelled(good, served={"arbiter-1": 500, "arbiter-2": 300}))
    assert changed.kind == "not enough evidence" and "arbiter-1 (500 replies) and arbiter-2" in changed.sentence
    told = decide(RULES, relabelled(good, kin="it is of the base's family", unjudged={"it said nothing": 2}))
    assert "judge: it is of the base's family" in told.reasons
    assert any("counted as 0.5 before the correction: 2 (it said nothing)" in line for line in told.reasons)


def test_without_a_bar_rungs_are_held_against_the_best_on_corrected_differences(good: Evidence) -> None:
    verdict = decide(replace(RULES, bar=None), good)
    assert verdict.kind == "fine-tune" and verdict.rungs[0].state is State.FALLS_SHORT
    assert "worse than fine-tune by more than 0.03" in verdict.rungs[0].note


def test_an_open_rung_says_how_many_labels_it_needs() -> None:
    rng = np.random.default_rng(9)
    truth = people(rng, (0.86, 0.5))
    methods = ("prompt", "few-shot")
    verdict = decide(RULES, evidence(truth, judged(rng, truth, ((0.9, 0.85),) * 2), 40, methods=methods))
    assert verdict.rungs[0].state is State.OPEN
    assert "more labels would settle it" in verdict.rungs[0].note or "add test cases" in verdict.rungs[0].note
