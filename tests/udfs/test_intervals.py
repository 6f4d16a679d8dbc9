"""Intervals: known values, edges, and that they hold the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.intervals import bootstrap, jackknife_interval, wilson


def test_wilson_golden_values() -> None:
    low, high = wilson([0, 5, 10], [10, 10, 10])
    np.testing.assert_allclose(low, [0, 0.2366, 0.7225], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=1e-4)


def test_wilson_without_trials_says_nothing() -> None:
    low, high = wilson(0, 0)
    assert (float(low), float(high)) == (0, 1)


@given(n=st.integers(1, 10**6), data=st.data())
def test_wilson_holds_the_share_and_mirrors_it(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson([k, n - k], n)
    assert 0 <= low[0] <= k / n + 1e-12
    assert k / n - 1e-12 <= high[0] <= 1
    assert low[0] == pytest.approx(1 - high[1], abs=1e-12)


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson([1, 3], [2, 2])


def test_bootstrap_of_a_mean_agrees_with_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    value, low, high = bootstrap(values, lambda rows: float(rows.mean()), seed=1)
    assert value == values.mean()
    assert (high - low) / 2 == pytest.approx(1.96 / 20, rel=0.15)


def test_bootstrap_is_seeded_and_takes_rows() -> None:
    rows = np.arange(20.0).reshape(10, 2)

    def top(sample: np.ndarray) -> float:
        return float(sample[:, 1].max())

    assert bootstrap(rows, top, seed=3, rounds=50) == bootstrap(rows, top, seed=3, rounds=50)


def test_bootstrap_refuses_nothing_to_draw_from() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap(np.empty(0), lambda rows: 0.0, seed=0)
    with pytest.raises(ValueError, match="level"):
        bootstrap(np.ones(2), lambda rows: 0.0, seed=0, level=95)


def test_jackknife_of_a_mean_row_by_row_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=30)
    left_out = [float(np.delete(values, i).mean()) for i in range(30)]
    value, low, high = jackknife_interval(float(values.mean()), left_out, [1] * 30)
    assert high - value == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(30))
    assert value - low == pytest.approx(high - value)


def test_jackknife_with_unequal_groups_holds_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    edges = np.cumsum([5, 20, 10, 8, 12, 5, 20, 10, 8, 12, 15, 9, 11])
    held = 0
    for _ in range(300):
        values = random.normal(size=155)
        groups = np.split(values, edges)
        left_out = [float(np.concatenate(groups[:i] + groups[i + 1 :]).mean()) for i in range(len(groups))]
        _, low, high = jackknife_interval(float(values.mean()), left_out, [len(group) for group in groups])
        held += low <= 0 <= high
    assert 0.88 <= held / 300 <= 0.99


@pytest.mark.parametrize(("left_out", "sizes"), [([], []), ([1.0], [5]), ([1.0, 1.0], [5, 0]), ([1.0, 1.0], [5])])
def test_jackknife_refuses_too_few_or_empty_groups(left_out: list[float], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="at least two groups"):
        jackknife_interval(1.0, left_out, sizes)
