"""What a number of cases can show: exact chances against every possible sequence, published tables and plain tries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from luthier.evaluate import (
    Tries,
    adequacy_cases,
    bonett_price,
    cases_to_settle,
    enlarged,
    is_clustered,
    least_difference,
    least_difference_tried,
    mid_p_mcnemar,
    pair_chances,
    pairs_to_see,
    settle,
    settled_chances,
    sources_to_show,
)

# bar, true pass rate, cases at alpha .05 and .0125 for 80 % power of the exact binomial test
ADEQUACY = [
    (0.80, 0.85, 370, 600),
    (0.80, 0.88, 150, 220),
    (0.80, 0.90, 90, 140),
    (0.90, 0.92, 1350, 2050),
    (0.90, 0.95, 180, 270),
    (0.90, 0.98, 70, 100),
    (0.95, 0.97, 650, 1000),
]
# true difference, discordant share, pairs at alpha .05 and .0125 for 80 % power of the mid-p McNemar test
PAIRED = [
    (0.05, 0.1, 240, 360),
    (0.05, 0.2, 500, 760),
    (0.05, 0.3, 740, 1200),
    (0.05, 0.4, 1000, 1600),
    (0.10, 0.2, 120, 180),
    (0.10, 0.3, 185, 280),
    (0.10, 0.4, 260, 380),
    (0.15, 0.3, 80, 120),
    (0.15, 0.4, 110, 165),
    (0.20, 0.4, 60, 90),
]


def ids(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


@pytest.mark.parametrize(
    ("n", "bar", "alpha"), [(7, 0.5, 0.05), (10, 0.5, 0.05), (13, 0.3, 0.2), (13, 0.7, 0.2), (12, 1.0, 0.05)]
)
def test_the_chances_are_those_of_every_sequence_that_there_can_be(n: int, bar: float, alpha: float) -> None:
    states = {
        scores: settle(list(map(float, scores)), ids(n), bar=bar, alpha=alpha, binary=True).state
        for scores in itertools.product((0, 1), repeat=n)
    }
    for truth in (0.05, 0.4, bar, 0.95, 1.0):
        found = settled_chances(n, truth, bar=bar, alpha=alpha)
        weights = {scores: truth ** sum(scores) * (1 - truth) ** (n - sum(scores)) for scores in states}
        meets = math.fsum(weight for scores, weight in weights.items() if states[scores] == "meets")
        short = math.fsum(weight for scores, weight in weights.items() if states[scores] == "falls short")
        assert (found.meets, found.falls_short) == pytest.approx((meets, short), abs=1e-12)


@pytest.mark.parametrize(("n", "truth", "bar"), [(23, 0.95, 0.6), (120, 0.90, 0.8), (120, 0.70, 0.8), (200, 0.95, 0.9)])
def test_the_chances_are_those_of_trying_it_out(n: int, truth: float, bar: float) -> None:
    rng = np.random.default_rng(n)
    tries = 400
    states = [
        settle((rng.random(n) < truth).astype(float).tolist(), ids(n), bar=bar, alpha=0.0125, binary=True).state
        for _ in range(tries)
    ]
    found = settled_chances(n, truth, bar=bar, alpha=0.0125)
    for state, chance in (("meets", found.meets), ("falls short", found.falls_short)):
        low, high = stats.binom.interval(0.999, tries, chance)
        assert low <= states.count(state) <= high


@pytest.mark.parametrize(("bar", "truth", "n", "n_of_four"), ADEQUACY)
def test_the_published_numbers_of_cases_for_a_bar(bar: float, truth: float, n: int, n_of_four: int) -> None:
    """The table was rounded and the binomial steps; looking early costs up to a tenth of power near a step."""
    for alpha, published in ((0.05, n), (0.0125, n_of_four)):
        wins = np.arange(published + 1)
        enough = stats.binom.sf(wins - 1, published, bar) <= alpha
        plain = stats.binom.pmf(wins, published, truth)[enough].sum()
        assert plain == pytest.approx(0.8, abs=0.07)
        found = settled_chances(published, truth, bar=bar, alpha=alpha)
        assert plain - 0.10 <= found.meets <= plain + 0.02
        assert found.falls_short < alpha / 5
        assert adequacy_cases(bar, truth, alpha) == pytest.approx(published, rel=0.15)
        assert cases_to_settle(truth, bar=bar, alpha=alpha) == pytest.approx(published, rel=0.17)


@pytest.mark.parametrize(("difference", "discordant", "n", "n_of_four"), PAIRED)
def test_the_published_numbers_of_pairs(difference: float, discordant: float, n: int, n_of_four: int) -> None:
    for alpha, published in ((0.05, n), (0.0125, n_of_four)):
        above, below = pair_chances(published, difference, discordant=discordant, alpha=alpha)
        assert above == pytest.approx(0.8, abs=0.03)
        assert below < 1e-3
        found = pairs_to_see(difference, discordant=discordant, alpha=alpha)
        assert found == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(("discordant", "margin", "published"), [(0.1, 0.05, 247), (0.1, 0.03, 687), (0.1, 0.02, 1545)])
def test_the_published_numbers_of_pairs_for_not_being_worse(discordant: float, margin: float, published: int) -> None:
    assert pairs_to_see(0.0, discordant=discordant, margin=-margin, alpha=0.05) == pytest.approx(published, rel=0.05)


def test_the_chances_of_pairs_are_those_of_every_count() -> None:
    n, discordant, difference, alpha = 40, 0.3, 0.15, 0.05
    better_share, worse_share = (discordant + difference) / 2, (discordant - difference) / 2
    above = below = 0.0
    agrees = []
    for better in range(n + 1):
        for worse in range(n + 1 - better):
            cells = [better, worse, n - better - worse]
            weight = stats.multinomial.pmf(cells, n, [better_share, worse_share, 1 - discordant])
            low, high = bonett_price(better, worse, n, alpha)
            above, below = above + weight * (low > 0), below + weight * (high < 0)
            agrees.append(weight * ((low > 0) == (mid_p_mcnemar(better, worse) <= alpha)))
    assert pair_chances(n, difference, discordant=discordant, alpha=alpha) == pytest.approx((above, below), abs=1e-6)
    assert math.fsum(agrees) > 0.93  # the test that is shown beside the interval says nearly always the same


def test_the_least_difference_is_where_power_is_80_percent() -> None:
    found = least_difference(120, discordant=0.2, alpha=0.0125)
    assert found is not None
    assert pair_chances(120, found, discordant=0.2, alpha=0.0125)[0] >= 0.8
    assert pair_chances(120, found - 0.002, discordant=0.2, alpha=0.0125)[0] < 0.8
    assert least_difference(12, discordant=0.2, alpha=0.0125) is None


def test_no_number_of_cases_tells_the_bar_from_itself() -> None:
    assert cases_to_settle(0.8, bar=0.8, alpha=0.05) is None
    assert cases_to_settle(0.99, bar=1.0, alpha=0.05) is None
    assert cases_to_settle(0.801, bar=0.8, alpha=0.05) is None
    assert pairs_to_see(0.0, alpha=0.05) is None
    assert pairs_to_see(0.3, discordant=0.2, alpha=0.05) is None


@pytest.mark.parametrize("truth", [0.7, 0.9])
def test_made_up_passes_without_groups_agree_with_the_exact_chances(truth: float) -> None:
    tries = Tries(tuple(ids(80)), binary=True, count=300)
    found, exact = (
        tries.settled(truth, bar=0.8, alpha=0.05),
        settled_chances(80, truth, bar=0.8, alpha=0.05),
    )
    assert found.meets == pytest.approx(exact.meets, abs=4 * tries.error)
    assert found.falls_short == pytest.approx(exact.falls_short, abs=4 * tries.error)
    assert found == tries.settled(truth, bar=0.8, alpha=0.05)  # the seed is fixed


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("size", [1, 6])
def test_made_up_scores_have_the_mean_and_the_spread_that_were_asked_for(binary: bool, size: int) -> None:
    groups = tuple(f"s{i // size}" for i in range(240))
    tries = Tries(groups, binary, count=60)
    scores = np.array(list(tries._scores(0.8)))
    assert scores.mean() == pytest.approx(0.8, abs=0.03)
    assert scores.var() == pytest.approx(0.16 if binary or size > 1 else 0.08, rel=0.15 if binary or size == 1 else 0.6)
    differences = np.array(list(tries._differences(0.1, 0.2)))
    assert differences.mean() == pytest.approx(0.1, abs=0.015)
    assert np.abs(differences).mean() == pytest.approx(0.2, abs=0.02)
    between = scores.reshape(60, -1, size).mean(axis=2).var()
    within = scores.var()
    assert between == pytest.approx(within * (1 + (size - 1) * (0.2 if binary else 0.33)) / size, rel=0.2)


def test_groups_cost_power_and_sources_bring_it_back() -> None:
    clustered = tuple(f"s{i // 6}" for i in range(180))
    assert is_clustered(clustered)
    alone, together = (Tries(groups, True, count=150) for groups in (tuple(ids(180)), clustered))
    chances = [t.settled(0.9, bar=0.8, alpha=0.05).meets for t in (alone, together)]
    assert chances[0] > chances[1] + 0.2

    def chance(groups: tuple[str, ...]) -> float:
        return Tries(groups, True, count=100).settled(0.9, bar=0.8, alpha=0.05).meets

    needed = sources_to_show(clustered, chance, 16)
    assert needed is not None
    assert needed > 30
    assert chance(enlarged(clustered, needed / 30)) >= 0.75
    assert sources_to_show(clustered, lambda groups: 0.0, 4) is None


def test_more_sources_have_the_sizes_of_those_there_are() -> None:
    assert enlarged(["a", "a", "b"], 2) == ("0 a", "0 a", "0 b", "1 a", "1 a", "1 b")
    assert len(set(enlarged(["a", "a", "b"], 2.5))) == 5


def test_tried_differences_agree_with_exact_ones() -> None:
    tries = Tries(tuple(ids(120)), binary=True, count=200)
    tried, exact = least_difference_tried(tries, 0.3, 0.05), least_difference(120, discordant=0.3, alpha=0.05)
    assert tried == pytest.approx(exact, abs=0.035)  # Gaffke's bound asks a little more than Bonett and Price's
    assert least_difference_tried(Tries(tuple("ab" * 30), True), 0.2, 0.05) is None
    above, below = tries.not_worse(0.0, 0.1, margin=0.1, alpha=0.05)
    assert above > 0.9
    assert below == 0
    assert tries.not_worse(-0.2, 0.2, margin=0.05, alpha=0.05)[1] > 0.9
