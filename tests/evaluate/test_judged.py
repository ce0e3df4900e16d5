"""Judge statistics: the correction by labels against simulation and by hand; agreement."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from luthier.evaluate import Corrected, agreement, corrected_difference, corrected_mean

TRIES = 1200


def scores(rng: np.random.Generator, hard: np.ndarray, mean: float) -> np.ndarray:
    """What people say: 0 or 1, correlated with how hard the case is."""
    return (np.sqrt(0.5) * (hard + rng.normal(size=len(hard))) < ndtri(mean)).astype(float)


def judge(rng: np.random.Generator, human: np.ndarray, q1: float, q0: float) -> np.ndarray:
    draw = rng.random(len(human))
    return np.where(human == 1, draw < q1, draw >= q0).astype(float)


def missed(values: list[Corrected], truth: float, alpha: float = 0.025) -> tuple[float, float]:
    """Shares in which the lower and the upper bound lie on the wrong side of the truth."""
    bounds = [value.bounds(alpha) for value in values]
    return sum(low > truth for low, _ in bounds) / len(bounds), sum(high < truth for _, high in bounds) / len(bounds)


@pytest.mark.parametrize("labelled", [30, 60, 120])
@pytest.mark.parametrize(
    ("a", "b", "judge_a", "judge_b"),
    [
        (0.8, 0.8, (0.95, 0.6), (0.9, 0.9)),  # falls for the style of a
        (0.7, 0.6, (0.95, 0.95), (0.95, 0.95)),
        (0.85, 0.5, (0.85, 0.85), (0.85, 0.85)),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(labelled, a, b, judge_a, judge_b) -> None:
    rng = np.random.default_rng(labelled)
    groups = [str(i) for i in range(200)]
    means, pairs = [], []
    for _ in range(TRIES):
        hard = rng.normal(size=200)
        ya, yb = scores(rng, hard, a), scores(rng, hard, b)
        fa, fb = judge(rng, ya, *judge_a), judge(rng, yb, *judge_b)
        of_a, of_b = dict(enumerate(ya[:labelled])), dict(enumerate(yb[:labelled]))
        means.append(corrected_mean(fa, of_a, groups))
        pairs.append(corrected_difference(fa, fb, of_a, of_b, groups))
    for found, truth in ((means, a), (pairs, a - b)):
        low, high = missed(found, truth)
        assert low < 0.040 and high < 0.040 and low + high < 0.07  # nominal .025 each, .95
    spread = np.std([m.estimate for m in means])
    assert np.mean([m.estimate for m in means]) == pytest.approx(a, abs=0.02)
    assert np.mean([m.error for m in means]) == pytest.approx(spread, rel=0.2)
    assert spread < 0.97 * np.sqrt(a * (1 - a) / labelled)  # than by the labels alone


def test_plain_intervals_of_a_good_judge_would_promise_too_much() -> None:
    """Why two cases that disagree are added: few labels may show no error of the judge, as if it made none."""
    rng = np.random.default_rng(5)
    low, plain_low = 0, 0
    for _ in range(TRIES):
        human = (rng.random(200) < 0.9).astype(float)
        f = judge(rng, human, 0.98, 0.9)
        found = corrected_mean(f, dict(enumerate(human[:30])), [str(i) for i in range(200)])
        low += found.bounds(0.025)[0] > 0.9
        y, g, rest = human[:30], f[:30], f[30:]
        weight = np.cov(y, g)[0, 1] / (1 + 30 / 170) / np.var(f, ddof=1)
        error = np.sqrt(weight**2 * rest.var(ddof=1) / 170 + (y - weight * g).var(ddof=1) / 30)
        plain_low += (y - weight * g).mean() + weight * rest.mean() - 1.96 * error > 0.9
    assert low / TRIES < 0.05 < 0.08 < plain_low / TRIES


def test_groups_widen_the_interval_as_they_must() -> None:
    rng = np.random.default_rng(6)
    groups = [str(i // 4) for i in range(240)]
    found, naive = [], []
    for _ in range(600):
        hard = rng.normal(size=60)[np.arange(240) // 4]
        human = (np.sqrt(0.5) * (hard + rng.normal(size=240)) < ndtri(0.7)).astype(float)
        f = judge(rng, human, 0.95, 0.9)
        drawn = {int(case): float(human[case]) for case in rng.choice(240, 60, replace=False)}
        found.append(corrected_mean(f, drawn, groups))
        naive.append(corrected_mean(f, drawn, [str(i) for i in range(240)]))
    low, high = missed(found, 0.7)
    assert low + high < 0.075
    assert sum(missed(naive, 0.7)) > low + high + 0.03


def test_the_estimator_by_hand() -> None:
    judged = [1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    human = {i: v for i, v in enumerate([1, 1, 0, 0, 1, 0, 1, 0, 1, 1])}
    found = corrected_mean(judged, human, [str(i) for i in range(20)])
    f, y, rest = np.array([*judged[:10], 0, 1]), np.array([*human.values(), 1, 0]), np.array(judged[10:])
    weight = np.cov(y, f)[0, 1] / ((1 + 12 / 10) * np.var([*judged, 0, 1], ddof=1))
    assert found.weight == pytest.approx(weight)
    assert found.estimate == pytest.approx(np.mean(y[:10] - weight * f[:10]) + weight * rest.mean())
    expected = weight**2 * rest.var(ddof=1) / 10 + (y - weight * f).var(ddof=1) / 12
    assert found.error**2 == pytest.approx(expected)
    assert found.p(found.middle) == pytest.approx(0.5)
    assert found.bounds(0.4)[0] < found.middle < found.bounds(0.4)[1]


def test_a_judge_that_knows_nothing_and_labels_for_all_leave_the_labels_alone() -> None:
    rng = np.random.default_rng(7)
    human = (rng.random(100) < 0.6).astype(float)
    groups = [str(i) for i in range(100)]
    constant = corrected_mean(np.full(100, 0.5), dict(enumerate(human[:50])), groups)
    assert constant.weight == 0 and constant.estimate == pytest.approx(human[:50].mean())
    upside_down = corrected_mean(1 - human, dict(enumerate(human[:50])), groups)
    assert upside_down.weight == 0
    whole = corrected_mean(rng.random(100), dict(enumerate(human)), groups)
    assert (whole.weight, whole.unlabelled) == (0, 0) and whole.estimate == pytest.approx(human.mean())


def test_too_few_labelled_sources_say_nothing() -> None:
    found = corrected_mean([1.0] * 50, {i: 1.0 for i in range(40)}, [str(i // 8) for i in range(50)])
    assert not found.usable and found.bounds(0.025) == (0.0, 1.0) and found.p(0.1) == 1.0
    assert found.labels_to_settle(0.5, 0.025) is None
    pair = corrected_difference([1.0] * 50, [0.0] * 50, {1: 1.0}, {2: 0.0}, [str(i) for i in range(50)])
    assert not pair.usable and pair.labelled == 0 and pair.bounds(0.025) == (-1.0, 1.0)


def test_the_labels_that_are_asked_for_settle_it_as_often_as_said() -> None:
    rng = np.random.default_rng(8)
    groups = [str(i) for i in range(1500)]
    human = (rng.random(1500) < 0.85).astype(float)
    f = judge(rng, human, 0.9, 0.8)
    asked = [corrected_mean(f, dict(enumerate(human[:60])), groups).labels_to_settle(0.75, 0.025)]
    assert asked[0] is not None
    settled = 0
    for _ in range(300):
        human = (rng.random(1500) < 0.85).astype(float)
        f = judge(rng, human, 0.9, 0.8)
        settled += corrected_mean(f, dict(enumerate(human[: 60 + asked[0]])), groups).bounds(0.025)[0] > 0.75
    assert 0.6 < settled / 300 < 0.97
    found = corrected_mean(f, dict(enumerate(human[:60])), groups)
    assert found.labels_to_settle(found.estimate, 0.025) is None
    assert found.labels_to_settle(found.estimate - 0.002, 0.025) is None  # more than there are cases


def test_agreement_by_hand() -> None:
    # 20 good, of which 18 are found good; 10 others, of which 7 are found to be others
    human = [True] * 20 + [False] * 10
    found = agreement([True] * 18 + [False] * 2 + [True] * 3 + [False] * 7, human)
    assert (found.sensitivity.value, found.specificity.value) == (0.9, 0.7)
    assert found.j == pytest.approx(0.6) and found.agreement == pytest.approx(25 / 30)
    chance = (20 * 21 + 10 * 9) / 900
    assert found.kappa == pytest.approx((25 / 30 - chance) / (1 - chance))
    assert found.j_low < 0.35 and 0.75 < found.j_high < 0.85
    one_kind = agreement([True] * 5, [True] * 5)
    assert one_kind.j is None and one_kind.kappa is None and one_kind.specificity.n == 0
    assert agreement([], []).agreement is None
