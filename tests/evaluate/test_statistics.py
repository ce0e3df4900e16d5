"""Intervals and paired tests: golden values, exact coverage by enumeration, simulation where nothing exact exists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from luthier.evaluate import (
    better_by,
    bonett_price,
    clopper_pearson,
    compare,
    grouped,
    is_clustered,
    mean_bounds,
    mean_p,
    mid_p_mcnemar,
    paired_t,
    settle,
    wilson,
)
from luthier.evaluate._statistics import binomial_p


def ids(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


def test_golden_intervals() -> None:
    assert clopper_pearson(45, 50, 0.025) == pytest.approx((0.78186, 0.96672), abs=1e-4)
    assert wilson(45, 50, 0.025) == pytest.approx((0.78640, 0.95652), abs=1e-4)
    assert clopper_pearson(0, 10, 0.05) == pytest.approx((0, 1 - 0.05**0.1))
    assert clopper_pearson(10, 10, 0.05) == pytest.approx((0.05**0.1, 1))
    assert wilson(0, 10, 0.025)[0] == 0 and wilson(10, 10, 0.025)[1] == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.data(), st.sampled_from([0.001, 0.025, 0.2]))
def test_clopper_pearson_is_the_one_of_scipy(n: int, data: st.DataObject, alpha: float) -> None:
    k = data.draw(st.integers(0, n))
    theirs = stats.binomtest(k, n).proportion_ci(1 - 2 * alpha, method="exact")
    assert clopper_pearson(k, n, alpha) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert binomial_p(k, n, 0.7) == pytest.approx(stats.binom.sf(k - 1, n, 0.7), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "p", "w", "cp"), [(20, 0.9, 0.957, 0.989), (50, 0.97, 0.937, 0.983), (100, 0.97, 0.969, 0.989)]
)
def test_coverage_of_the_intervals_of_a_proportion(n: int, p: float, w: float, cp: float) -> None:
    """Exact, by enumeration; the figures are those of the published comparison that the choice rests on."""

    def coverage(interval) -> float:
        bounds = [interval(k, n, 0.025) for k in range(n + 1)]
        return sum(stats.binom.pmf(k, n, p) for k, (low, high) in enumerate(bounds) if low <= p <= high)

    assert coverage(wilson) == pytest.approx(w, abs=0.001)
    assert coverage(clopper_pearson) == pytest.approx(cp, abs=0.001)


@pytest.mark.parametrize(
    ("n", "better", "worse"), [(30, 0.03, 0.0), (15, 0.12, 0.02), (50, 0.12, 0.02), (150, 0.2, 0.1)]
)
def test_coverage_of_bonett_price_with_few_discordant_pairs(n: int, better: float, worse: float) -> None:
    covered = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            low, high = bonett_price(b, c, n, 0.025)
            if low <= better - worse <= high:
                covered += stats.multinomial.pmf([b, c, n - b - c], n, [better, worse, 1 - better - worse])
    assert covered >= 0.945


def test_mid_p_mcnemar() -> None:
    def direct(b: int, c: int) -> float:
        total = sum(math.comb(b + c, k) for k in range(b, b + c + 1)) - math.comb(b + c, b) / 2
        return total / 2 ** (b + c)

    for b, c in [(0, 0), (1, 0), (0, 1), (10, 3), (25, 8), (4, 4)]:
        assert mid_p_mcnemar(b, c) == pytest.approx(direct(b, c))
    assert mid_p_mcnemar(10, 3) + mid_p_mcnemar(3, 10) == pytest.approx(1)


@pytest.mark.parametrize(
    ("diff", "discordant", "n"), [(0.10, 0.20, 120), (0.15, 0.30, 80), (0.20, 0.20, 30), (0.30, 0.40, 25)]
)
def test_power_of_mid_p_mcnemar(diff: float, discordant: float, n: int) -> None:
    """80 % power at alpha = 0.05 with the numbers of cases of the power table."""
    share = (discordant + diff) / 2 / discordant
    power = 0.0
    for d in range(n + 1):
        wins = [b for b in range(d + 1) if mid_p_mcnemar(b, d - b) <= 0.05]
        power += stats.binom.pmf(d, n, discordant) * sum(stats.binom.pmf(b, d, share) for b in wins)
    assert 0.76 <= power <= 0.88


def test_paired_t_is_the_one_of_scipy_without_clusters() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(0.1, 0.3, 40)
    theirs = stats.ttest_1samp(d, 0, alternative="greater")
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    ours = paired_t(d, ids(40), 0.025)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_paired_t_is_robust_to_clusters() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), rng.integers(1, 9, 12))
    d = rng.normal(0, 0.2, len(groups)) + rng.normal(0.1, 0.2, 12)[groups]
    n, mean = len(d), d.mean()
    squares = sum(((d[groups == g] - mean).sum()) ** 2 for g in range(12))
    error = math.sqrt(12 / 11 * squares) / n
    ours = paired_t(d, [str(g) for g in groups], 0.025)
    assert ours.high - ours.difference == pytest.approx(stats.t.ppf(0.975, 11) * error)
    assert ours.p == pytest.approx(stats.t.sf(mean / error, 11))


def test_fewer_than_eight_sources_carry_no_statement() -> None:
    ours = paired_t([0.5] * 70, [str(i % 7) for i in range(70)], 0.025)
    assert not ours.usable and (ours.low, ours.high, ours.p) == (-1, 1, 1)
    assert better_by([1.0] * 70, [0.0] * 70, [str(i % 7) for i in range(70)], binary=True, alpha=0.05) == -1


def test_differences_that_are_all_the_same() -> None:
    nothing = paired_t([0.0] * 20, ids(20), 0.025)
    assert (nothing.low, nothing.high, nothing.p) == (0, 0, 0.5)
    assert paired_t([0.1] * 20, ids(20), 0.025).p < 1e-6


def test_coverage_of_paired_t_with_clusters() -> None:
    """About .94 with 20 clusters of 10 and an intraclass correlation of .2, where the naive interval covers .73."""
    rng = np.random.default_rng(2)
    groups = [str(i // 10) for i in range(200)]
    covered = 0
    for _ in range(400):
        d = rng.normal(0, math.sqrt(0.8), 200) + np.repeat(rng.normal(0, math.sqrt(0.2), 20), 10)
        found = paired_t(d / 10, groups, 0.025)
        covered += found.low <= 0 <= found.high
    assert 0.91 <= covered / 400 <= 0.975


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 120), st.data(), st.floats(0.02, 0.98))
def test_the_bound_for_graded_scores_is_the_exact_one_where_scores_are_0_and_1(
    n: int, data: st.DataObject, null: float
) -> None:
    k = data.draw(st.integers(0, n))
    units = grouped([1.0] * k + [0.0] * (n - k), ids(n))
    assert mean_p(units, null) == pytest.approx(binomial_p(k, n, null), abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.data())
def test_bounds_of_a_mean_are_clopper_pearson_where_scores_are_0_and_1(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    units = grouped([1.0] * k + [0.0] * (n - k), ids(n))
    assert mean_bounds(units, 0.025) == pytest.approx(clopper_pearson(k, n, 0.025), abs=2e-6)


def test_the_p_value_of_a_mean_is_what_random_weights_give() -> None:
    rng = np.random.default_rng(3)
    groups = [str(g) for g in np.repeat(np.arange(20), rng.integers(1, 6, 20))]
    scores = rng.beta(4, 1, len(groups))
    units = grouped(scores, groups)
    weights = rng.exponential(size=(200_000, 21))
    typical = (units.weights**2).sum() / units.weights.sum()  # of the group of a case drawn at random
    drawn = weights[:, :20] @ (units.weights * (units.means - 0.7)) - weights[:, 20] * 0.7 * typical
    assert mean_p(units, 0.7) == pytest.approx((drawn <= 0).mean(), abs=0.003)


def uneven(kind: str, groups: int, rng: np.random.Generator) -> np.ndarray:
    """Sizes of groups: many small ones with some large, or one that holds a sixth of the cases."""
    if kind == "geometric":
        return rng.geometric(1 / 3, groups)
    sizes = np.full(groups, 2)
    sizes[0] = 2 * groups // 5
    return sizes


@pytest.mark.parametrize("groups", [12, 46])
@pytest.mark.parametrize("kind", ["geometric", "one giant"])
@pytest.mark.parametrize("alike", [True, False])
def test_false_claims_on_groups_of_unequal_size_are_rare(groups: int, kind: str, alike: bool) -> None:
    """Cases of a group are all right or all wrong (`alike`), or have a chance of their own (correlation 0.2)."""
    rng = np.random.default_rng(6)
    runs, wrong = 300, 0
    for _ in range(runs):
        sizes = uneven(kind, groups, rng)
        chance = (rng.random(groups) < 0.2).astype(float) if alike else rng.beta(0.8, 3.2, groups)
        right = rng.binomial(sizes, chance)
        scores = [float(i < k) for n, k in zip(sizes, right, strict=True) for i in range(n)]
        names = [str(g) for g, n in enumerate(sizes) for _ in range(n)]
        wrong += mean_p(grouped(scores, names), 0.2) <= 0.05
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)


def test_one_large_group_takes_little_power_from_many_small_ones() -> None:
    sizes = [5] * 40 + [16]
    names = [str(g) for g, n in enumerate(sizes) for _ in range(n)]
    scores = [float(i % 40 == 0) for i in range(len(names))]
    units = grouped(scores, names)
    assert mean_bounds(units, 0.01)[1] < 0.15  # 0.29 if the unseen group were as large as the largest


@pytest.mark.parametrize("n", [20, 60, 150])
@pytest.mark.parametrize("kind", ["skewed", "rare zeros", "three values", "narrow"])
def test_false_claims_on_graded_scores_are_rare(n: int, kind: str) -> None:
    """At a bar that is the true mean, "at least the bar" is claimed in at most 5 %; Student's t claims it far more."""
    rng = np.random.default_rng(4)

    def draw() -> tuple[np.ndarray, float]:
        if kind == "skewed":
            return rng.beta(1.8, 0.2, n), 0.9
        if kind == "rare zeros":
            return np.where(rng.random(n) < 0.03, 0.0, rng.uniform(0.95, 1, n)), 0.97 * 0.975
        if kind == "three values":
            return rng.choice([0.0, 0.5, 1.0], n, p=[0.05, 0.1, 0.85]), 0.9
        return rng.uniform(0.7, 0.9, n), 0.8

    runs = 160
    wrong = sum(mean_p(grouped(scores, ids(n)), bar) <= 0.05 for scores, bar in (draw() for _ in range(runs)))
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)
    if kind == "rare zeros":
        student = sum(
            stats.ttest_1samp(s, b, alternative="greater").pvalue <= 0.05 for s, b in (draw() for _ in range(runs))
        )
        assert student > 1.5 * 0.05 * runs


@pytest.mark.parametrize("low", [0.3, 0.8])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.95])
def test_false_claims_on_scores_of_two_values(low: float, share: float) -> None:
    """Exact, by enumeration: the chance of a claim at the true mean is at most alpha."""
    n, mean = 20, low + (1 - low) * share
    p = [mean_p(grouped([1.0] * k + [low] * (n - k), ids(n)), mean) for k in range(n + 1)]
    for alpha in (0.05, 0.0125):
        assert sum(stats.binom.pmf(k, n, share) for k in range(n + 1) if p[k] <= alpha) <= alpha


def test_groups_weigh_by_their_size_and_incomplete_ones_do_not_count() -> None:
    units = grouped([1.0, 0.0, 1.0, 1.0], ["a", "b", "a", "c", "c", "d"])
    assert list(units.means) == [0.0, 1.0]  # b is complete after two cases, a after three; c is not
    assert list(units.ends) == [2, 3] and list(units.sizes) == [1, 2] and list(units.weights) == [0.5, 1.0]
    assert units.mean == pytest.approx(2 / 3)
    assert is_clustered(["a", "b", "a"]) and not is_clustered(["a", "b"])


def test_compare_chooses_the_test() -> None:
    a, b = [1.0] * 30 + [0.0] * 10, [1.0] * 20 + [0.0] * 20
    assert compare(a, b, ids(40), binary=True, alpha=0.025).test == "mid-p McNemar, Bonett-Price"
    assert compare(a, b, ids(40), binary=False, alpha=0.025).test == "paired t"
    assert compare(a, b, [str(i // 2) for i in range(40)], binary=True, alpha=0.025).test == "paired t"
    stopped = compare(a[:24], b, ids(40), binary=True, alpha=0.025)
    assert stopped.n == 24 and stopped.test == "betting, stopped early"
    assert stopped.low <= stopped.difference <= stopped.high
    nothing = compare(a[:4], b, ids(40), binary=True, alpha=0.025)
    assert not nothing.usable and (nothing.low, nothing.high) == (-1, 1)
    assert not compare([], b, ids(40), binary=True, alpha=0.025).usable


def test_a_rung_that_stopped_early_is_told_from_one_that_answered_more() -> None:
    """16 common cases show little; what each answered itself shows more."""
    a, b = [0.0] * 5 + [1.0] * 75, [1.0] * 2 + [0.0] * 14
    found = compare(a, b, ids(200), binary=True, alpha=0.025)
    assert found.n == 16 and 0 < found.low <= found.difference == 0.5625 <= found.high and found.p <= 0.025
    of_pairs = compare(a[:16], b, ids(200), binary=True, alpha=0.025)
    assert of_pairs.low < 0 and of_pairs.p > 0.025


@pytest.mark.parametrize("size", [1, 3])
def test_false_claims_on_differences_where_answering_stopped_at_what_was_seen(size: int) -> None:
    rng = np.random.default_rng(7)
    above, below, runs, alpha = 0, 0, 150, 0.05
    groups = [str(i // size) for i in range(120)]
    for _ in range(runs):
        ease = np.repeat(rng.random(120 // size), size)  # cases are hard for both, the same ones
        scores = [(ease < p).astype(float) if size > 1 else (rng.random(120) < p).astype(float) for p in (0.9, 0.6)]
        cut = [settle(list(s), groups, bar=0.75, alpha=0.05, binary=True).at or 120 for s in scores]
        a, b = (list(s[:n]) for s, n in zip(scores, cut, strict=True))
        found = compare(a, b, groups, binary=True, alpha=alpha)
        above += found.low > 0.3
        below += found.high < 0.3
    most = stats.binom.ppf(0.999, runs, alpha)
    assert above <= most and below <= most


def test_better_by_does_not_promise_what_a_few_losses_take_away() -> None:
    """Most cases gain a little, a few lose everything; the truth is no difference."""
    rng = np.random.default_rng(5)
    student, ours, runs = 0, 0, 120
    for _ in range(runs):
        d = np.where(rng.random(60) < 0.95, 0.05, -0.95)
        a, b = np.clip(0.95 + np.minimum(d, 0) + 0.05 * (d > 0), 0, 1), np.full(60, 0.95)
        student += paired_t(a - b, ids(60), 0.05).low > 0
        ours += better_by(list(a), list(b), ids(60), binary=False, alpha=0.05) > 0
    assert ours <= stats.binom.ppf(0.999, runs, 0.05) < student


def test_better_by_finds_a_clear_gain() -> None:
    rng = np.random.default_rng(6)
    b = rng.uniform(0.2, 0.6, 100)
    assert better_by(list(b + 0.3), list(b), ids(100), binary=False, alpha=0.01) > 0.2
