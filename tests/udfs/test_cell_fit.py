"""Fitted cells: as many as the rows need, even with crowds in them, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from udfs.cell_fit import FLAT, fit_cells, mean_cosine
from udfs.cells import CellSearch

THRESHOLD = 0.9

faiss = pytest.importorskip("faiss")


def topics(n: int, count: int, spread: float, dim: int = 32, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, dim))
    rows = centres[random.integers(0, count, n)] / np.sqrt(dim) + spread * random.normal(size=(n, dim)) / np.sqrt(dim)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def sizes(cells, vectors: np.ndarray) -> np.ndarray:
    return np.bincount(CellSearch(cells, 1, THRESHOLD).place(vectors).cells[:, 0], minlength=len(cells))


@pytest.mark.parametrize("k", [1, 20, FLAT, 200])
def test_there_are_about_as_many_cells_as_asked_for(k: int) -> None:
    vectors = topics(8000, 300, 0.7)
    cells = fit_cells(vectors, 8000, 8000 // k, THRESHOLD, seed=1)
    assert 0.7 * k <= len(cells) <= 1.3 * k + 1
    assert (len(cells.coarse) > 1) == (k > FLAT)
    assert sorted(cells.parent.tolist()) == cells.parent.tolist()
    assert set(cells.parent.tolist()) == set(range(len(cells.coarse)))


def test_a_sample_stands_for_more_rows() -> None:
    vectors = topics(4000, 100, 0.7)
    assert len(fit_cells(vectors, 400_000, 4000, THRESHOLD, seed=1)) == pytest.approx(100, rel=0.3)


def test_the_same_sample_gives_the_same_cells() -> None:
    vectors = topics(3000, 100, 0.7)
    one, other = (fit_cells(vectors, 3000, 30, THRESHOLD, seed=5) for _ in range(2))
    assert np.array_equal(one.fine, other.fine)
    assert np.array_equal(one.coarse, other.coarse)


def test_a_crowd_that_is_no_duplicates_is_divided() -> None:
    crowd = topics(3000, 1, 0.8, seed=3)
    vectors = np.concatenate([crowd, topics(7000, 200, 0.7)])[np.random.default_rng(0).permutation(10_000)]
    cells = fit_cells(vectors, 10_000, 100, THRESHOLD, seed=1)
    assert sizes(cells, vectors).max() < 800


def test_a_crowd_of_duplicates_is_one_cell() -> None:
    """To cut rows that are nearly all alike would hide most of their pairs."""
    crowd = topics(3000, 1, 0.15, seed=3)
    assert np.quantile((crowd[:500].astype(np.float32) @ crowd[500:1000].astype(np.float32).T), 0.1) > THRESHOLD
    vectors = np.concatenate([crowd, topics(7000, 200, 0.7)])[np.random.default_rng(0).permutation(10_000)]
    cells = fit_cells(vectors, 10_000, 100, THRESHOLD, seed=1)
    home = CellSearch(cells, 1, THRESHOLD).place(crowd).cells[:, 0]
    assert np.bincount(home).max() > 2900


def test_rows_unlike_those_fitted_are_further_from_their_centroids() -> None:
    fitted, other = topics(4000, 100, 0.7), topics(4000, 100, 0.7, seed=9)
    cells = fit_cells(fitted, 4000, 40, THRESHOLD, seed=1)
    assert mean_cosine(cells, fitted) > 0.7
    assert mean_cosine(cells, other) < mean_cosine(cells, fitted) - 0.2


def test_what_can_not_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="sample is empty"):
        fit_cells(np.empty((0, 4), np.float16), 10, 5, THRESHOLD, seed=0)
    with pytest.raises(ValueError, match="sample: row 0 is all zeros"):
        fit_cells(np.zeros((1, 4), np.float16), 10, 5, THRESHOLD, seed=0)
