"""The three-valued rule: error rates, power, early stopping, floors, and how many more cases are asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from luthier.evaluate import (
    Settled,
    adequacy_state,
    betting_e_process,
    confidence_sequence,
    e_process_adequacy,
    grouped,
    more_cases,
    more_pairs,
    settle,
)
from luthier.evaluate._statistics_adequacy import look_sizes


def ids(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


def run(rng: np.random.Generator, p: float, n: int, bar: float, alpha: float = 0.05) -> Settled:
    return settle((rng.random(n) < p).astype(float).tolist(), ids(n), bar=bar, alpha=alpha, binary=True)


@pytest.mark.parametrize(("s", "f", "bar"), [(0, 0, 0.5), (8, 0, 0.9), (50, 10, 0.7), (3, 40, 0.6), (190, 10, 0.9)])
def test_the_e_value_is_the_mean_likelihood_ratio_above_the_bar(s: int, f: int, bar: float) -> None:
    def ratio(p: float) -> float:
        return math.exp(s * math.log(p / bar) + f * math.log((1 - p) / (1 - bar))) if p < 1 else float(f == 0)

    direct = integrate.quad(ratio, bar, 1, limit=200)[0] / (1 - bar)
    assert float(e_process_adequacy(s, f, bar)) == pytest.approx(math.log(direct), abs=1e-6)


def test_the_e_process_for_grades_is_the_same_where_scores_are_0_and_1() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random(80) < 0.8).astype(float)
    wins = np.cumsum(scores)
    exact = e_process_adequacy(wins, np.arange(1, 81) - wins, 0.6)
    assert betting_e_process(grouped(scores, ids(80)), 0.6) == pytest.approx(exact, abs=0.02)


def test_an_e_process_hardly_ever_crosses_at_the_bar_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    wins = np.cumsum(rng.random((1000, 200)) < 0.9, axis=1)
    crossed = (e_process_adequacy(wins, np.arange(1, 201) - wins, 0.9).max(axis=1) >= math.log(20)).mean()
    assert crossed <= 0.05
    graded = [betting_e_process(grouped(rng.beta(1.8, 0.2, 100), ids(100)), 0.9).max() for _ in range(150)]
    assert (np.array(graded) >= math.log(20)).mean() <= stats.binom.ppf(0.999, 150, 0.05) / 150


def test_the_confidence_sequence_covers_at_every_look_at_once() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(60):
        low, high = confidence_sequence(grouped(rng.beta(3, 2, 60), ids(60)), np.arange(1, 61), 0.05)
        missed += not low <= 0.6 <= high
    assert missed <= stats.binom.ppf(0.999, 60, 0.10)


@pytest.mark.parametrize(
    ("p", "state", "share", "cases"),
    [
        (0.50, "falls short", 1.0, 16),
        (0.70, "falls short", 1.0, 46),
        (0.80, "falls short", 0.98, 137),
        (0.98, "meets", 1.0, 108),
    ],
)
def test_clear_cases_stop_early(p: float, state: str, share: float, cases: int) -> None:
    """Planned 200, bar .9: the published figures of the hybrid rule."""
    rng = np.random.default_rng(3)
    found = [run(rng, p, 200, 0.9) for _ in range(300)]
    assert np.mean([f.state == state for f in found]) >= share - 0.03
    assert np.mean([f.at or 200 for f in found]) == pytest.approx(cases, rel=0.12)


def test_the_hybrid_keeps_the_power_of_the_fixed_test_and_its_error() -> None:
    rng = np.random.default_rng(4)
    assert np.mean([run(rng, 0.95, 200, 0.9).state == "meets" for _ in range(500)]) == pytest.approx(0.798, abs=0.055)
    wrong = sum(run(rng, 0.9, 200, 0.9).state == "meets" for _ in range(1000))
    assert wrong <= stats.binom.ppf(0.999, 1000, 0.05)


@pytest.mark.parametrize(
    ("bar", "p", "n", "n4"), [(0.8, 0.88, 150, 220), (0.8, 0.9, 90, 140), (0.9, 0.95, 180, 270), (0.9, 0.98, 70, 100)]
)
def test_power_at_the_numbers_of_cases_of_the_power_table(bar: float, p: float, n: int, n4: int) -> None:
    rng = np.random.default_rng(5)
    for cases, alpha in ((n, 0.05), (n4, 0.0125)):
        power = np.mean([run(rng, p, cases, bar, alpha).state == "meets" for _ in range(300)])
        assert 0.68 <= power <= 0.93


@pytest.mark.parametrize(("sources", "size", "icc"), [(20, 10, 0.2), (40, 4, 0.6), (100, 2, 0.3)])
def test_false_claims_with_groups_are_rare(sources: int, size: int, icc: float) -> None:
    """Where cluster-robust t claims too much: pass rates near 1 and few groups."""
    rng = np.random.default_rng(6)
    groups = [str(i // size) for i in range(sources * size)]
    k = (1 - icc) / icc
    wrong, runs = 0, 150
    for _ in range(runs):
        rates = np.repeat(rng.beta(0.9 * k, 0.1 * k, sources), size)
        scores = (rng.random(len(groups)) < rates).astype(float).tolist()
        wrong += settle(scores, groups, bar=0.9, alpha=0.05, binary=True).state == "meets"
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)


def test_groups_that_are_answered_one_after_the_other_stop_early_too() -> None:
    groups = [str(i // 4) for i in range(200)]
    scores = [0.0, 1.0, 0.0, 0.0] * 50
    found = settle(scores, groups, bar=0.8, alpha=0.05, binary=True)
    assert found.state == "falls short" and found.at is not None and found.at <= 64
    assert settle([1.0] * 200, groups, bar=0.8, alpha=0.05, binary=True).state == "meets"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.99), st.floats(0.3, 0.97), st.booleans(), st.booleans())
def test_the_ladder_and_the_verdict_agree(seed: int, p: float, bar: float, binary: bool, clustered: bool) -> None:
    """Stopping at the first settled look and replaying all answers give the same state at the same case."""
    rng = np.random.default_rng(seed)
    n = 70
    groups = [str(i // 3) for i in range(n)] if clustered else ids(n)
    scores = (rng.random(n) < p).astype(float).tolist() if binary else rng.beta(4 * p, 4 * (1 - p), n).tolist()
    stopped = next(
        (
            found
            for answered in range(1, n + 1)
            if (found := settle(scores[:answered], groups, bar=bar, alpha=0.01, binary=binary)).state != "open"
        ),
        None,
    )
    replayed = settle(scores, groups, bar=bar, alpha=0.01, binary=binary)
    assert replayed.state == ("open" if stopped is None else stopped.state)
    if stopped is not None:
        assert replayed.at == stopped.at


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0.05, 1.0), st.floats(0.2, 0.97), st.booleans())
def test_the_bounds_agree_with_the_state(seed: int, answered: int, p: float, bar: float, binary: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = (
        (rng.random(answered) < p).astype(float).tolist()
        if binary
        else (rng.random(answered) ** (1 / (3 * p))).tolist()
    )
    found = adequacy_state(scores, ids(60), bar=bar, alpha=0.02, binary=binary)
    assert found.low is not None and found.high is not None and found.display_low is not None
    assert 0 <= found.low <= 1 and 0 <= found.high <= 1 and found.display_low <= found.mean <= found.display_high
    if found.state == "meets":
        assert found.low >= bar - 1e-5
    elif found.state == "falls short":
        assert found.high <= bar + 1e-5
    elif answered >= 20:
        assert found.low <= bar + 1e-5 and found.high >= bar - 1e-5
    assert (found.more_cases is None) or found.state == "open"


def test_fewer_than_twenty_cases_show_nothing_but_a_flawless_record() -> None:
    def state(scores: list[float], bar: float, binary: bool = True) -> str:
        return adequacy_state(scores, ids(len(scores)), bar=bar, alpha=0.05, binary=binary).state

    assert state([1.0] * 15, 0.8) == "meets"  # 0.8 ** 15 = 0.035
    assert state([1.0] * 13, 0.8) == "open"
    assert state([0.0] + [1.0] * 18, 0.5) == "open"
    assert state([0.0] + [1.0] * 19, 0.5) == "meets"
    assert state([0.9] * 19, 0.5, binary=False) == "open"
    assert state([0.0] * 10, 0.5) == "falls short"


def test_fewer_than_eight_sources_carry_no_verdict() -> None:
    groups = [str(i % 7) for i in range(140)]
    found = adequacy_state([1.0] * 140, groups, bar=0.5, alpha=0.05, binary=True)
    assert found.state == "open" and "8 independent sources; it has 7" in found.note
    assert adequacy_state([0.0] * 140, groups, bar=0.5, alpha=0.05, binary=True).state == "open"


def test_a_bar_of_one_cannot_be_shown_and_one_failure_refutes_it() -> None:
    found = adequacy_state([1.0] * 500, ids(500), bar=1.0, alpha=0.05, binary=True)
    assert found.state == "open" and found.more_cases is None and "below 1" in found.note
    assert adequacy_state([1.0] * 9 + [0.99], ids(500), bar=1.0, alpha=0.05, binary=False).state == "falls short"


def test_an_interrupted_rung_is_open_and_asks_for_its_own_cases_first() -> None:
    found = adequacy_state([1.0, 0.0] * 15, ids(100), bar=0.5, alpha=0.05, binary=True)
    assert (found.state, found.more_cases, found.note) == ("open", 70, "30 of 100 cases are answered")
    nothing = adequacy_state([], ids(100), bar=0.5, alpha=0.05, binary=True)
    assert (nothing.state, nothing.more_cases, nothing.mean) == ("open", 100, None)


def test_looks_are_every_eight_cases_and_at_the_end() -> None:
    assert list(look_sizes(7, 100)) == []
    assert list(look_sizes(25, 100)) == [8, 16, 24]
    assert list(look_sizes(20, 20)) == [8, 16, 20]


@pytest.mark.parametrize(
    ("scores", "message"),
    [([2.0], "must be in"), ([float("nan")], "must be in"), ([0.5], "0 or 1"), ([1.0] * 11, "11 scores for 10")],
)
def test_what_is_no_evidence_is_refused(scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settle(scores, ids(10), bar=0.5, alpha=0.05, binary=message == "0 or 1")
    with pytest.raises(ValueError, match="bar must lie"):
        settle([1.0], ids(10), bar=0.0, alpha=0.05, binary=True)


def test_more_cases_have_the_assurance_that_is_promised() -> None:
    """Means drawn from what the data leave possible above the bar are shown good enough in about 80 % of new runs."""
    rng = np.random.default_rng(7)
    n, wins, bar, alpha = 60, 50, 0.72, 0.05
    more, _ = more_cases([1.0] * wins + [0.0] * (n - wins), ids(n), bar=bar, alpha=alpha, binary=True)
    assert more is not None
    draws = rng.beta(wins + 0.5, n - wins + 0.5, 1200)
    draws = draws[draws > bar][:600]
    met = np.mean([run(rng, p, n + more, bar, alpha).state == "meets" for p in draws])
    assert 0.74 <= met <= 0.9


def test_more_cases_for_grades_and_for_groups() -> None:
    rng = np.random.default_rng(8)
    scores = np.clip(rng.normal(0.8, 0.15, 100), 0, 1).tolist()
    more, note = more_cases(scores, ids(100), bar=0.75, alpha=0.05, binary=False)
    assert more is not None and 10 <= more <= 200 and note == ""
    grouped_more, note = more_cases(scores, [str(i // 4) for i in range(100)], bar=0.75, alpha=0.05, binary=False)
    assert grouped_more is not None and "sources" in note


def test_more_cases_that_will_not_help_are_not_asked_for() -> None:
    hopeless, note = more_cases([1.0] * 80 + [0.0] * 20, ids(100), bar=0.85, alpha=0.001, binary=True)
    assert hopeless is None and "will not rescue it" in note
    close, note = more_cases([1.0] * 80 + [0.0] * 20, ids(100), bar=0.8, alpha=0.05, binary=True)
    assert close is None and "practically at the bar" in note


def test_more_pairs() -> None:
    rng = np.random.default_rng(9)
    d = rng.choice([-1.0, 0.0, 1.0], 150, p=[0.05, 0.9, 0.05]).tolist()
    more, _ = more_pairs(d, ids(150), margin=0.1, alpha=0.05)
    assert more is None or more <= 750
    wide, note = more_pairs([x - 0.5 for x in d], ids(150), margin=0.1, alpha=0.05)
    assert wide is None and "will not rescue it" in note


def test_a_single_source_is_not_called_practically_at_the_bar() -> None:
    for scores in ([1.0] * 40, [0.0, 1.0] * 20):
        more, note = more_cases(scores, ["one"] * 40, bar=0.8, alpha=0.025, binary=True)
        assert "practically" not in note and (more is None or more >= 0)
    assert more_cases([1.0] * 40, ["one"] * 40, bar=0.8, alpha=0.025, binary=True) == (
        None,
        "needs cases from at least 8 independent sources; it has 1",
    )
