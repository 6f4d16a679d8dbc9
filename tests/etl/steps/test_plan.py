"""plan: the targets add up exactly, and a cell that the model is weak in gets more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.etl.tiny import document, job_for, kept, label, make_config, put, the_step
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.step import Outcome


SEEDS = 20


def planned(
    spark: SparkSession, warehouse: Path, probed: dict[str, tuple[int, int]], **plan: Any
) -> tuple[Outcome, list[dict[str, Any]]]:
    """Seeds of equal kind in the fields named, each with (correct, n) probe answers at level 3."""
    job = job_for(spark, make_config(warehouse, plan=plan))
    seeds = [(f"{name}-{i}", f"A text about {name}, number {i}.", name) for name in probed for i in range(SEEDS)]
    put(job.tables, "documents", [document(name, text) for name, text, _ in seeds])
    put(job.tables, "curation", [kept(name) for name, _, _ in seeds])
    put(job.tables, "annotations", [label(n, text, discipline, 3, field="none") for n, text, discipline in seeds])
    answers = [
        {
            "model": "stand-in",
            "item_id": f"{name}-{i}",
            "text_hash": text_hash(f"A text about {name}, number {i}."),
            "discipline": name,
            "difficulty": 3,
            "correct": i < correct,
        }
        for name, (correct, n) in probed.items()
        for i in range(n)
    ]
    if answers:
        put(job.tables, "probe_results", answers)
    outcome = the_step("plan").run(job)
    outcome.check("plan")
    return outcome, [row.asDict() for row in job.tables.read("allocation").collect()]


def tokens_by_discipline(rows: list[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total[row["discipline"]] += row["target_tokens"]
    return total


def test_a_weak_cell_gets_more_and_all_is_given_out(spark: SparkSession, tmp_path: Path) -> None:
    probed = {"law": (1, 20), "history": (19, 20), "economics": (10, 20)}
    outcome, rows = planned(spark, tmp_path / "w", probed, total_tokens=10_007)
    tokens = tokens_by_discipline(rows)
    assert tokens["law"] > tokens["economics"] > tokens["history"] > 0
    assert tokens.total() == 10_007
    assert {row["plan_id"] for row in rows} == {outcome.ids["plan_id"]}
    for row in rows:
        assert 0 <= row["ci_low"] <= row["ci_high"] <= 1
        assert row["n"] == 20
        assert row["explanation"]


@pytest.mark.long
def test_a_plan_of_nothing_is_a_plan_of_its_own(spark: SparkSession, tmp_path: Path) -> None:
    first, _ = planned(spark, tmp_path / "w", {"law": (0, 0)})
    job = job_for(spark, make_config(tmp_path / "w", plan={"branch_shares": {"multi_grade": 0, "high_difficulty": 1}}))
    outcome = the_step("plan").run(job)
    assert outcome.dropped == {"no_branch_at_level": 1}
    assert outcome.ids["plan_id"] not in ("", first.ids["plan_id"])


def test_without_a_probe_every_cell_gets_its_part(spark: SparkSession, tmp_path: Path) -> None:
    outcome, rows = planned(spark, tmp_path / "w", {"law": (0, 0), "history": (0, 0)}, total_tokens=1_000)
    assert tokens_by_discipline(rows) == Counter(law=500, history=500)
    assert outcome.figures["cells_without_probe"] == 2


@pytest.mark.long
def test_the_same_findings_are_the_same_plan(spark: SparkSession, tmp_path: Path) -> None:
    probed = {"law": (1, 4), "history": (3, 4)}
    first, rows = planned(spark, tmp_path / "a", probed)
    second, again = planned(spark, tmp_path / "b", dict(reversed(probed.items())))
    assert first.ids == second.ids
    assert sorted(rows, key=str) == sorted(again, key=str)


def test_no_seeds_make_a_plan_of_nothing(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    outcome = the_step("plan").run(job)
    assert outcome.rows_in == 0
    assert outcome.ids["plan_id"]
    assert job.tables.read("allocation").isEmpty()
