"""Clustering: centroids that repeat bit for bit, and nearest centroids that depend on the row alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.clustering import cluster_count, fit_centroids, nearest


def unit(rows: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def blobs(n: int, dim: int = 32, seed: int = 0, centres: int = 8) -> np.ndarray:
    random = np.random.default_rng(seed)
    return unit(random.normal(size=(centres, dim))[np.arange(n) % centres] + 0.2 * random.normal(size=(n, dim)))


def test_cluster_count_grows_with_rows() -> None:
    assert [cluster_count(n, 1000) for n in (0, 1, 1000, 1001, 250_000)] == [1, 1, 1, 2, 250]
    with pytest.raises(ValueError, match="target_size"):
        cluster_count(10, 0)


def test_centroids_find_the_blobs_and_repeat_bit_for_bit() -> None:
    faiss = pytest.importorskip("faiss")
    threads = faiss.omp_get_max_threads()
    sample = blobs(800)
    first = fit_centroids(sample, 8, seed=5)
    assert np.array_equal(first, fit_centroids(sample.copy(), 8, seed=5))
    assert np.linalg.norm(first, axis=1) == pytest.approx(1.0, abs=1e-5)
    cells = nearest(sample, first, 1)[:, 0]
    purity = sum(np.bincount(cells[k::8]).max() for k in range(8)) / len(sample)
    assert purity > 0.6
    assert faiss.omp_get_max_threads() == threads


def test_seed_decides_the_start() -> None:
    pytest.importorskip("faiss")
    sample = unit(np.random.default_rng(1).normal(size=(500, 16)))
    assert not np.array_equal(fit_centroids(sample, 20, seed=1), fit_centroids(sample, 20, seed=2))


def test_fewer_different_rows_than_clusters_give_those_rows() -> None:
    rows = unit(np.eye(4))
    assert np.array_equal(fit_centroids(rows, 9, seed=0), rows)
    assert np.array_equal(fit_centroids(rows[[2, 0, 2, 0, 0]], 3, seed=0), rows[[2, 0]])
    assert np.array_equal(fit_centroids(3 * rows[:1], 1, seed=0), rows[:1])


def test_skewed_and_cancelling_samples_still_give_unit_centroids() -> None:
    pytest.importorskip("faiss")
    skewed = np.concatenate([np.repeat(unit(np.ones((1, 8))), 300, axis=0), blobs(12, dim=8)])
    opposite = np.concatenate([np.eye(8), -np.eye(8)])
    for sample in (skewed, opposite):
        for k in (1, 2, 5, 10):
            made = fit_centroids(sample, k, seed=0)
            assert 1 <= len(made) <= k
            assert np.linalg.norm(made, axis=1) == pytest.approx(1.0, abs=1e-3)


def test_samples_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(ValueError, match="k must be 1"):
        fit_centroids(np.eye(3), 0, seed=0)
    with pytest.raises(ValueError, match="sample is empty"):
        fit_centroids(np.empty((0, 3)), 2, seed=0)
    with pytest.raises(ValueError, match="sample: row 1 is all zeros"):
        fit_centroids(np.array([[1.0, 0.0], [0.0, 0.0]]), 2, seed=0)


def exact_nearest(vectors: np.ndarray, centroids: np.ndarray, probes: int) -> list[list[int]]:
    wide = [
        [(-(v.astype(np.float64) * c.astype(np.float64)).sum(), j) for j, c in enumerate(centroids)] for v in vectors
    ]
    return [[j for _, j in sorted(row)[:probes]] for row in wide]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 1000), st.data())
def test_same_answer_for_any_split_and_order(n: int, k: int, probes: int, seed: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(n, 24)), np.float16)
    # Centroids a hair apart and exact twins: float32 alone cannot order them.
    centroids = unit(
        random.normal(size=(1, 24)) + random.choice([0.0, 1e-7, 1e-5, 1.0], (k, 1)) * random.normal(size=(k, 24))
    )
    centroids[random.integers(0, k)] = centroids[0]
    whole = nearest(vectors, centroids, probes)
    assert whole.dtype == np.int32
    assert whole.tolist() == exact_nearest(vectors, centroids, probes)
    cut = data.draw(st.integers(0, n))
    assert np.array_equal(
        whole, np.concatenate([nearest(vectors[:cut], centroids, probes), nearest(vectors[cut:], centroids, probes)])
    )
    order = random.permutation(n)
    assert np.array_equal(whole[order], nearest(vectors[order], centroids, probes))


def test_same_answer_across_blocks() -> None:
    random = np.random.default_rng(4)
    centroids = unit(random.normal(size=(2000, 8)))
    vectors = unit(random.normal(size=(5000, 8)))
    whole = nearest(vectors, centroids, 3)
    some = [0, 2096, 2097, 2098, 4999]
    assert whole[some].tolist() == exact_nearest(vectors[some], centroids, 3)
    assert np.array_equal(whole[::-1], nearest(vectors[::-1], centroids, 3))


def test_more_probes_than_centroids_give_all() -> None:
    assert nearest(np.array([[0.6, 0.8]]), np.eye(2, dtype=np.float32), 5).tolist() == [[1, 0]]


def test_wrong_input_is_refused() -> None:
    good = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="probes"):
        nearest(good, good, 0)
    with pytest.raises(ValueError, match="unit length"):
        nearest(good, 3 * good, 1)
    with pytest.raises(ValueError, match="unit length"):
        nearest(good, good[:0], 1)
    with pytest.raises(ValueError, match="vectors: row 1 holds NaN"):
        nearest(np.array([[1.0, 0.0], [np.nan, 0.0]]), good, 1)
