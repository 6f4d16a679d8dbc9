"""Zero-shot labels from embeddings: the discipline by label descriptions as prototypes, the difficulty by descriptions of levels.

Our own choice, and a weak one for difficulty: it stands in until an annotator is distilled from labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = (
    (1, "A simple everyday fact that a young child can recall, told in easy words."),
    (1, "A basic question for primary school: name it, count it, or say what it is."),
    (2, "A basic definition from a school lesson that is applied directly."),
    (2, "A middle school exercise solved in one direct step with a known rule."),
    (3, "A high school problem that needs several steps and standard formulas."),
    (3, "An introductory college explanation that relates causes, effects and conditions."),
    (4, "An advanced undergraduate topic that combines several theories and their assumptions."),
    (4, "A demanding technical derivation that brings several ideas together."),
    (5, "A graduate-level research problem with formal proofs and specialised theory."),
    (5, "An olympiad competition problem that even experts find hard."),
)
# Softmax temperature over cosines, and the scores between levels: quintiles of the score over mixed textbook and exam texts.
TEMPERATURE = 0.05
CUTS = (2.4, 2.8, 3.1, 3.5)


@dataclass(frozen=True)
class Prototypes:
    """Unit vectors of the field prototypes (p, d) with their field ids, and of the level descriptions (q, d)."""

    field_ids: tuple[str, ...]
    fields: NDArray[np.float32]
    levels: NDArray[np.float32]


@dataclass(frozen=True)
class Labels:
    """Per row: the nearest field, its cosine, the difficulty 1..5 and the score it was cut from."""

    field: list[str]
    score: NDArray[np.float64]
    difficulty: NDArray[np.int32]
    difficulty_score: NDArray[np.float64]


def label(vectors: NDArray[np.float32], prototypes: Prototypes) -> Labels:
    """Labels unit vectors of shape (n, d): the field by the best of its prototypes, the difficulty by a softmax over level descriptions."""
    cosine = vectors @ prototypes.fields.T
    best = cosine.argmax(axis=1)
    score = difficulty_scores(vectors @ prototypes.levels.T, [level for level, _ in LEVELS])
    return Labels(
        field=[prototypes.field_ids[i] for i in best],
        score=cosine[np.arange(len(best)), best].astype(np.float64),
        difficulty=(np.searchsorted(CUTS, score, side="right") + 1).astype(np.int32),
        difficulty_score=score,
    )


def difficulty_scores(cosine: NDArray[np.float32], levels: Sequence[int]) -> NDArray[np.float64]:
    """Returns the mean level under a softmax of the cosines (n, q) with the level descriptions."""
    weights = np.exp((cosine - cosine.max(axis=1, keepdims=True)).astype(np.float64) / TEMPERATURE)
    return np.asarray(weights @ np.asarray(levels, dtype=np.float64) / weights.sum(axis=1))
