"""Diversity measures in closed form against their n x n definitions, at the edges, and with intervals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.diversity import (
    VENDI_ORDERS,
    all_intervals,
    all_measures,
    jackknife,
    log_det,
    mean_cosine,
    remote_clique,
    rke,
    spectrum,
    vendi,
)
from udfs.moments import Moments, in_own_space, merge, moments_of

Floats = NDArray[np.float64]


def unit_vectors(n: int, dim: int, seed: int = 0, copies_of: int = 0) -> Floats:
    """Random unit rows of uneven spectrum; with `copies_of`, rows drawn from that many different ones."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(copies_of or n, dim)) * np.arange(1, dim + 1) ** -0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[random.integers(0, copies_of, n)] if copies_of else rows


def by_definition(vectors: Floats) -> dict[str, float]:
    """Every measure from the n x n kernel, as the papers write it."""
    kernel = vectors @ vectors.T
    n = len(kernel)
    values = np.linalg.eigvalsh(kernel / n)
    values = values[values > 1e-12]
    found = {f"vendi_q{q:g}": float(np.sum(values**q) ** (1 / (1 - q))) for q in (0.1, 0.5, 2)}
    return found | {
        "vendi_q1": float(np.exp(-np.sum(values * np.log(values)))),
        "vendi_qinf": float(1 / values[-1]),
        "rke": float(1 / np.sum((kernel / n) ** 2)),
        "remote_clique": float(np.mean(1 - kernel)),
        "mean_cosine": float((kernel.sum() - np.trace(kernel)) / (n * (n - 1))),
        "log_det": float(np.linalg.slogdet(np.eye(n) + kernel)[1]),
    }


@pytest.mark.parametrize("copies_of", [0, 5])
@pytest.mark.parametrize(("n", "dim"), [(2, 7), (20, 64), (64, 64), (300, 24)])
def test_closed_forms_equal_the_definitions(n: int, dim: int, copies_of: int) -> None:
    vectors = unit_vectors(n, dim, copies_of=copies_of)
    assert all_measures(moments_of(vectors)) == pytest.approx(by_definition(vectors), rel=1e-6, abs=1e-6)


def test_half_floats_equal_the_definitions_on_the_same_stored_vectors() -> None:
    stored = unit_vectors(200, 48).astype(np.float16)
    read = stored.astype(np.float64)
    read /= np.linalg.norm(read, axis=1, keepdims=True)
    assert all_measures(moments_of(stored)) == pytest.approx(by_definition(read), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("copies_of", [0, 20])
def test_float32_blocks_of_a_large_set_are_right_to_a_millionth(copies_of: int) -> None:
    vectors = unit_vectors(6000, 48, copies_of=copies_of).astype(np.float16)
    exact = moments_of(vectors[:2000]).add(moments_of(vectors[2000:4000])).add(moments_of(vectors[4000:]))
    assert all_measures(moments_of(vectors)) == pytest.approx(all_measures(exact), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dim", [8, 384])
def test_many_equal_rows_count_as_one(dim: int) -> None:
    found = all_measures(moments_of(np.repeat(unit_vectors(1, dim), 6000, axis=0).astype(np.float16)))
    alone = {f"vendi_q{q:g}": 1.0 for q in VENDI_ORDERS} | {"rke": 1.0, "remote_clique": 0.0, "mean_cosine": 1.0}
    assert found == pytest.approx(alone | {"log_det": math.log(6001)}, abs=1e-5)
    assert min(found.values()) >= 0


def test_golden_values_of_two_pairs_of_equal_rows() -> None:
    moments = moments_of(np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    two = {f"vendi_q{q:g}": 2.0 for q in VENDI_ORDERS}
    expected = two | {"rke": 2.0, "remote_clique": 0.5, "mean_cosine": 1 / 3, "log_det": math.log(9)}
    assert all_measures(moments) == pytest.approx(expected)


def test_single_functions_agree_with_all_measures() -> None:
    moments = moments_of(unit_vectors(50, 8))
    found = all_measures(moments)
    assert [vendi(moments, q) for q in VENDI_ORDERS] == [found[f"vendi_q{q:g}"] for q in VENDI_ORDERS]
    assert (rke(moments), remote_clique(moments)) == (found["rke"], found["remote_clique"])
    assert (log_det(moments), mean_cosine(moments)) == (found["log_det"], found["mean_cosine"])
    assert found["rke"] == pytest.approx(found["vendi_q2"])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), dim=st.integers(1, 12), seed=st.integers(0, 99), twin=st.booleans())
def test_scores_stay_in_their_bounds_and_fall_with_the_order(n: int, dim: int, seed: int, twin: bool) -> None:
    moments = moments_of(unit_vectors(n, dim, seed, copies_of=min(n, 2) if twin else 0))
    scores = [vendi(moments, q) for q in VENDI_ORDERS]
    assert all(1 - 1e-9 <= score <= min(n, dim) + 1e-6 for score in scores)
    assert all(a >= b - 1e-9 for a, b in pairwise(scores))
    assert spectrum(moments).sum() == pytest.approx(1)


def test_no_rows_have_no_measure_and_one_row_has_all_but_the_mean_cosine() -> None:
    none, one = moments_of(np.empty((0, 3))), moments_of(np.eye(3)[:1])
    assert all_measures(none) == {}
    alone = {f"vendi_q{q:g}": 1.0 for q in VENDI_ORDERS} | {"rke": 1.0, "remote_clique": 0.0, "log_det": math.log(2)}
    assert all_measures(one) == pytest.approx(alone)


@pytest.mark.parametrize(
    ("measure", "rows"), [(vendi, 0), (rke, 0), (remote_clique, 0), (log_det, 0), (mean_cosine, 1)]
)
def test_a_measure_that_is_undefined_says_so(measure: object, rows: int) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match="needs at least"):
        measure(moments_of(np.eye(3)[:rows]))


def test_an_order_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        vendi(moments_of(np.eye(2)), 0)


def groups_of(vectors: Floats, count: int) -> list[Moments]:
    return [moments_of(vectors[start::count]) for start in range(count)]


def test_the_jackknife_interval_of_the_mean_cosine_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        rows = np.random.default_rng(seed).normal(loc=(1, 0, 0, 0), size=(200, 4))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        value, low, high = jackknife(groups_of(rows, 20), mean_cosine)
        assert low <= value <= high
        held += low <= 0.1886 <= high  # |E x|^2, from 2 * 10^7 draws
    assert 0.88 <= held / 200 <= 1


def test_all_intervals_equal_the_single_ones_and_skip_empty_groups() -> None:
    groups = groups_of(unit_vectors(90, 6), 8)
    found = all_intervals([*groups, moments_of(np.empty((0, 6)))])
    assert set(found) == set(all_measures(groups[0]))
    assert found["vendi_q1"] == pytest.approx(jackknife(groups, vendi))
    assert found["mean_cosine"] == pytest.approx(jackknife(groups, mean_cosine))


@pytest.mark.parametrize("copies_of", [0, 5])
@pytest.mark.parametrize("n", [2, 20, 60])
def test_in_their_own_space_few_rows_have_the_same_measures_and_intervals(n: int, copies_of: int) -> None:
    groups = [moments_of(part) for part in np.array_split(unit_vectors(n, 128, copies_of=copies_of), 4)]
    own = in_own_space(groups)
    assert own[0].dim <= n
    assert all_measures(merge(own)) == pytest.approx(all_measures(merge(groups)), rel=1e-9, abs=1e-9)
    expected = all_intervals(groups)
    for name, interval in all_intervals(own).items():
        assert tuple(interval) == pytest.approx(tuple(expected[name]), rel=1e-6, abs=1e-6)


def test_many_rows_and_none_stay_in_the_space_of_the_model() -> None:
    for n in (0, 64):
        groups = [moments_of(unit_vectors(n, 128)), moments_of(unit_vectors(0, 128))]
        assert in_own_space(groups) is groups


def test_intervals_that_do_not_exist_are_left_out() -> None:
    one, none = moments_of(np.eye(3)[:1]), moments_of(np.empty((0, 3)))
    assert all_intervals([one, none]) == {}
    assert "mean_cosine" not in all_intervals([one, one])
    assert all_intervals([one, one])["rke"] == pytest.approx((1, 1, 1))
    with pytest.raises(ValueError, match="at least two groups"):
        jackknife([one, none], rke)
