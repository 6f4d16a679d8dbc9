"""Similarity: the same pairs and the same cosines for any block, order and side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.similarity import collapse_identical, cosines, pair_blocks, pairs_over, row_dots, unit_rows


def near_copies(n: int, dim: int, seed: int, dtype: type = np.float16) -> np.ndarray:
    """Unit rows around a few centres, so that many cosines lie about .9."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, n // 6), dim))
    rows = centres[random.integers(0, len(centres), n)] + 0.33 * random.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def brute_force(left: np.ndarray, right: np.ndarray, threshold: float) -> dict[tuple[int, int], float]:
    one, other = left.astype(np.float64), right.astype(np.float64)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    score = one @ other.T
    return {(int(i), int(j)): score[i, j] for i, j in zip(*np.nonzero(score >= threshold), strict=True)}


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 70), st.integers(1, 80), st.integers(0, 100), st.sampled_from([np.float16, np.float32]))
def test_equals_brute_force_for_any_block(n: int, block: int, seed: int, dtype: type) -> None:
    vectors = near_copies(n, 24, seed, dtype)
    i, j, cosine = pairs_over(vectors, None, 0.9, block)
    expected = {pair: value for pair, value in brute_force(vectors, vectors, 0.9).items() if pair[0] < pair[1]}
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == sorted(expected)
    assert cosine == pytest.approx([expected[pair] for pair in sorted(expected)], abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70), st.integers(0, 100))
def test_two_sides_give_the_same_bits_whichever_is_left(n: int, m: int, block: int, seed: int) -> None:
    vectors = near_copies(n + m, 24, seed)
    left, right = vectors[:n], vectors[n:]
    i, j, cosine = pairs_over(left, right, 0.85, block)
    back_j, back_i, back = pairs_over(right, left, 0.85)
    order = np.lexsort((back_j, back_i))
    assert np.array_equal(i, back_i[order])
    assert np.array_equal(j, back_j[order])
    assert np.array_equal(cosine, back[order])
    whole_i, whole_j, whole = pairs_over(vectors, None, 0.85)
    across = (whole_i < n) & (whole_j >= n)
    assert np.array_equal(cosine, whole[across])


def test_a_threshold_that_is_a_pairs_own_cosine_includes_it() -> None:
    vectors = near_copies(200, 384, 3)
    _, _, cosine = pairs_over(vectors, None, 0.8)
    for threshold in np.sort(cosine)[::50]:
        found = pairs_over(vectors, None, float(threshold), block=64)[2]
        assert np.array_equal(np.sort(found), np.sort(cosine[cosine >= threshold]))


@pytest.mark.parametrize("dim", [1, 3, 8, 129, 384, 1024, 9000])
def test_a_row_product_does_not_depend_on_the_rows_around_it(dim: int) -> None:
    random = np.random.default_rng(dim)
    a, b = random.normal(size=(2, 37, dim)).astype(np.float32)
    together = row_dots(a, b)
    alone = np.concatenate([row_dots(a[k : k + 1], b[k : k + 1]) for k in range(len(a))])
    columns = np.asfortranarray(a)
    assert np.array_equal(together, alone)
    assert np.array_equal(together, row_dots(b, a))
    assert np.array_equal(together, row_dots(columns, b))
    assert np.array_equal(together[::-1], row_dots(a[::-1], b[::-1]))


def test_equal_rows_have_cosine_one_whatever_their_length() -> None:
    rows = near_copies(500, 384, 1)
    assert (cosines(rows, rows) == 1.0).all()
    assert cosines(rows.astype(np.float32) * 7, rows) == pytest.approx(1.0, abs=1e-15)


def test_many_matching_pairs_come_in_parts() -> None:
    vectors = (np.ones((300, 384)) + 0.01 * np.random.default_rng(0).normal(size=(300, 384))).astype(np.float32)
    parts = list(pair_blocks(vectors, None, 0.9, block=300))
    assert sum(len(i) for i, _, _ in parts) == 300 * 299 // 2
    assert max(len(i) for i, _, _ in parts) < 10_000


def test_nothing_to_compare_gives_nothing() -> None:
    for vectors in (np.empty((0, 4), dtype=np.float32), np.ones((1, 4), dtype=np.float32)):
        i, j, cosine = pairs_over(vectors, None, 0.5)
        assert i.size == j.size == cosine.size == 0
    assert pairs_over(np.empty((0, 4)), np.ones((3, 4)), 0.5)[0].size == 0


@pytest.mark.parametrize(
    ("value", "what"), [(0.0, "is all zeros"), (np.nan, "NaN or infinity"), (np.inf, "NaN or inf")]
)
def test_vectors_without_direction_are_refused_by_row(value: float, what: str) -> None:
    good = np.ones((9000, 300), dtype=np.float32)
    bad = good.copy()
    bad[8123] = value
    with pytest.raises(ValueError, match=f"left: row 8123 .*{what}"):
        pairs_over(bad, None, 0.9)
    with pytest.raises(ValueError, match=f"right: row 8123 .*{what}"):
        pairs_over(good[:2], bad, 0.9)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="left has 3 columns, right 4"):
        pairs_over(np.ones((2, 3)), np.ones((2, 4)), 0.9)
    with pytest.raises(ValueError, match="two dimensions"):
        unit_rows(np.ones(3))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.5, 1.0]), min_size=2, max_size=2), max_size=12))
def test_identical_rows_collapse_to_the_first(rows: list[list[float]]) -> None:
    vectors = np.array(rows, dtype=np.float16).reshape(len(rows), 2)
    assert collapse_identical(vectors).tolist() == [rows.index(row) for row in rows]
