"""The plan: how many tokens to synthesise per discipline, difficulty, branch and grade, from what a probe found weak.

A cell (discipline x difficulty) weighs deficiency x STEM weight x level weight. Probing for weak cells, the STEM focus
and the two branches follow BoostQA (arXiv 2508.01326), the 3:2:1 of levels 5, 4 and 3 follows DESIGNER (arXiv
2508.12726); all other numbers here are our own choice, and settings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from udfs.intervals import wilson
from udfs.selection import largest_remainder

NO_PROBE_DATA = "no_probe_data"
"""Stands in the explanation of a cell that was never probed."""

UNKNOWN_ACCURACY = 0.5
"""The accuracy taken for everything when nothing at all was probed."""

Key = tuple[str, int]


@dataclass(frozen=True)
class Cell:
    """What a probe found in a cell that has seeds: `correct` of `n` right; `stem_share` of its seeds are STEM (0..1)."""

    discipline: str
    difficulty: int
    correct: int
    n: int
    stem_share: float


@dataclass(frozen=True)
class Branch:
    """A way to synthesise: its share of a cell's tokens, and its grades by the difficulty levels that it serves."""

    name: str
    share: float
    grades: Mapping[int, tuple[str, ...]]


MULTI_GRADE = Branch(
    "multi_grade",
    0.6,
    {
        1: ("elementary", "middle_school"),
        2: ("middle_school", "high_school"),
        3: ("high_school", "undergraduate"),
        4: ("undergraduate", "graduate", "competition"),
        5: ("graduate", "competition"),
    },
)
HIGH_DIFFICULTY = Branch("high_difficulty", 0.4, {4: ("expert",), 5: ("expert",)})


@dataclass(frozen=True)
class AllocationSettings:
    """How probe results become tokens.

    `floor_share` of all tokens goes evenly to the cells, the rest by weight. `shrinkage` is the number of
    pseudo-answers by which a cell's accuracy leans to its discipline's, and that to the overall one. Branch shares
    split the tokens of each cell among the branches that serve its level; a branch's grades get equal parts.
    """

    total_tokens: int
    stem_weight: float = 3.0
    level_weights: Mapping[int, float] = field(default_factory=lambda: {1: 0.5, 2: 0.5, 3: 1.0, 4: 2.0, 5: 3.0})
    floor_share: float = 0.1
    shrinkage: float = 10.0
    branches: tuple[Branch, ...] = (MULTI_GRADE, HIGH_DIFFICULTY)

    def __post_init__(self) -> None:
        weights = [self.stem_weight, self.shrinkage, *self.level_weights.values(), *(b.share for b in self.branches)]
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ValueError("stem_weight, shrinkage, level_weights and branch shares must be finite and not negative")
        if self.total_tokens < 0 or not 0 <= self.floor_share <= 1:
            raise ValueError("total_tokens must not be negative, and floor_share must lie between 0 and 1")
        names = {branch.name for branch in self.branches}
        if len(names) < len(self.branches) or not all(all(branch.grades.values()) for branch in self.branches):
            raise ValueError("each branch needs a name of its own, and at least one grade at each level that it serves")


@dataclass(frozen=True)
class Allocation:
    """Tokens for one cell, branch and grade. `weight`, `deficiency`, `n` and the interval are those of the whole cell.

    `ci_low` and `ci_high` bound the measured deficiency, 1 - correct / n, by Wilson at 95 %; (0, 1) where n = 0.
    """

    discipline: str
    difficulty: int
    branch: str
    grade: str
    weight: float
    target_tokens: int
    deficiency: float
    n: int
    ci_low: float
    ci_high: float
    explanation: str


def allocate(cells: Sequence[Cell], settings: AllocationSettings) -> list[Allocation]:
    """Split `settings.total_tokens` over the cells, and each cell's tokens over branches and grades.

    Give only cells that have seeds: with a `floor_share` over 0 each of them gets its part of the floor. Targets sum to
    the total exactly, by largest remainder at each step. Of two cells the one with more weight never gets less. Rows
    come sorted by cell, then in the order of the branches and their grades.
    """
    _check_cells(cells, settings)
    accuracy = shrunk_accuracies(cells, settings.shrinkage)
    ordered = sorted(cells, key=_key)
    weights = {
        _key(cell): (1 - accuracy[_key(cell)]) * _stem_factor(cell, settings) * settings.level_weights[cell.difficulty]
        for cell in ordered
    }
    tokens = largest_remainder(_with_floor(weights, settings.floor_share), settings.total_tokens)
    rows: list[Allocation] = []
    for cell in ordered:
        rows += _rows_of(_whole(cell, weights[_key(cell)], tokens[_key(cell)], accuracy[_key(cell)]), cell, settings)
    return rows


def shrunk_accuracies(cells: Iterable[Cell], shrinkage: float) -> dict[Key, float]:
    """Accuracy by cell, leaning to its discipline's by `shrinkage` pseudo-answers, and that to the overall one as much.

    A cell with n = 0 has its discipline's, a discipline with none the overall one, and `UNKNOWN_ACCURACY` stands where
    nothing was probed.
    """
    cells = list(cells)
    right, asked = Counter[str](), Counter[str]()
    for cell in cells:
        right[cell.discipline] += cell.correct
        asked[cell.discipline] += cell.n
    overall = _lean(right.total(), asked.total(), UNKNOWN_ACCURACY, 0)
    means = {name: _lean(right[name], asked[name], overall, shrinkage) for name in asked}
    return {_key(cell): _lean(cell.correct, cell.n, means[cell.discipline], shrinkage) for cell in cells}


def _lean(correct: int, n: int, prior: float, shrinkage: float) -> float:
    return (correct + shrinkage * prior) / (n + shrinkage) if n else prior


def _stem_factor(cell: Cell, settings: AllocationSettings) -> float:
    return 1 + (settings.stem_weight - 1) * cell.stem_share


def _with_floor(weights: Mapping[Key, float], floor_share: float) -> dict[Key, Fraction]:
    """Exact share of each cell: an even part of the floor plus its part of the rest, even too if all weights are 0."""
    total = sum(map(Fraction, weights.values()), Fraction(0))
    floor = Fraction(floor_share)
    even = Fraction(1, max(len(weights), 1))
    return {key: floor * even + (1 - floor) * (Fraction(w) / total if total else even) for key, w in weights.items()}


def _whole(cell: Cell, weight: float, tokens: int, accuracy: float) -> Allocation:
    """The row of a whole cell, before branch, grade and explanation are known."""
    low, high = wilson(cell.correct, cell.n)
    return Allocation(
        discipline=cell.discipline,
        difficulty=cell.difficulty,
        branch="",
        grade="",
        weight=weight,
        target_tokens=tokens,
        deficiency=1 - accuracy,
        n=cell.n,
        ci_low=float(1 - high),
        ci_high=float(1 - low),
        explanation="",
    )


def _rows_of(whole: Allocation, cell: Cell, settings: AllocationSettings) -> list[Allocation]:
    serving = [branch for branch in settings.branches if cell.difficulty in branch.grades]
    per_branch = largest_remainder({branch.name: branch.share for branch in serving}, whole.target_tokens)
    why = _explain(whole, cell, settings)
    rows = []
    for branch in serving:
        grades = branch.grades[cell.difficulty]
        for grade, tokens in largest_remainder(dict.fromkeys(grades, 1), per_branch[branch.name]).items():
            part = (
                f"{branch.name} (share {branch.share:g}) gets {per_branch[branch.name]:,}, {grade} of them {tokens:,}"
            )
            row = replace(whole, branch=branch.name, grade=grade, target_tokens=tokens, explanation=f"{why}; {part}")
            rows.append(row)
    return rows


def _explain(whole: Allocation, cell: Cell, settings: AllocationSettings) -> str:
    measured = (
        f"{cell.correct} of {cell.n} right, shrunk by {settings.shrinkage:g} pseudo-answers"
        if cell.n
        else f"{NO_PROBE_DATA}: the mean of its discipline, or of all, stands in"
    )
    return (
        f"deficiency {whole.deficiency:.3f} ({measured})"
        f" x STEM {_stem_factor(cell, settings):.3g} ({cell.stem_share:.0%} of the seeds)"
        f" x level {cell.difficulty}: {settings.level_weights[cell.difficulty]:g} = weight {whole.weight:.3g}"
        f"; the cell gets {whole.target_tokens:,} tokens ({settings.floor_share:.0%} of all tokens go evenly to all cells)"
    )


def _key(cell: Cell) -> Key:
    return cell.discipline, cell.difficulty


def _check_cells(cells: Sequence[Cell], settings: AllocationSettings) -> None:
    if not cells and settings.total_tokens:
        raise ValueError("there is no cell to plan for: are there annotated seeds?")
    served = {level for branch in settings.branches for level in branch.grades}
    for cell in cells:
        name = f"cell {cell.discipline} x {cell.difficulty}"
        if not (0 <= cell.correct <= cell.n and 0 <= cell.stem_share <= 1):
            raise ValueError(f"{name}: needs 0 <= correct <= n and 0 <= stem_share <= 1, got {cell}")
        if cell.difficulty not in settings.level_weights or cell.difficulty not in served:
            raise ValueError(f"{name}: its level needs a weight in level_weights and a branch that serves it")
    for key, times in Counter(map(_key, cells)).items():
        if times > 1:
            raise ValueError(f"cell {key[0]} x {key[1]} is named {times} times: add its counts first")
