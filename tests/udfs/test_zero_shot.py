"""Zero-shot labels: the nearest prototype wins, and the levels come out in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.zero_shot import CUTS, LEVELS, Prototypes, difficulty_scores, label

DIM = 16


def units(rows: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, DIM))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


PROTOTYPES = Prototypes(("algebra", "algebra", "botany"), units(3, 1), units(len(LEVELS), 2))


def test_a_prototype_gets_its_own_field_with_cosine_one() -> None:
    found = label(PROTOTYPES.fields, PROTOTYPES)
    assert found.field == ["algebra", "algebra", "botany"]
    assert found.score == pytest.approx(1.0, abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_rows_are_labelled_each_by_itself(seed: int, n: int) -> None:
    vectors = units(n, seed)
    together = label(vectors, PROTOTYPES)
    for i in range(n):
        alone = label(vectors[i : i + 1], PROTOTYPES)
        assert alone.field[0] == together.field[i]
        assert alone.difficulty_score[0] == pytest.approx(together.difficulty_score[i], abs=1e-5)
    assert set(together.difficulty.tolist()) <= {1, 2, 3, 4, 5}
    assert np.all((together.difficulty_score >= 1) & (together.difficulty_score <= 5))


def test_a_level_description_scores_near_its_own_level() -> None:
    levels = [level for level, _ in LEVELS]
    cosine = np.where(np.eye(len(levels)) > 0, 1.0, 0.2).astype(np.float32)
    assert difficulty_scores(cosine, levels) == pytest.approx(levels, abs=0.01)


def test_equal_likeness_to_all_levels_is_the_mean_level() -> None:
    flat = np.full((1, len(LEVELS)), 0.3, dtype=np.float32)
    assert difficulty_scores(flat, [level for level, _ in LEVELS]) == pytest.approx(3.0)


def test_a_higher_score_is_never_an_easier_level() -> None:
    assert list(CUTS) == sorted(CUTS)
    assert len(CUTS) == 4


def test_no_rows_give_no_labels() -> None:
    found = label(np.empty((0, DIM), np.float32), PROTOTYPES)
    assert found.field == []
    assert found.difficulty.size == 0
