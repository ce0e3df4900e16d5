"""The verdict: every kind, the warrant, what is named beside it, and that it can be replayed."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.decide import Cost, Evidence, Rules, RungEvidence, State, Verdict, decide
from luthier.decide._evidence import NOT_NEEDED
from luthier.errors import EvidenceError
from luthier.spec import LatencySettings, MethodName

N = 150
RULES = Rules(bar=0.65, margin=0.03, alpha=0.05, volume=100_000)
NO_BAR = Rules(bar=None, margin=0.05, alpha=0.05, volume=None)


def cost(per_1000: float, once: float = 0.0) -> Cost:
    return Cost(per_1000, per_1000 * 100, once, 100, 10, 0.5, 1.0, "test")


def rung(method: MethodName, right: int, n: int = N, *, name: str = "", seed: int = 0, **kw: Any) -> RungEvidence:
    """`right` of the first `n` cases right; with the same seed, more right include the cases of fewer right."""
    order = list(range(n))
    random.Random(f"{seed} {n}").shuffle(order)
    scores = [0.0] * n
    for i in order[:right]:
        scores[i] = 1.0
    return RungEvidence(name or method, method, "base", f"hash of {method}", tuple(scores), **kw)


def missing(method: MethodName, why: str = "") -> RungEvidence:
    return RungEvidence(method, method, "base", "", (), skipped=why)


def evidence(*rungs: RungEvidence, **kw: Any) -> Evidence:
    cases = tuple(f"c{i}" for i in range(N))
    return Evidence(cases, kw.pop("groups", cases), rungs, kw.pop("binary", True), "exact", **kw)


def states(verdict: Verdict) -> list[str]:
    return [r.state.value for r in verdict.rungs]


def test_the_cheapest_rung_that_meets_the_bar_is_recommended() -> None:
    near = rung("few-shot nearest", 120, name="few-shot nearest (k=4)")
    found = decide(RULES, evidence(rung("prompt", 2, 24), rung("few-shot", 60), near, missing("fine-tune", NOT_NEEDED)))
    assert (found.kind, found.rung) == ("few-shot", "few-shot nearest (k=4)")
    assert states(found) == ["falls short", "falls short", "meets", "not run"]
    assert found.sentence == (
        "few-shot nearest (k=4) meets 0.65: 0.80 [0.73, 0.86] on 150 cases; fine-tuning is not warranted."
    )
    assert not found.warrant.granted and found.bar == 0.65 and found.alpha_each == pytest.approx(0.05 / 4)
    assert found.answers_saved == (150 - 24) + 150
    assert found.rungs[0].settled_early and not found.rungs[1].settled_early


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("prompt", "prompt"),
        ("constrained", "constrain"),
        ("few-shot", "few-shot"),
        ("few-shot nearest", "few-shot"),
        ("retrieval", "retrieve"),
    ],
)
def test_the_kind_says_what_to_do(method: MethodName, kind: str) -> None:
    found = decide(RULES, evidence(rung(method, 140)))
    assert found.kind == kind and found.rung == method


def test_a_cheaper_open_rung_is_named_beside_it_with_the_cases_that_would_settle_it() -> None:
    found = decide(RULES, evidence(rung("prompt", 108), rung("few-shot", 130)))
    assert found.rung == "few-shot" and states(found)[0] == "open"
    more = found.rungs[0].more_cases
    assert more is not None and more > 0
    assert found.sentence.endswith("; prompt, cheaper, is still open.")
    assert any("not shown: prompt" in r and f"about {more:,} more cases" in r for r in found.reasons)
    assert any(
        a == f"to find out whether prompt is enough: add about {more:,} more test cases, then luthier decide"
        for a in found.advice
    )
    assert any(f.startswith("cases: prompt is open") for f in found.flips)


def test_a_fine_tune_is_warranted_when_every_cheaper_rung_falls_short() -> None:
    tuned = evidence(rung("prompt", 4, 24), rung("few-shot", 50), rung("fine-tune", 130))
    found = decide(RULES, tuned)
    assert (found.kind, found.rung, found.warrant.granted) == ("fine-tune", "fine-tune", True)
    assert "every cheaper rung falls short of 0.65" in found.sentence
    both = decide(RULES, evidence(rung("prompt", 4, 24), rung("fine-tune", 60), rung("fine-tune + retrieval", 130)))
    assert both.kind == "fine-tune + retrieve"


def test_before_it_is_trained_the_same_evidence_gives_the_warrant_but_no_verdict() -> None:
    found = decide(RULES, evidence(rung("prompt", 4, 24), rung("few-shot", 50), missing("fine-tune")))
    assert found.kind == "not enough evidence" and found.rung is None and found.warrant.granted
    assert "luthier tune" in found.advice[0]
    assert "every cheaper rung falls short of 0.65, so fine-tuning is warranted" in found.sentence


def test_no_warrant_without_evidence_against_every_cheaper_rung() -> None:
    for other, why in ((rung("few-shot", 98), "few-shot falls"), (missing("few-shot", "skipped"), "few-shot falls")):
        found = decide(RULES, evidence(rung("prompt", 4, 24), other, missing("fine-tune")))
        assert found.kind == "not enough evidence" and not found.warrant.granted
        assert why in found.warrant.reason
    alone = decide(RULES, evidence(rung("fine-tune", 140)))
    assert not alone.warrant.granted and alone.kind == "not enough evidence"
    assert "no cheaper rung is planned" in alone.warrant.reason


def test_an_open_cheaper_rung_must_be_beaten_by_a_margin_worth_the_cost() -> None:
    few = rung("few-shot", 104)
    clear = decide(RULES, evidence(rung("prompt", 4, 24), few, rung("fine-tune", 148)))
    assert clear.kind == "fine-tune" and "beats few-shot by at least 0.2" in clear.warrant.reason
    # few-shot open, fine-tune 11 cases better: 0.073 paired, lower bound between 0 and the margin
    close = evidence(rung("prompt", 4, 24), few, rung("fine-tune", 115))
    found = decide(RULES, close)
    assert found.kind == "not enough evidence" and not found.warrant.granted
    assert found.sentence.startswith("Not enough evidence: fine-tune meets 0.65 (0.77")
    cheap = replace(
        close, rungs=(close.rungs[0], replace(few, cost=cost(2.0)), replace(close.rungs[2], cost=cost(1.0, 60.0)))
    )
    assert (
        decide(RULES, cheap).kind == "fine-tune"
    )  # it costs less a month, training spread over a year: any gain will do
    dear = replace(cheap, rungs=(*cheap.rungs[:2], replace(close.rungs[2], cost=cost(1.0, 60_000.0))))
    assert decide(RULES, dear).kind == "not enough evidence"


def test_a_cheaper_rung_that_meets_the_bar_leaves_no_warrant_however_good_the_fine_tune() -> None:
    found = decide(RULES, evidence(rung("prompt", 4, 24), rung("few-shot", 120), rung("fine-tune", 150)))
    assert found.kind == "few-shot" and not found.warrant.granted


def test_no_rung_meets_the_bar() -> None:
    found = decide(RULES, evidence(rung("prompt", 4, 24), rung("few-shot", 50), rung("fine-tune", 70)))
    assert (found.kind, found.rung) == ("no rung meets the bar", None)
    assert found.sentence == "No rung meets 0.65: the best, fine-tune, reaches 0.47 [0.39, 0.55] on 150 cases."
    assert any("fine-tune differs from few-shot by +0.13 [" in r for r in found.reasons)
    hosted = decide(RULES, evidence(rung("prompt", 4, 24), rung("few-shot", 50)))
    assert hosted.kind == "no rung meets the bar" and "no fine-tuned rung is planned" in hosted.warrant.reason


def test_an_open_fine_tune_after_hopeless_cheaper_rungs_keeps_its_warrant() -> None:
    found = decide(RULES, evidence(rung("prompt", 4, 24), rung("few-shot", 50), rung("fine-tune", 104)))
    assert found.kind == "not enough evidence" and found.warrant.granted and states(found)[-1] == "open"
    assert "fine-tune is open at 0.69" in found.sentence


def test_blocking_findings_come_first() -> None:
    found = decide(RULES, evidence(rung("prompt", 140), findings=("conflict", "leak")))
    assert found.kind == "fix the data" and found.rung is None and not found.warrant.granted
    assert "conflict and leak" in found.sentence and "luthier check --fix" in found.advice[1]
    assert states(found) == ["meets"]


def test_plain_fine_tuning_is_not_recommended_where_knowledge_is_missing() -> None:
    """Retrieval beats closed-book; the plain fine-tune meets the bar and does not beat retrieval."""
    rules = replace(RULES, bar=0.75)
    base = (rung("prompt", 4, 24), rung("few-shot", 50), rung("retrieval", 118), rung("fine-tune", 128, seed=1))
    found = decide(rules, evidence(*base, knowledge={"kind": "knowledge", "novel_rows": 0.4}))
    assert states(found)[2:] == ["open", "meets"]
    assert found.kind == "not enough evidence" and found.rung is None
    assert "knowledge" in found.warrant.reason
    assert any("what is missing is knowledge, for retrieval beats few-shot by +" in r for r in found.reasons)
    both = decide(rules, evidence(*base, rung("fine-tune + retrieval", 148)))
    assert both.kind == "fine-tune + retrieve"
    better = decide(rules, evidence(*base[:3], rung("fine-tune", 148)))
    assert better.kind == "fine-tune"  # shown to beat retrieval: then it may


def test_a_diagnosis_of_missing_knowledge_without_documents_is_said_as_a_guess() -> None:
    known = {"kind": "knowledge", "novel_rows": 0.42}
    found = decide(RULES, evidence(rung("prompt", 4, 24), missing("fine-tune"), knowledge=known))
    assert any(r.startswith("best guess, not shown: knowledge is missing") and "42%" in r for r in found.reasons)
    assert any("documents: in luthier.yaml" in a for a in found.advice)


def test_the_fourth_opening_of_the_test_cases_is_exploratory() -> None:
    assert not decide(RULES, evidence(rung("prompt", 140), openings=3)).exploratory
    found = decide(RULES, evidence(rung("prompt", 140), openings=4))
    assert found.exploratory and any("opened 4 times" in r for r in found.reasons) and found.kind == "prompt"


def test_without_a_bar_the_cheapest_that_is_as_good_as_the_best_is_recommended() -> None:
    found = decide(NO_BAR, evidence(rung("prompt", 40), rung("few-shot", 121), rung("few-shot nearest", 122)))
    assert (found.kind, found.rung, found.bar) == ("few-shot", "few-shot", None)
    assert states(found) == ["falls short", "meets", "meets"]
    assert "is not worse than few-shot nearest by more than 0.05" in found.sentence


def test_without_a_bar_nothing_costlier_than_the_prompt_is_recommended_unless_it_beats_it() -> None:
    found = decide(NO_BAR, evidence(rung("prompt", 115), rung("few-shot", 121, seed=1)))
    assert found.kind == "not enough evidence" and states(found) == ["open", "meets"]
    assert any("bar: in luthier.yaml" in a for a in found.advice)


def test_without_a_bar_a_fine_tune_must_beat_every_cheaper_rung_by_the_margin() -> None:
    rungs = (rung("prompt", 40), rung("few-shot", 90))
    assert decide(NO_BAR, evidence(*rungs, rung("fine-tune", 130))).kind == "fine-tune"
    close = decide(NO_BAR, evidence(*rungs, rung("fine-tune", 98)))
    assert close.kind != "fine-tune" and not close.warrant.granted
    untrained = decide(NO_BAR, evidence(*rungs, missing("fine-tune")))
    assert untrained.kind == "few-shot" and not untrained.warrant.granted


def test_without_a_bar_a_rung_that_was_interrupted_is_open() -> None:
    found = decide(NO_BAR, evidence(rung("prompt", 40), rung("few-shot", 30, 40)))
    assert found.rungs[1].state is State.OPEN and found.rungs[1].more_cases == 110


def test_groups_of_cases_count_as_sources() -> None:
    groups = tuple(str(i % 6) for i in range(N))
    found = decide(RULES, evidence(rung("prompt", 150), groups=groups))
    assert found.kind == "not enough evidence" and "8 independent sources" in found.sentence
    many = tuple(str(i // 2) for i in range(N))
    assert decide(RULES, evidence(rung("prompt", 150), groups=many)).kind == "prompt"


def test_graded_scores() -> None:
    rng = random.Random(1)
    low = RungEvidence("prompt", "prompt", "b", "s", tuple(rng.betavariate(2, 4) for _ in range(N)))
    high = RungEvidence("fine-tune", "fine-tune", "b", "s", tuple(min(1, s + 0.5) for s in low.scores))
    found = decide(RULES, evidence(low, high, binary=False))
    assert found.kind == "fine-tune" and found.comparisons[0].test in ("paired t", "betting, stopped early")


def test_comparisons_hold_neighbours_the_best_cheaper_rung_and_the_winner() -> None:
    found = decide(
        RULES, evidence(rung("prompt", 40), rung("few-shot", 60), rung("retrieval", 30), rung("fine-tune", 140))
    )
    pairs = [(c.a, c.b) for c in found.comparisons]
    assert pairs == [
        ("few-shot", "prompt"),
        ("retrieval", "few-shot"),
        ("fine-tune", "retrieval"),
        ("fine-tune", "few-shot"),
        ("fine-tune", "prompt"),
    ]
    assert all(c.low <= c.difference <= c.high and c.n == N for c in found.comparisons)


def test_what_another_bar_and_volume_would_change_is_said() -> None:
    few, tuned = rung("few-shot", 120, cost=cost(3.0)), rung("fine-tune", 148, cost=cost(1.0, 1200.0))
    found = decide(RULES, evidence(rung("prompt", 60), few, tuned))
    assert found.kind == "few-shot"
    assert any(f.startswith("bar: few-shot would meet any bar up to 0.7") for f in found.flips)
    assert any(f.startswith("bar: prompt would meet a bar of 0.") for f in found.flips)
    # training 1200 dollars, three times in 12 months, with 150 answers and 4 hours each at 70 dollars at the re-tunes;
    # the prompt 2 hours and 150 answers twice; 2 dollars saved per 1000
    more = 1200 + 2 * (1200 + 0.15 + 280) - 2 * (140 + 0.45)
    volume = f"{more / (12 * 0.002):,.0f}"
    assert f"volume: above {volume} requests a month fine-tune would cost less over 12 months" in found.flips
    assert found.costs is not None and found.costs.summary[0].startswith(
        "over 12 months at 100,000 requests a month few-shot costs $3,881, fine-tune $5,360; few-shot costs less in "
    )


def test_a_bar_that_is_set_after_looking_is_said() -> None:
    seen = replace(evidence(rung("prompt", 140), rung("few-shot", 60)), bars=(0.9, 0.8))
    kept = decide(replace(RULES, bar=0.8), replace(seen, bars=(0.8,)))
    assert not any("after looking" in line for line in kept.reasons)
    lowered = decide(replace(RULES, bar=0.8), seen)
    assert any("answered for a bar of 0.90 before, and now a bar of 0.80" in line for line in lowered.reasons)
    assert any("after looking" in line for line in decide(replace(RULES, bar=None), seen).reasons)
    assert Evidence.from_dict(json.loads(json.dumps(seen.as_dict()))) == seen


def test_answers_without_a_text_are_counted() -> None:
    silent = replace(rung("prompt", 10), silent={"withheld by the provider's filter": 30, "empty": 2})
    lines = decide(RULES, evidence(silent)).reasons
    assert any(
        "32 of 150 answers hold no text: 30 withheld by the provider's filter, 2 empty" in line for line in lines
    )


@pytest.mark.parametrize("bar", [0.65, None])
def test_a_verdict_is_replayed_from_saved_evidence(bar: float | None) -> None:
    original = evidence(
        rung("prompt", 4, 24, cost=cost(1.0), choices={"chosen": "a", "development": [{"score": 0.5}]}),
        rung("few-shot", 60),
        missing("retrieval", "no documents"),
        rung("fine-tune", 130, cost=cost(0.5, 3.0)),
        knowledge={"kind": "behaviour", "novel_rows": 0.01},
        openings=2,
    )
    rules = replace(RULES, bar=bar)
    again = Evidence.from_dict(json.loads(json.dumps(original.as_dict())))
    assert decide(rules, again) == decide(rules, original)
    text = json.dumps(decide(rules, original).as_dict())
    assert json.loads(text)["rungs"][0]["state"] in ("falls short", "open")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Evidence((), (), (rung("prompt", 1, 1),), True, "x"), "no test cases"),
        (Evidence(("a",), ("a",), (), True, "x"), "no rungs"),
        (Evidence(("a",), ("a", "b"), (rung("prompt", 1, 1),), True, "x"), "2 groups for 1 cases"),
        (Evidence(("a",), ("a",), (rung("prompt", 1, 2),), True, "x"), "more scores than there are cases"),
        (Evidence(("a",), ("a",), (replace(rung("prompt", 1, 1), scores=(5.0,)),), True, "x"), "outside"),
        (Evidence(("a",), ("a",), (replace(rung("prompt", 1, 1), scores=(math.nan,)),), True, "x"), "outside"),
        (Evidence(("a",), ("a",), (rung("prompt", 1, 1), rung("prompt", 0, 1)), True, "x"), "the same name"),
    ],
)
def test_evidence_that_is_not_consistent_is_refused(broken: Evidence, message: str) -> None:
    with pytest.raises(EvidenceError, match=message) as caught:
        decide(RULES, broken)
    assert caught.value.fix


def test_one_case_is_not_evidence() -> None:
    found = decide(RULES, Evidence(("a",), ("a",), (rung("prompt", 1, 1), missing("fine-tune")), True, "x"))
    assert found.kind == "not enough evidence" and not found.warrant.granted


METHODS: list[MethodName] = ["prompt", "constrained", "few-shot", "retrieval", "fine-tune", "fine-tune + retrieval"]


@st.composite
def any_evidence(draw: st.DrawFn) -> Evidence:
    """Any ladder on up to 60 cases: rungs not run, stopped anywhere, graded or not, in groups or not."""
    n, binary = draw(st.integers(1, 60)), draw(st.booleans())
    rng = random.Random(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([1, 1, 2, 5]))
    rungs = []
    for method in METHODS[: draw(st.integers(1, 6))]:
        mean, answered = rng.choice([0.05, 0.5, 0.8, 0.99]), rng.choice([0, n // 2, n, n])
        scores = [
            float(rng.random() < mean) if binary else rng.betavariate(3 * mean, 3 - 3 * mean) for _ in range(answered)
        ]
        paid = rng.choice([None, cost(rng.random(), rng.random())])
        rungs.append(RungEvidence(method, method, "b", "s", tuple(scores), cost=paid))
    known = rng.choice([None, {"kind": "knowledge"}, {"kind": "mixed", "novel_rows": 0.2}])
    groups = tuple(str(i // size) for i in range(n))
    return Evidence(tuple(map(str, range(n))), groups, tuple(rungs), binary, "s", rng.randint(1, 5), (), known)


@settings(max_examples=20, deadline=None)
@given(any_evidence(), st.sampled_from([None, 0.3, 0.75, 1.0]))
def test_any_evidence_has_a_verdict_that_agrees_with_itself(shown: Evidence, bar: float | None) -> None:
    found = decide(replace(RULES, bar=bar), shown)
    by_name = {r.rung: r for r in shown.rungs}
    recommended = found.kind not in ("fix the data", "no rung meets the bar", "not enough evidence")
    assert (found.rung is not None) == recommended
    assert found == decide(replace(RULES, bar=bar), Evidence.from_dict(json.loads(json.dumps(shown.as_dict()))))
    state = {v.rung: v.state for v in found.rungs}
    if found.rung is not None:
        assert state[found.rung] is State.MEETS
        assert found.warrant.granted == by_name[found.rung].trained
    if found.kind == "no rung meets the bar":
        assert set(state.values()) == {State.FALLS_SHORT}
    assert (
        found.reasons
        and found.sentence.endswith(".")
        and "None" not in " ".join((found.sentence, *found.reasons, *found.advice, *found.flips))
    )
    assert 0 <= found.answers_saved <= len(shown.cases) * len(shown.rungs)
    if bar == 1.0:
        assert State.MEETS not in state.values()


def test_limits_of_latency_set_later_give_words_and_not_an_error() -> None:
    """Evidence that was measured without them says nothing about time; what falls short stays so."""
    limited = replace(RULES, latency=LatencySettings(p95_seconds=2.0))
    assert decide(limited, evidence(rung("prompt", 20), rung("few-shot", 30))).kind == "no rung meets the bar"
    still_open = evidence(rung("prompt", 20), rung("few-shot", round(0.66 * N)))
    assert states(decide(limited, still_open)) == ["falls short", "open"]
    found = decide(limited, still_open)
    assert found.kind == "not enough evidence" and "few-shot is open, but how long an answer takes" in found.sentence


def test_only_rungs_that_were_not_needed_count_as_saved() -> None:
    poor = missing("few-shot", "the budget of $1 is used up")
    assert decide(RULES, evidence(rung("prompt", 20), poor)).answers_saved == 0
