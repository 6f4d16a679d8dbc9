"""What a step takes over from an earlier run: only what still stands, and of the steps before it only what this run's settings mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from etl.errors import BudgetStop, UserError
from etl.items import latest_id
from etl.pipeline import run_pipeline
from etl.report.history import last_run
from etl.screen import Screen
from etl.step import Job, Outcome, Step
from etl.tables import Tables
from tests.etl.tiny import document, get, kept, make_config, put

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.config import Config


def run_with(spark: SparkSession, config: Config, steps: list[Step]) -> list[str]:
    return [ran.status for ran in run_pipeline(spark, config, steps, Screen(Console(quiet=True))).steps]


@pytest.fixture
def warehouse(spark: SparkSession, tmp_path: Path) -> Path:
    put(Tables(spark, make_config(tmp_path).tables), "documents", [document("one", "A passage.")])
    return tmp_path


@pytest.mark.long
def test_a_table_that_other_settings_have_replaced_since_is_made_anew(spark: SparkSession, warehouse: Path) -> None:
    def judge(job: Job) -> Outcome:
        rows = [("one", True, job.config.run.seed / 10)]
        job.tables.overwrite("curation", spark.createDataFrame(rows, "doc_id string, kept boolean, quality double"))
        return Outcome(1, 1)

    step = Step("curate", judge, ("documents",), ("curation",), ("run.seed",), replaces=("curation",))
    configs = [make_config(warehouse, run={"seed": seed}) for seed in (1, 2, 1, 1)]
    assert [run_with(spark, config, [step]) for config in configs] == [["done"], ["done"], ["done"], ["unchanged"]]
    assert get(Tables(spark, configs[0].tables), "curation", "quality") == [0.1]


def test_a_table_that_only_grows_is_taken_as_it_is(spark: SparkSession, warehouse: Path) -> None:
    def judge(job: Job) -> Outcome:
        put(job.tables, "curation", [kept(f"seed-{job.config.run.seed}")])
        return Outcome(1, 1)

    step = Step("curate", judge, ("documents",), ("curation",), ("run.seed",))
    configs = [make_config(warehouse, run={"seed": seed}) for seed in (1, 2, 1)]
    assert [run_with(spark, config, [step]) for config in configs] == [["done"], ["done"], ["unchanged"]]


@pytest.mark.long
def test_what_a_stopped_retry_took_out_is_made_by_the_next_run(spark: SparkSession, warehouse: Path) -> None:
    tables = Tables(spark, make_config(warehouse).tables)
    put(tables, "probe_results", [{"model": "m", "item_id": "one", "reason": "llm_unusable"}])
    answers: list[str | None] = ["llm_unusable", None]

    def refine(job: Job) -> Outcome:
        if not answers:
            raise UserError("the endpoint does not answer")
        made = spark.createDataFrame([("one", answers.pop(0))], "qa_id string, reason string")
        job.tables.append_new("refinements", made)
        return Outcome(1, 1)

    config = make_config(warehouse)
    step = Step("refine", refine, ("documents",), ("refinements",), ("refine",), tasks=("refine",))
    assert run_with(spark, config, [step]) == ["done"]
    assert run_with(spark, config, [step]) == ["unchanged"]
    after = answers.pop()
    with pytest.raises(UserError, match="does not answer"):
        run_pipeline(spark, config, [step], Screen(Console(quiet=True)), retry_failed=True)
    assert get(Tables(spark, config.tables), "refinements", "qa_id") == []
    answers.append(after)
    assert run_with(spark, config, [step]) == ["done"]
    assert get(Tables(spark, config.tables), "refinements", "qa_id", "reason") == [("one", None)]
    assert run_with(spark, config, [step]) == ["unchanged"]
    assert last_run(Tables(spark, config.tables)).steps[0].status == "unchanged"
    # What other steps have made of failed calls stays: they are not run.
    assert get(Tables(spark, config.tables), "probe_results", "reason") == ["llm_unusable"]


def test_a_run_that_its_budget_stopped_is_marked_so(spark: SparkSession, warehouse: Path) -> None:
    def spend(job: Job) -> Outcome:
        raise BudgetStop("the budget is used up: 5 requests")

    config = make_config(warehouse)
    with pytest.raises(BudgetStop):
        run_with(spark, config, [Step("refine", spend, ("documents",), (), ("refine",))])
    found = get(Tables(spark, config.tables), "steps", "step", "status", "error")
    assert found == [("refine", "stopped_by_budget", "BudgetStop: the budget is used up: 5 requests")]


@pytest.mark.long
def test_a_step_finds_the_ids_of_the_unchanged_steps_before_it(spark: SparkSession, warehouse: Path) -> None:
    seen: list[str | None] = []

    def plan(job: Job) -> Outcome:
        return Outcome(0, 0, ids={"plan_id": f"plan of seed {job.config.run.seed}"})

    def use(job: Job) -> Outcome:
        seen.append(latest_id(job.tables, "plan_id"))
        return Outcome(0, 0)

    steps = [Step("plan", plan, ("documents",), (), ("run.seed",)), Step("export", use, ("documents",), (), ("run",))]
    for seed, name in ((1, "first"), (2, "second"), (1, "third")):
        run_with(spark, make_config(warehouse, run={"seed": seed, "name": name}), steps)
    assert seen == ["plan of seed 1", "plan of seed 2", "plan of seed 1"]
