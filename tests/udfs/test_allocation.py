"""The plan: tokens go where the probe found weakness, to the last token, and every number says why."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.allocation import (
    NO_PROBE_DATA,
    Allocation,
    AllocationSettings,
    Branch,
    Cell,
    allocate,
    shrunk_accuracies,
)

PLAIN = AllocationSettings(
    1000, stem_weight=1, level_weights=dict.fromkeys(range(1, 6), 1.0), floor_share=0, shrinkage=0
)


@st.composite
def probed_cells(draw: st.DrawFn) -> list[Cell]:
    keys = draw(st.sets(st.tuples(st.sampled_from(["law", "science", "history"]), st.integers(1, 5)), min_size=1))
    cells = []
    for discipline, difficulty in keys:
        n = draw(st.integers(0, 200))
        cells.append(Cell(discipline, difficulty, draw(st.integers(0, n)), n, draw(st.sampled_from([0.0, 0.3, 1.0]))))
    return cells


PLANS = st.builds(
    AllocationSettings,
    total_tokens=st.integers(0, 10**11),
    stem_weight=st.floats(0, 9),
    floor_share=st.floats(0, 1),
    shrinkage=st.floats(0, 100),
)


def tokens_by_cell(rows: list[Allocation]) -> Counter[tuple[str, int]]:
    tokens = Counter[tuple[str, int]]()
    for row in rows:
        tokens[row.discipline, row.difficulty] += row.target_tokens
    return tokens


def test_a_model_weak_in_three_cells_gets_its_tokens_there() -> None:
    weak = {("law", 4), ("science", 5), ("history", 3)}
    keys = [(name, level) for name in ("law", "science", "history", "medicine") for level in range(1, 6)]
    cells = [Cell(name, level, 10 if (name, level) in weak else 95, 100, 0.0) for name, level in keys]
    tokens = tokens_by_cell(allocate(cells, replace(PLAIN, total_tokens=10**6, floor_share=0.1, shrinkage=10)))
    assert {key for key, _ in tokens.most_common(3)} == weak
    assert sum(tokens[key] for key in weak) > 600_000


@settings(deadline=None)
@given(cells=probed_cells(), plan=PLANS)
def test_targets_sum_exactly_to_the_total(cells: list[Cell], plan: AllocationSettings) -> None:
    rows = allocate(cells, plan)
    assert sum(row.target_tokens for row in rows) == plan.total_tokens
    assert all(row.target_tokens >= 0 and 0 <= row.deficiency <= 1 for row in rows)
    assert allocate(cells[::-1], plan) == rows


@settings(deadline=None)
@given(cells=probed_cells(), plan=PLANS)
def test_a_more_deficient_cell_that_is_otherwise_alike_never_gets_less(
    cells: list[Cell], plan: AllocationSettings
) -> None:
    tokens = tokens_by_cell(rows := allocate(cells, plan))
    deficiency = {(row.discipline, row.difficulty): row.deficiency for row in rows}
    # Of weight 0 (a stem or level weight of 0) all get the same part of the floor, however deficient they are; its odd tokens go by name.
    weight = {(row.discipline, row.difficulty): row.weight for row in rows}
    for a in cells:
        for b in cells:
            key_a, key_b = (a.discipline, a.difficulty), (b.discipline, b.difficulty)
            alike = (a.difficulty, a.stem_share) == (b.difficulty, b.stem_share)
            if alike and weight[key_a] > 0 and deficiency[key_a] > deficiency[key_b] + 1e-9:
                assert tokens[key_a] >= tokens[key_b]


@settings(deadline=None)
@given(cells=probed_cells(), plan=PLANS)
def test_no_cell_gets_less_than_its_floor(cells: list[Cell], plan: AllocationSettings) -> None:
    floor = plan.total_tokens * plan.floor_share / len(cells)
    assert min(tokens_by_cell(allocate(cells, plan)).values()) >= floor * (1 - 1e-9) - 1


def test_weight_is_deficiency_times_stem_times_level() -> None:
    cells = [Cell("science", 5, 5, 10, 1.0), Cell("law", 3, 5, 10, 0.0), Cell("medicine", 4, 5, 10, 0.5)]
    plan = AllocationSettings(total_tokens=1500, floor_share=0, shrinkage=0)
    rows = allocate(cells, plan)
    assert {row.discipline: row.weight for row in rows} == pytest.approx({"science": 4.5, "law": 0.5, "medicine": 2.0})
    expected = {("science", 5): 964, ("law", 3): 107, ("medicine", 4): 429}
    assert tokens_by_cell(rows) == expected


def test_branches_and_grades_share_the_tokens_of_their_cell() -> None:
    [*rows] = allocate([Cell("science", 5, 0, 10, 1.0)], AllocationSettings(total_tokens=1001))
    assert [(row.branch, row.grade, row.target_tokens) for row in rows] == [
        ("multi_grade", "graduate", 300),
        ("multi_grade", "competition", 301),
        ("high_difficulty", "expert", 400),
    ]
    easy = allocate([Cell("science", 1, 0, 10, 1.0)], AllocationSettings(total_tokens=10))
    assert {(row.branch, row.grade) for row in easy} == {
        ("multi_grade", "elementary"),
        ("multi_grade", "middle_school"),
    }


def test_accuracy_shrinks_to_the_discipline_and_that_to_the_whole() -> None:
    cells = [Cell("law", 1, 8, 10, 0), Cell("law", 2, 0, 0, 0), Cell("art", 1, 0, 10, 0), Cell("war", 1, 0, 0, 0)]
    overall, law = 8 / 20, (8 + 10 * 0.4) / 20
    assert shrunk_accuracies(cells, 10) == pytest.approx(
        {("law", 1): (8 + 10 * law) / 20, ("law", 2): law, ("art", 1): (0 + 10 * 0.2) / 20, ("war", 1): overall}
    )


def test_a_small_sample_is_believed_less_than_a_large_one() -> None:
    found = shrunk_accuracies([Cell("law", 1, 0, 2, 0), Cell("law", 2, 0, 200, 0), Cell("law", 3, 150, 200, 0)], 10)
    assert found["law", 2] < 0.05 < 0.2 < found["law", 1]


def test_cells_without_probe_data_take_the_prior_and_say_so() -> None:
    rows = allocate([Cell("law", 1, 0, 0, 0.0), Cell("art", 1, 0, 0, 0.0)], PLAIN)
    assert {(row.deficiency, row.n, row.ci_low, row.ci_high) for row in rows} == {(0.5, 0, 0.0, 1.0)}
    assert all(NO_PROBE_DATA in row.explanation for row in rows)
    assert tokens_by_cell(rows) == {("law", 1): 500, ("art", 1): 500}


def test_a_model_that_knows_everything_gets_an_even_plan() -> None:
    cells = [Cell("law", 1, 10, 10, 0.0), Cell("art", 1, 10, 10, 0.0)]
    assert tokens_by_cell(allocate(cells, PLAIN)) == {("law", 1): 500, ("art", 1): 500}


def test_the_explanation_tells_every_factor() -> None:
    row = allocate([Cell("science", 5, 3, 30, 1.0)], AllocationSettings(total_tokens=1_000_000))[0]
    assert row.explanation == (
        "deficiency 0.900 (3 of 30 right, shrunk by 10 pseudo-answers) x STEM 3 (100% of the seeds) x level 5: 3"
        " = weight 8.1; the cell gets 1,000,000 tokens (10% of all tokens go evenly to all cells)"
        "; multi_grade (share 0.6) gets 600,000, graduate of them 300,000"
    )
    assert (row.ci_low, row.ci_high) == pytest.approx((0.7438, 0.9654), abs=1e-4)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([], "annotated seeds"),
        ([Cell("law", 1, 3, 2, 0.0)], "law x 1: needs 0 <= correct <= n"),
        ([Cell("law", 1, 1, 2, 1.5)], "stem_share"),
        ([Cell("law", 6, 1, 2, 0.0)], "law x 6: its level needs a weight"),
        ([Cell("law", 1, 1, 2, 0.0), Cell("law", 1, 0, 9, 0.0)], "law x 1 is named 2 times"),
    ],
)
def test_bad_cells_are_named(cells: list[Cell], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        allocate(cells, PLAIN)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        AllocationSettings(1, stem_weight=-1)
    with pytest.raises(ValueError, match="floor_share"):
        AllocationSettings(1, floor_share=1.1)
    with pytest.raises(ValueError, match="total_tokens"):
        AllocationSettings(-1)
    with pytest.raises(ValueError, match="name of its own"):
        AllocationSettings(1, branches=(Branch("a", 1, {1: ("x",)}), Branch("a", 1, {2: ("x",)})))
    with pytest.raises(ValueError, match="at least one grade"):
        AllocationSettings(1, branches=(Branch("a", 1, {1: ()}),))
