"""Cells: the answer for a vector is that of float64, and hangs on no other vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.cells import REACH, SEARCHED, Cells, CellSearch

THRESHOLD = 0.9


def unit(rows: np.ndarray, dtype: type = np.float16) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def random_cells(coarse: int, fine: int, dim: int = 16, seed: int = 0) -> Cells:
    random = np.random.default_rng(seed)
    centres = unit(random.normal(size=(coarse, dim)))
    parent = np.sort(np.concatenate([np.arange(coarse), random.integers(0, coarse, max(0, fine - coarse))]))
    near = centres[parent].astype(np.float64) + 0.6 * random.normal(size=(len(parent), dim)) / np.sqrt(dim)
    return Cells(centres, unit(near), parent.astype(np.int32))


def exact_cells(vector: np.ndarray, cells: Cells, probes: int) -> list[int]:
    """The rule itself, in float64: the nearest coarse cells, the nearest fine ones in them, and no guest cell beyond the reach."""

    def length_1(rows: np.ndarray) -> np.ndarray:
        wide = rows.astype(np.float64)
        return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)

    x = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    coarse, fine = length_1(cells.coarse), length_1(cells.fine)
    near = np.lexsort((np.arange(len(coarse)), -(coarse @ x)))[: max(SEARCHED, probes)]
    open_cells = np.flatnonzero(np.isin(cells.parent, near))
    scores = fine @ x
    best = open_cells[np.lexsort((open_cells, -scores[open_cells]))][:probes]
    reach = REACH * np.sqrt(2 - 2 * THRESHOLD)
    plane = [(scores[best[0]] - scores[c]) - reach * np.linalg.norm(fine[best[0]] - fine[c]) for c in best]
    return [int(c) if p == 0 or plane[p] <= 0 else -1 for p, c in enumerate(best)]


@pytest.mark.parametrize(("coarse", "fine"), [(1, 1), (1, 30), (20, 20), (30, 200)])
@pytest.mark.parametrize("probes", [1, 2, 4])
def test_a_vector_is_placed_as_float64_says(coarse: int, fine: int, probes: int) -> None:
    cells = random_cells(coarse, fine)
    vectors = unit(np.random.default_rng(1).normal(size=(300, 16)))
    placed = CellSearch(cells, probes, THRESHOLD).place(vectors)
    expected = [exact_cells(vector, cells, min(probes, len(cells))) for vector in vectors]
    assert placed.cells.tolist() == expected
    home = cells.fine[placed.cells[:, 0]].astype(np.float64)
    cosine = (vectors * home).sum(axis=1) / np.linalg.norm(vectors.astype(float), axis=1) / np.linalg.norm(home, axis=1)
    assert placed.cosine == pytest.approx(cosine, abs=1e-4)


@given(st.integers(0, 200), st.integers(0, 1000))
def test_no_other_vector_matters(cut: int, seed: int) -> None:
    cells = random_cells(30, 200)
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(200, 16)))
    # Twins and centres themselves, where float32 alone can not decide.
    vectors[:10] = cells.fine[:10]
    search = CellSearch(cells, 2, THRESHOLD)
    whole = search.place(vectors).cells
    order = random.permutation(200)
    assert np.array_equal(search.place(vectors[order]).cells, whole[order])
    halves = [search.place(part).cells for part in (vectors[:cut], vectors[cut:])]
    assert np.array_equal(np.concatenate(halves), whole)


def test_equal_centres_are_ties_that_the_lower_number_wins() -> None:
    centre = unit(np.ones((1, 8)))
    cells = Cells(
        np.repeat(centre, 12, axis=0), np.repeat(centre, 40, axis=0), np.sort(np.arange(40) % 12).astype(np.int32)
    )
    placed = CellSearch(cells, 3, THRESHOLD).place(unit(np.random.default_rng(0).normal(size=(50, 8))))
    assert placed.cells.tolist() == [[0, 1, 2]] * 50


def test_two_levels_find_nearly_what_one_finds() -> None:
    cells = random_cells(40, 1500, dim=64)
    flat = Cells(cells.coarse[:1], cells.fine, np.zeros(len(cells), np.int32))
    near = cells.fine[np.random.default_rng(2).integers(0, len(cells), 4000)].astype(np.float64)
    vectors = unit(near + 0.8 * np.random.default_rng(3).normal(size=near.shape) / 8)
    two, one = (CellSearch(which, 1, THRESHOLD).place(vectors).cells for which in (cells, flat))
    assert (two == one).mean() > 0.98


def test_vectors_without_direction_are_refused_by_row() -> None:
    vectors = np.ones((9000, 4), np.float16)
    vectors[8500] = 0
    with pytest.raises(ValueError, match="row 8500 is all zeros"):
        CellSearch(random_cells(1, 3, 4), 1, THRESHOLD).place(vectors)


def test_no_vectors_have_no_place() -> None:
    assert CellSearch(random_cells(1, 3), 2, THRESHOLD).place(np.empty((0, 16), np.float16)).cells.shape == (0, 2)
