"""What paired results mean: pure functions, checked by hand and by simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import StoreError
from luthier.evaluate import Capability
from luthier.evaluate._capability_gate import (
    Flips,
    Pairs,
    accuracy_results,
    detectable_loss,
    holm,
    judge,
    text_result,
)
from luthier.evaluate._capability_scoring import Outcome, TextOutcome


def pairs(both: int, lost: int, gained: int, neither: int, *, name: str = "facts", chance: float = 0.25) -> Pairs:
    before = [Outcome(True)] * (both + lost) + [Outcome(False)] * (gained + neither)
    after = [Outcome(True)] * both + [Outcome(False)] * lost + [Outcome(True)] * gained + [Outcome(False)] * neither
    return Pairs(name, tuple(f"item {i}" for i in range(len(before))), tuple(before), tuple(after), chance)


def texts(kl: float, rise: float, count: int = 10) -> list[TextOutcome]:
    draw = np.random.default_rng(0)
    return [
        TextOutcome(
            tuple(kl + 0.01 * draw.standard_normal(20)), (2.0,) * 20, tuple(2 + rise + 0.01 * draw.standard_normal(20))
        )
        for _ in range(count)
    ]


def test_a_clear_loss_is_lost() -> None:
    (found,) = accuracy_results([pairs(60, 20, 2, 18)])
    assert (found.n, found.before, found.after, found.flips) == (100, 0.80, 0.62, Flips(20, 2))
    assert found.difference == pytest.approx(-0.18)
    assert found.low < -0.18 < found.high < 0
    assert found.p is not None and found.p < 0.001
    assert found.state == "lost"
    assert found.regressions == tuple(f"item {i}" for i in range(60, 80))


def test_nothing_changed_is_kept() -> None:
    (found,) = accuracy_results([pairs(80, 0, 0, 20)])
    assert (found.difference, found.p, found.state, found.regressions) == (0.0, 0.5, "kept", ())
    assert -0.05 < found.low < 0 < found.high < 0.05


def test_a_gain_is_no_loss() -> None:
    (found,) = accuracy_results([pairs(60, 2, 20, 18)])
    assert found.state == "kept" and found.p is not None and found.p > 0.99


def test_a_sure_but_small_loss_is_not_lost() -> None:
    (found,) = accuracy_results([pairs(900, 35, 0, 65)])
    assert found.p is not None and found.p < 1e-6 and found.difference == pytest.approx(-0.035)
    assert found.state == "kept"


def test_an_interval_that_allows_much_is_watched() -> None:
    (found,) = accuracy_results([pairs(20, 4, 3, 13)])
    assert found.low < -0.10 and found.state == "watch"
    passed, reasons, advice, notes = judge([found])
    assert passed and reasons == () and advice == ()
    assert notes[0].startswith("watch facts: 0.60 before, 0.57 after (-0.0")


def test_right_options_becoming_unlikely_are_watched() -> None:
    """The answers are all the same, the probability of the right ones fell by 0.2."""
    before = tuple(Outcome(True, 0.9 + 0.001 * (i % 7)) for i in range(120))
    after = tuple(Outcome(True, 0.7 + 0.001 * (i % 5)) for i in range(120))
    (found,) = accuracy_results([Pairs("facts", ("x",) * 120, before, after, 0.25)])
    assert found.details["chance_difference"] == pytest.approx(-0.2, abs=0.01)
    assert found.state == "watch"


def test_many_families_raise_the_bar() -> None:
    """p = .03 is a loss alone, and none among five such tests."""
    one = pairs(40, 9, 2, 9)
    assert accuracy_results([one])[0].state == "lost"
    others = [pairs(55, 0, 0, 5, name=str(i)) for i in range(4)]
    found = accuracy_results([one, *others])[0]
    assert found.p is not None and found.p < 0.05 < found.details["p_holm"]
    assert found.state == "watch"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_never_helps(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    assert sorted(range(len(values)), key=lambda i: (adjusted[i], values[i])) == sorted(
        range(len(values)), key=lambda i: values[i]
    )


def test_false_alarms_are_rare() -> None:
    """Seven families in which one answer in ten changes for no reason: some family is called lost in at most 5 %."""
    draw, alarms, runs = np.random.default_rng(1), 0, 400
    for _ in range(runs):
        families = []
        for n in (96, 124, 52, 120, 44, 36, 36):
            flips = draw.binomial(n, 0.10)
            lost = draw.binomial(flips, 0.5)
            families.append(pairs(n - flips, lost, flips - lost, 0, name=str(n)))
        alarms += any(found.state == "lost" for found in accuracy_results(families))
    assert alarms / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(("n", "flip_rate"), [(124, 0.1), (124, 0.3), (36, 0.1)])
def test_detectable_loss_is_found_eight_times_in_ten(n: int, flip_rate: float) -> None:
    from luthier.evaluate import mid_p_mcnemar

    loss = detectable_loss(n, flip_rate, 0.05)
    flips = max(flip_rate, 0.1, loss)
    draw, found, runs = np.random.default_rng(2), 0, 2000
    for _ in range(runs):
        lost, gained, _ = draw.multinomial(n, [(flips + loss) / 2, (flips - loss) / 2, 1 - flips])
        found += mid_p_mcnemar(int(lost), int(gained)) < 0.05
    assert 0.72 < found / runs < 0.90


def test_detectable_loss_shrinks_with_items_and_is_said() -> None:
    assert detectable_loss(1000, 0.1, 0.05) < detectable_loss(100, 0.1, 0.05) < detectable_loss(30, 0.1, 0.05)
    assert detectable_loss(250, 0.1, 0.05) == pytest.approx(0.05, abs=0.005)
    notes = judge(accuracy_results([pairs(80, 0, 0, 20)]))[3]
    assert notes == ("true losses that are found 8 times in 10 (smaller ones are not): facts 0.08",)


def test_a_base_that_guesses_can_lose_nothing() -> None:
    notes = judge(accuracy_results([pairs(28, 0, 0, 72)]))[3]
    assert "facts: the base itself is hardly better than guessing (0.28), so a loss cannot show here" in notes
    notes = judge(accuracy_results([pairs(1, 0, 0, 35, chance=0.0)]))[3]
    assert "facts: the base itself is right on only 1 of 36, too few for any loss to be sure" in notes
    assert len(judge(accuracy_results([pairs(10, 0, 0, 26, chance=0.0)]))[3]) == 1


@pytest.mark.parametrize(
    ("rise", "state"), [(0.0, "kept"), (0.04, "kept"), (0.06, "watch"), (0.14, "watch"), (0.16, "lost"), (-0.5, "kept")]
)
def test_limits_of_likelihood(rise: float, state: str) -> None:
    found = text_result("text", "nll", texts(0.0, rise))
    assert found.state == state
    assert found.before == pytest.approx(2) and found.after == pytest.approx(2 + rise, abs=0.005)
    assert found.details["perplexity_ratio"] == pytest.approx(math.exp(rise), abs=0.01)


@pytest.mark.parametrize(
    ("kl", "state"), [(0.08, "kept"), (0.12, "watch"), (0.48, "watch"), (0.52, "lost"), (9.0, "lost")]
)
def test_limits_of_divergence(kl: float, state: str) -> None:
    found = text_result("chat", "kl", texts(kl, 0.0))
    assert (found.state, found.before, found.n, found.p) == (state, 0.0, 10, None)
    assert found.after == found.difference == pytest.approx(kl, abs=0.005)
    assert found.low < found.difference < found.high < kl + 0.1  # also beyond 1: these are no differences of scores


def test_the_interval_is_by_text_not_by_token() -> None:
    """Tokens of one text move together: with 8 texts of 100 equal tokens there are 8 values, not 800."""
    values = [0.1 * i for i in range(8)]
    found = text_result("chat", "kl", [TextOutcome((v,) * 100, (1.0,) * 100, (1.0,) * 100) for v in values])
    half = 2.364624 * np.std(values, ddof=1) / math.sqrt(8)
    assert found.low == pytest.approx(np.mean(values) - half, abs=1e-5)
    assert found.high == pytest.approx(np.mean(values) + half, abs=1e-5)


def test_a_ruined_model_gives_finite_numbers() -> None:
    found = text_result("text", "nll", texts(30.0, 900.0))
    assert found.state == "lost" and math.isfinite(found.details["perplexity_ratio"])


def test_the_judgement_says_what_was_lost_and_what_to_do() -> None:
    families = [*accuracy_results([pairs(60, 20, 2, 18)]), text_result("chat", "kl", texts(1.5, 1.0))]
    passed, reasons, advice, _ = judge(families)
    assert not passed
    assert reasons[0].startswith("facts: 0.80 before, 0.62 after (-0.18, 95 % interval -0.2")
    assert "20 of 100 lost, 2 gained" in reasons[0]
    assert reasons[1].startswith("chat: divergence from the base 1.50 nats a token")
    assert "limit 0.50" in reasons[1]
    assert [word for word in ("scale", "epochs") if not any(word in line for line in advice)] == []


def test_saved_and_read_back() -> None:
    families = (*accuracy_results([pairs(60, 20, 2, 18)]), text_result("chat", "kl", texts(1.5, 1.0)))
    passed, reasons, advice, notes = judge(families)
    report = Capability(families, passed, reasons, "abc", "base", "tuned", "quick", False, advice, notes)
    assert Capability.from_dict(json.loads(json.dumps(report.as_dict(), allow_nan=False))) == report
    with pytest.raises(StoreError, match="format 99") as error:
        Capability.from_dict(report.as_dict() | {"format": 99})
    assert "pip install -U luthier" in error.value.fix
