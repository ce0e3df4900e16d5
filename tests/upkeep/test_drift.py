"""Drift tests hold their level where nothing drifts, and see what does."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.upkeep import Window
from luthier.upkeep._drift import auc_interval, compare_inputs, mmd_test


def texts(rng: np.random.Generator, n: int, shift: float = 0.0, length: int = 20) -> list[str]:
    """Texts that stand for points: the number in front of each is the first coordinate."""
    return [f"{value:.6f} " + "x" * int(length * rng.uniform(0.5, 1.5)) for value in rng.normal(shift, 1, n)]


def embed(items) -> np.ndarray:
    """Vectors of length 1: the point and fixed noise from the text itself."""
    first = np.array([float(text.split()[0]) for text in items])
    noise = np.array([np.random.default_rng(list(text.encode())).normal(size=7) for text in items])
    vectors = np.column_stack([first, noise])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_too_few_inputs_are_counted_and_nothing_is_embedded():
    def never(_):
        raise AssertionError("embedded")

    drift = compare_inputs(["a"] * 190, ["b"] * 3, never)
    assert (drift.missing_logged, drift.missing_reference) == (197, 10)
    assert not drift.alarm and drift.windows == () and not drift.length_shift


def test_the_same_source_gives_no_alarm():
    rng = np.random.default_rng(1)
    drift = compare_inputs(texts(rng, 300), texts(rng, 250), embed)
    (window,) = drift.windows
    assert window.p > 0.01 and window.auc < 0.6 and window.auc_low < 0.5 < window.auc_high
    assert not drift.alarm and not drift.length_shift


def test_another_source_alarms_and_names_the_most_unlike():
    rng = np.random.default_rng(2)
    logged = texts(rng, 100) + texts(rng, 100, shift=4.0)
    drift = compare_inputs(texts(rng, 250), logged, embed)
    (window,) = drift.windows
    assert drift.alarm and window.p == 0.001 and window.auc_low > 0.65
    assert len(drift.most_unlike) == 50 and sum(i >= 100 for i in drift.most_unlike) >= 48


def test_with_enough_inputs_two_windows_must_alarm():
    rng = np.random.default_rng(3)
    reference, same, moved = texts(rng, 300), texts(rng, 200), texts(rng, 200, shift=4.0)
    fresh = compare_inputs(reference, same + moved, embed)
    assert [window.alarm for window in fresh.windows] == [False, True] and not fresh.alarm
    lasting = compare_inputs(reference, same[:50] + moved + texts(rng, 250, shift=4.0), embed)
    assert [window.logged for window in lasting.windows] == [250, 250]
    assert lasting.alarm and min(lasting.most_unlike) >= 250


def test_a_difference_that_is_significant_but_small_is_no_alarm():
    small = Window(1000, 1000, 0.01, 0.001, 0.60, 0.58, 0.62)
    rare = Window(200, 200, 0.01, 0.02, 0.70, 0.60, 0.80)
    assert not small.alarm and not rare.alarm
    assert Window(200, 200, 0.01, 0.009, 0.66, 0.60, 0.72).alarm


def test_longer_inputs_are_noted():
    rng = np.random.default_rng(4)
    drift = compare_inputs(texts(rng, 250), texts(rng, 250, length=60), embed)
    assert drift.length_shift and 1.8 < drift.length_ratio < 3.2


def test_the_comparison_is_the_same_every_time():
    rng = np.random.default_rng(5)
    reference, logged = texts(rng, 1200), texts(rng, 220)
    assert compare_inputs(reference, logged, embed) == compare_inputs(reference, logged, embed)


def test_equal_inputs_on_both_sides_are_no_drift():
    drift = compare_inputs(["1.0 same"] * 200, ["1.0 same"] * 200, embed)
    (window,) = drift.windows
    assert window.p == 1.0 and window.auc == 0.5 and not drift.alarm


def test_mmd_is_the_textbook_sum():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(9, 3)), rng.normal(0.5, 1, size=(7, 3))
    both = np.concatenate([x, y])
    squared = [((a - b) ** 2).sum() for i, a in enumerate(both) for b in both[:i]]
    width = np.median(squared)

    def mean(p, q, same):
        values = [
            np.exp(-((a - b) ** 2).sum() / width)
            for i, a in enumerate(p)
            for j, b in enumerate(q)
            if not same or i != j
        ]
        return np.mean(values)

    wanted = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    assert mmd_test(x, y, rng)[0] == pytest.approx(wanted, abs=1e-12)


def test_mmd_keeps_its_level():
    """p < .05 in about 5 % of samples from one source (100 samples: 95 % of runs give 1 to 10)."""
    rng = np.random.default_rng(7)
    low = sum(mmd_test(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), rng)[1] < 0.05 for _ in range(100))
    assert 1 <= low <= 10


def test_auc_interval_is_the_mann_whitney_share_and_covers():
    positive, negative = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0])
    wins = [float(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc_interval(positive, negative)[0] == pytest.approx(np.mean(wins))
    rng = np.random.default_rng(8)
    true = 0.7602  # of N(1, 1) against N(0, 1): Phi(1 / sqrt 2)
    intervals = [auc_interval(rng.normal(1, 1, 200), rng.normal(0, 1, 200)) for _ in range(300)]
    assert 0.91 <= np.mean([low <= true <= high for _, low, high in intervals]) <= 0.98
