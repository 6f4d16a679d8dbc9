"""Moments: what they hold, that they add and subtract, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.moments import EXACT_ROWS, Moments, merge, moments_of


def unit_vectors(n: int, dim: int, seed: int = 0) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def assert_same(a: Moments, b: Moments, tolerance: float = 1e-12) -> None:
    assert (a.n, a.exact) == (b.n, b.exact)
    np.testing.assert_allclose(a.s1, b.s1, atol=tolerance)
    np.testing.assert_allclose(a.s2, b.s2, atol=tolerance)


def test_golden_values() -> None:
    found = moments_of(np.array([[1.0, 0.0], [0.6, 0.8]]))
    assert found.n == 2
    np.testing.assert_allclose(found.s1, [1.6, 0.8])
    np.testing.assert_allclose(found.s2, [[1.36, 0.48], [0.48, 0.64]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_brought_to_exact_length_in_every_float_type(dtype: type[np.floating]) -> None:
    assert np.trace(moments_of(unit_vectors(100, 48).astype(dtype)).s2) == pytest.approx(100, abs=1e-10)


def test_large_sets_in_float32_blocks_stay_within_the_stated_error() -> None:
    vectors = unit_vectors(3 * EXACT_ROWS, 32).astype(np.float16)
    exact = merge(moments_of(part) for part in np.array_split(vectors, 4))
    blocked = moments_of(vectors)
    assert exact.exact
    assert not blocked.exact
    np.testing.assert_allclose(blocked.s2 / blocked.n, exact.s2 / exact.n, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 40), cut=st.integers(0, 40), dim=st.integers(1, 9), seed=st.integers(0, 99))
def test_adding_parts_gives_the_whole_and_subtracting_gives_the_rest(n: int, cut: int, dim: int, seed: int) -> None:
    vectors = unit_vectors(n, dim, seed)
    head, tail = moments_of(vectors[:cut]), moments_of(vectors[cut:])
    whole = moments_of(vectors)
    assert_same(head.add(tail), whole)
    assert_same(whole.subtract(head), tail)


@pytest.mark.parametrize("n", [3, 7, EXACT_ROWS + 1])
def test_a_packed_row_comes_back_the_same(n: int) -> None:
    moments = moments_of(unit_vectors(n, 5))
    assert_same(Moments.from_row(moments.to_row()), moments, tolerance=0)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 40), copies_of=st.integers(1, 40), seed=st.integers(0, 99))
def test_few_rows_come_back_the_same_up_to_rounding(n: int, copies_of: int, seed: int) -> None:
    moments = moments_of(unit_vectors(copies_of, 100, seed)[np.arange(n) % copies_of])
    assert_same(Moments.from_row(moments.to_row()), moments, tolerance=1e-12)


def test_a_packed_row_holds_one_triangle_and_of_few_rows_not_more_than_these() -> None:
    assert len(moments_of(unit_vectors(192, 384)).to_row()) == 24 + 8 * (384 + 384 * 385 // 2)
    assert len(moments_of(unit_vectors(191, 384)).to_row()) == 24 + 8 * (384 + 384 * 191)
    assert len(moments_of(unit_vectors(3, 384)).to_row()) == 24 + 8 * (384 + 384 * 3)


@pytest.mark.parametrize(
    ("row", "why"), [(b"nonsense", "not packed moments"), (b"", "not packed"), (None, "cut on the way")]
)
def test_bytes_that_are_no_packed_moments_are_refused(row: bytes | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Moments.from_row(moments_of(unit_vectors(3, 4)).to_row()[:-8] if row is None else row)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(bad: float) -> None:
    vectors = unit_vectors(5000, 4).astype(np.float32)
    vectors[4321, 2] = bad
    with pytest.raises(ValueError, match="row 4321: the vector holds NaN or infinity"):
        moments_of(vectors)


def test_a_row_that_is_not_of_length_one_is_named() -> None:
    vectors = unit_vectors(10, 4)
    vectors[7] *= 0.5
    with pytest.raises(ValueError, match=r"row 7: the vector has length 0\.5, not 1"):
        moments_of(vectors)


def test_zero_vectors_wrong_shapes_and_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="row 0: the vector has length 0"):
        moments_of(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="shape"):
        moments_of(np.ones(3))
    with pytest.raises(ValueError, match="int64"):
        moments_of(np.eye(3, dtype=np.int64))


def test_other_dimensions_and_rows_never_added_are_refused() -> None:
    two, three = moments_of(unit_vectors(1, 2)), moments_of(unit_vectors(2, 3))
    with pytest.raises(ValueError, match="embedding models"):
        two.add(three)
    with pytest.raises(ValueError, match="cannot take 2 rows out of 1"):
        moments_of(unit_vectors(1, 3)).subtract(three)
