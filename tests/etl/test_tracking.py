"""MLflow, on a real store: a run per pipeline run, a child per step, with the figures of `steps`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.errors import BudgetStop
from etl.step import Outcome
from etl.tracking import Tracker, parameters
from tests.etl.tiny import make_config

if TYPE_CHECKING:
    from tests.conftest import SampleRun


def runs_in(warehouse: Path, experiment: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{warehouse}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs: list[Any] = client.search_runs([found.experiment_id], max_results=1000)
    return runs


def test_the_run_has_a_child_per_step_with_the_figures_of_steps(sample_run: SampleRun) -> None:
    runs = runs_in(sample_run.warehouse, sample_run.config.mlflow.experiment)
    (parent,) = [run for run in runs if run.data.tags.get("boostqa.run_id") == sample_run.run_id]
    assert parent.info.status == "FINISHED"
    children = {run.info.run_id: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert set(children) == {row["mlflow_run_id"] for row in sample_run.steps}
    for row in sample_run.steps:
        child = children[row["mlflow_run_id"]]
        metrics = child.data.metrics
        assert child.info.run_name == f"{row['step']}-{row['attempt']}"
        assert (metrics["rows_in"], metrics["rows_out"]) == (row["rows_in"], row["rows_out"])
        assert metrics["seconds"] == pytest.approx(row["seconds"], abs=0.5)
        assert {k: v for k, v in metrics.items() if k.startswith("dropped_")} == {
            f"dropped_{k}": v for k, v in row["dropped"].items()
        }
        assert {name: metrics[name] for name in row["figures"]} == row["figures"]
        assert {name: child.data.tags[f"boostqa.{name}"] for name in row["ids"]} == row["ids"]


def test_what_was_asked_and_paid_is_told_while_it_goes_on_and_by_step(sample_run: SampleRun) -> None:
    runs = runs_in(sample_run.warehouse, sample_run.config.mlflow.experiment)
    (parent,) = [run for run in runs if run.data.tags.get("boostqa.run_id") == sample_run.run_id]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    calls = sample_run.rows("llm_calls")
    tries = sum(call["attempts"] for call in calls)
    tokens = sum(call["prompt_tokens"] + call["completion_tokens"] for call in calls)
    assert parent.data.metrics["run/llm_requests"] == tries
    assert parent.data.metrics["run/llm_tokens"] == tokens
    assert sum(child.data.metrics["llm_tokens"] for child in children) == tokens
    assert parent.data.metrics["asking/tokens"] > 0
    assert parent.data.metrics["embedding/done"] > 0


def test_the_parent_has_the_settings_and_no_address_or_secret(sample_run: SampleRun) -> None:
    runs = runs_in(sample_run.warehouse, sample_run.config.mlflow.experiment)
    (parent,) = [run for run in runs if run.data.tags.get("boostqa.run_id") == sample_run.run_id]
    assert parent.data.params == parameters(sample_run.config)
    assert parent.data.params["dedup.threshold"] == "0.9"
    assert parent.data.params["llm.teacher"] == "stand-in"
    assert not any("http" in value for value in parent.data.params.values())


def test_a_failed_run_is_marked_as_failed(tmp_path: Path) -> None:
    config = make_config(tmp_path / "warehouse", mlflow={"enabled": True, "experiment": "tests"})

    def fails() -> None:
        tracker = Tracker(config, print)
        with tracker.run("run-1"):
            assert tracker.step("curate", 1, Outcome(3, 2, {"too_short_v1": 1}), 0.5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    parent, child = sorted(
        runs_in(tmp_path / "warehouse", "tests"), key=lambda run: "mlflow.parentRunId" in run.data.tags
    )
    assert parent.info.status == "FAILED"
    assert child.data.metrics["dropped_too_short_v1"] == 1


def test_a_run_that_its_budget_stopped_says_so(tmp_path: Path) -> None:
    config = make_config(tmp_path / "warehouse", mlflow={"enabled": True, "experiment": "tests"})
    with pytest.raises(BudgetStop), Tracker(config, print).run("run-1"):
        raise BudgetStop("the budget is used up")
    (run,) = runs_in(tmp_path / "warehouse", "tests")
    assert (run.info.status, run.data.tags["boostqa.stopped_by"]) == ("FAILED", "budget")


def test_a_store_that_takes_nothing_more_is_told_and_stops_no_run(tmp_path: Path) -> None:
    said: list[str] = []
    tracker = Tracker(make_config(tmp_path / "w", mlflow={"enabled": True, "experiment": "tests"}), said.append)
    with tracker.run("run-1"):
        with sqlite3.connect(tmp_path / "w" / "mlflow.db") as store:
            store.execute("DROP TABLE latest_metrics")
        assert tracker.step("curate", 1, Outcome(1, 1), 0.1) is None
        tracker.artifact(str(tmp_path / "no such file"))
    assert "MLflow did not take the figures of curate" in said[0]
    assert "MLflow did not take" in said[1]


def test_without_tracking_nothing_is_written(tmp_path: Path) -> None:
    tracker = Tracker(make_config(tmp_path / "warehouse"), print)
    with tracker.run("run-1"):
        assert tracker.step("curate", 1, Outcome(1, 1), 0.1) is None
    assert tracker.run_id is None
    assert not (tmp_path / "warehouse").exists()


def test_two_warehouses_of_one_process_have_their_own_stores(tmp_path: Path) -> None:
    for name in ("one", "two"):
        config = make_config(tmp_path / name, mlflow={"enabled": True, "experiment": name})
        with Tracker(config, print).run(f"run-{name}"):
            pass
    assert (tmp_path / "one" / "mlflow.db").is_file()
    assert (tmp_path / "two" / "mlflow.db").is_file()
    assert len(runs_in(tmp_path / "two", "two")) == 1
