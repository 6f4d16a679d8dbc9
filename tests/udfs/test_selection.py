"""Selection: laws of the quotas, and the greedy rules against their plain definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.selection import deita, k_center, largest_remainder, quota_counts

CELLS = st.sampled_from("abcdefgh")
WEIGHTS = st.dictionaries(CELLS, st.one_of(st.just(0.0), st.floats(1e-9, 1e9)))
SUPPLY = st.dictionaries(CELLS, st.integers(0, 50))


def unit_vectors(n: int, dim: int = 3, seed: int = 0) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("weights", "supply", "total", "expected"),
    [
        ({"a": 3, "b": 2, "c": 1}, {"a": 99, "b": 99, "c": 99}, 60, {"a": 30, "b": 20, "c": 10}),
        ({"a": 3, "b": 2, "c": 1}, {"a": 10, "b": 99, "c": 99}, 40, {"a": 10, "b": 20, "c": 10}),
        ({"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}, 10, {"a": 4, "b": 3, "c": 3}),
        ({"a": 1, "b": 0}, {"a": 3, "b": 9}, 3, {"a": 3, "b": 0}),
        ({"a": 1, "b": 0}, {"a": 3, "b": 9, "c": 9}, 7, {"a": 3, "b": 2, "c": 2}),
        ({"a": 1, "b": 5}, {"a": 2}, 9, {"a": 2, "b": 0}),
        ({}, {}, 5, {}),
    ],
)
def test_quota_golden_values(
    weights: dict[str, float], supply: dict[str, int], total: int, expected: dict[str, int]
) -> None:
    assert quota_counts(weights, supply, total) == expected


@given(weights=WEIGHTS, supply=SUPPLY, total=st.integers(0, 500))
def test_quotas_fill_the_total_under_the_caps_in_any_order(
    weights: dict[str, float], supply: dict[str, int], total: int
) -> None:
    counts = quota_counts(weights, supply, total)
    assert sum(counts.values()) == min(total, sum(supply.values()))
    assert all(0 <= count <= supply.get(cell, 0) for cell, count in counts.items())
    turned = quota_counts(dict(reversed(weights.items())), dict(reversed(supply.items())), total)
    assert turned == counts


@given(weights=WEIGHTS, supply=SUPPLY, total=st.integers(0, 500))
def test_a_cell_with_rows_left_never_gets_less_than_a_lighter_one(
    weights: dict[str, float], supply: dict[str, int], total: int
) -> None:
    counts = quota_counts(weights, supply, total)
    for heavy in weights:
        for light in weights:
            if weights[heavy] > weights[light] and counts[heavy] < supply.get(heavy, 0):
                assert counts[heavy] >= counts[light]


@given(weights=st.dictionaries(CELLS, st.floats(0, 1e9), min_size=1), total=st.integers(0, 10**12))
def test_largest_remainder_sums_exactly_and_stays_within_one_of_the_share(
    weights: dict[str, float], total: int
) -> None:
    counts = largest_remainder(weights, total)
    assert sum(counts.values()) == total
    whole = math.fsum(weights.values())
    for cell, weight in weights.items():
        share = total * (weight / whole if whole else 1 / len(weights))
        assert abs(counts[cell] - share) <= 1 + 1e-3


def test_bad_weights_supplies_and_totals_are_named() -> None:
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight of cell 'law'"):
            quota_counts({"law": weight}, {"law": 1}, 1)
    with pytest.raises(ValueError, match="supply of cell 'law' is negative"):
        quota_counts({}, {"law": -1}, 1)
    with pytest.raises(ValueError, match="total"):
        quota_counts({}, {}, -1)
    with pytest.raises(ValueError, match="no cell to give 3"):
        largest_remainder({}, 3)


def test_k_center_takes_one_row_of_each_far_group_before_a_second() -> None:
    centres = np.eye(4)[np.arange(40) % 4]
    vectors = centres + 0.01 * unit_vectors(40, 4)
    assert set(k_center(vectors, 4, seed=5) % 4) == {0, 1, 2, 3}


def test_k_center_is_seeded_and_never_takes_a_row_twice() -> None:
    vectors = np.repeat(unit_vectors(5), 4, axis=0).astype(np.float16)
    chosen = k_center(vectors, 99, seed=1)
    assert sorted(chosen) == list(range(20))
    assert k_center(vectors, 7, seed=1).tolist() == chosen[:7].tolist()
    assert len({int(k_center(vectors, 1, seed=seed)[0]) for seed in range(20)}) > 1


@pytest.mark.parametrize(("n", "k"), [(0, 3), (3, 0)])
def test_k_center_of_nothing_is_nothing(n: int, k: int) -> None:
    assert k_center(unit_vectors(n), k, seed=0).tolist() == []


def test_k_center_refuses_a_negative_k_and_bad_vectors() -> None:
    with pytest.raises(ValueError, match="k must not be negative"):
        k_center(unit_vectors(2), -1, seed=0)
    with pytest.raises(ValueError, match="row 1"):
        k_center(np.array([[1.0, 0.0], [np.nan, 0.0]]), 1, seed=0)


def deita_by_definition(order: list[int], vectors: NDArray[np.float64], threshold: float) -> list[int]:
    kept: list[int] = []
    for row in order:
        if all(vectors[row] @ vectors[other] <= threshold for other in kept):
            kept.append(row)
    return kept


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 40), block=st.integers(1, 50), threshold=st.floats(-0.5, 0.99), seed=st.integers(0, 99))
def test_deita_equals_its_definition_for_any_block(n: int, block: int, threshold: float, seed: int) -> None:
    vectors = unit_vectors(n, seed=seed)
    order = np.random.default_rng(seed).permutation(n).tolist()
    assert deita(order, vectors, threshold, block).tolist() == deita_by_definition(order, vectors, threshold)


def test_deita_keeps_the_first_of_equal_rows_and_a_cosine_at_the_threshold() -> None:
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    assert deita([2, 0, 3], vectors, 0.9).tolist() == [2, 3]
    assert deita([0, 1, 2], vectors, 1.0).tolist() == [0, 1, 2]


def test_deita_refuses_an_order_that_repeats_and_a_threshold_that_is_no_cosine() -> None:
    with pytest.raises(ValueError, match="twice"):
        deita([0, 0], unit_vectors(1), 0.9)
    with pytest.raises(ValueError, match="from -1 to 1"):
        deita([0], unit_vectors(1), 90)
