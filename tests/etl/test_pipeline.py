"""A run that is run again: what has changed is paid for, nothing else, and a killed run loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.config import load_config
from etl.errors import UserError
from etl.pipeline import NAMES, chosen_steps
from etl.tables import Tables
from tests.etl.processes import kill_session
from tests.etl.small import WORKERS, small_config
from tests.etl.tiny import ROOT, delta_versions, get, outcome_of, run_steps, take_interrupts, values
from udfs.engines.teacher_process import Teacher, start_teacher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.config import Config
    from tests.conftest import SampleRun
    from tests.etl.small import Small

TABLES_OF_IDS = {"documents": "doc_id", "drafts": "draft_id", "refinements": "qa_id"}
ASKED_BY_SYNTHESIZE_AND_REFINE = ("multi_grade", "high_difficulty", "refine")
IN_FLIGHT, FLUSH_ROWS = 4, 2


def ids(tables: Tables) -> dict[str, list[Any]]:
    """The ids that a run to `refine` makes, however far the run went."""
    made = {table: get(tables, table, column) for table, column in TABLES_OF_IDS.items()}
    calls = get(tables, "llm_calls", "task", "request_id")
    return made | {"llm_calls": [request for task, request in calls if task in ASKED_BY_SYNTHESIZE_AND_REFINE]}


def calls_by_task(tables: Tables) -> Counter[str]:
    return Counter(get(tables, "llm_calls", "task"))


def copied(run: SampleRun, folder: Path, teacher: Teacher, **sections: Any) -> Config:
    """A copy of the samples' warehouse, and its settings with a teacher that counts."""
    shutil.copytree(run.warehouse, folder / "warehouse")
    llm = {"endpoint": "urls", "base_urls": [teacher.base_url], **sections.pop("llm", {})}
    changed = {"tables": {"warehouse": f"{folder}/warehouse"}, "mlflow": {"enabled": False}, "llm": llm, **sections}
    return load_config("conf/local.yaml", [f"{name}={json.dumps(value)}" for name, value in changed.items()])


@pytest.mark.long
def test_another_refine_setting_pays_for_refining_alone(
    spark: SparkSession, sample_run: SampleRun, teacher: Teacher, tmp_path: Path
) -> None:
    params = {**sample_run.config.refine.params, "temperature": 0.35}
    config = copied(sample_run, tmp_path, teacher, refine={"params": params})
    before = calls_by_task(sample_run.tables)
    sent = teacher.stats()["requests"]
    finished, _ = run_steps(spark, config, last="refine")
    tables = Tables(spark, config.tables)
    assert calls_by_task(tables) - before == Counter(refine=before["refine"])
    assert teacher.stats()["requests"] - sent == before["refine"]
    assert outcome_of(finished, "refine").status == "done"
    others = [ran.status for ran in finished.steps if ran.step not in ("ingest", "refine")]
    assert set(others) == {"unchanged"}
    # The old answers are still there beside the new ones.
    assert set(get(tables, "refinements", "qa_id")) > {row["qa_id"] for row in sample_run.rows("refinements")}


@pytest.mark.long
def test_another_model_is_asked_and_not_taken_as_unchanged(
    spark: SparkSession, sample_run: SampleRun, teacher: Teacher, tmp_path: Path
) -> None:
    models = {**sample_run.config.llm.models.model_dump(), "refiner": "gpt-none"}
    config = copied(sample_run, tmp_path, teacher, llm={"models": models})
    before = delta_versions(sample_run.tables)
    with pytest.raises(UserError, match=r"gpt-none.*does not exist"):
        run_steps(spark, config, "refine")
    tables = Tables(spark, config.tables)
    after = delta_versions(tables)
    assert {name for name in after if after[name] != before[name]} == {"steps"}
    failed = get(tables, "steps", "created_at", "step", "status", "error")[-1]
    assert failed[1:3] == ("refine", "failed")
    assert "gpt-none" in failed[3]
    # The lock was given back: the next run can begin.
    assert not Path(tables.files, "lock.json").exists()


@pytest.mark.long
def test_a_seed_that_changed_is_not_paid_for_with_the_drafts_of_its_old_text(
    spark: SparkSession, sample_run: SampleRun, teacher: Teacher, tmp_path: Path
) -> None:
    shutil.copytree("samples", tmp_path / "samples")
    changed = tmp_path / "samples/corpus/science/science.jsonl"
    first, *others = changed.read_text("utf-8").splitlines()
    record = json.loads(first)
    record["body"] += " Mercury, which is denser still, is poured and not carried."
    changed.write_text("\n".join([json.dumps(record), *others]), "utf-8")
    sources = [source.model_dump(mode="json") for source in sample_run.config.sources]
    config = copied(sample_run, tmp_path, teacher, sources=[s | {"path": f"{tmp_path}/{s['path']}"} for s in sources])
    documents = {row["doc_id"] for row in sample_run.rows("documents")}
    sent = teacher.stats()["requests"]
    finished, _ = run_steps(spark, config, "ingest,curate,refine")
    tables = Tables(spark, config.tables)
    found = get(tables, "documents", "doc_id")
    assert (set(found), len(found)) == (documents, len(documents))
    assert outcome_of(finished, "refine").outcome.figures.get("new_refinements", 0) == 0
    assert teacher.stats()["requests"] == sent


@pytest.mark.long
def test_what_was_made_of_failed_calls_is_made_again_when_they_are_retried(
    spark: SparkSession, sample_run: SampleRun, teacher: Teacher, tmp_path: Path
) -> None:
    params = {**sample_run.config.refine.params, "temperature": 0.65}
    config = copied(sample_run, tmp_path, teacher, refine={"params": params}, llm={"max_attempts": 1})
    teacher.set_faults(error_500=0.3)
    run_steps(spark, config, "refine")
    tables = Tables(spark, config.tables)
    failed = set(values(tables.read("llm_calls").where("status = 'failed'"), "request_id"))
    assert len(failed) > 50
    teacher.set_faults(error_500=0.0)
    sent = teacher.stats()["requests"]
    finished, lines = run_steps(spark, config, "refine")
    assert (outcome_of(finished, "refine").status, teacher.stats()["requests"]) == ("unchanged", sent)
    finished, lines = run_steps(spark, config, "refine", retry_failed=True)
    assert teacher.stats()["requests"] - sent == len(failed)
    assert any("rows of failed calls taken out" in line for line in lines)
    tables = Tables(spark, config.tables)
    made = tables.read("refinements").where(f"recipe_id NOT IN ({quoted(sample_run.rows('refinements'), 'recipe_id')})")
    assert "llm_unusable" not in values(made.where("reason IS NOT NULL"), "reason")
    assert len(values(made, "draft_id")) == len(set(values(made, "draft_id"))) == len(sample_run.rows("refinements"))


def quoted(rows: list[dict[str, Any]], column: str) -> str:
    return ", ".join(repr(value) for value in sorted({row[column] for row in rows}))


@pytest.fixture
def slow_teacher() -> Iterator[Teacher]:
    with start_teacher() as teacher:
        teacher.set_faults(latency_s=0.25)
        yield teacher


def killed(process: subprocess.Popen[bytes], log: Path) -> None:
    kill_session(process.pid)
    process.wait()


def interrupted(process: subprocess.Popen[bytes], log: Path) -> None:
    """As Ctrl-C in a terminal does: every process of the group gets the signal."""
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    shown = log.read_text("utf-8")
    assert "the answers under way are waited for and kept" in shown
    assert "boostqa: stopped. What is finished and paid is kept; go on with:" in shown
    assert "Traceback" not in shown


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes to kill in /proc")
@pytest.mark.long
# What a kill may cost; Ctrl-C costs nothing.
@pytest.mark.parametrize(("stop", "lost"), [(killed, IN_FLIGHT + WORKERS * FLUSH_ROWS), (interrupted, 0)])
def test_a_stopped_run_goes_on_and_pays_at_most_what_was_in_flight_again(
    spark: SparkSession, small: Small, slow_teacher: Teacher, tmp_path: Path, stop: Callable[..., None], lost: int
) -> None:
    shutil.copytree(small.planned, tmp_path / "warehouse")
    llm = {"max_in_flight": IN_FLIGHT, "flush_rows": FLUSH_ROWS, "flush_seconds": 0.2}
    config = small_config(small.corpus, tmp_path / "warehouse", slow_teacher.base_url, llm=llm)
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps(config.model_dump(mode="json", by_alias=True), ensure_ascii=False), "utf-8")
    unique = calls_by_task(small.tables(spark))
    wanted = unique["multi_grade"] + unique["high_difficulty"]
    assert wanted > 20
    command = [sys.executable, "-m", "etl", "run", "--conf", str(profile), "--steps", "synthesize"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, preexec_fn=take_interrupts
        )
    deadline = time.monotonic() + 500
    while slow_teacher.stats()["requests"] < wanted // 2:
        assert process.poll() is None, (tmp_path / "log").read_text("utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stop(process, tmp_path / "log")
    seen = slow_teacher.stats()["requests"]
    assert seen < wanted
    _, lines = run_steps(spark, config, "synthesize,refine")
    assert any("answers of an interrupted run recovered" in line for line in lines) == (stop is killed)
    assert slow_teacher.stats()["requests"] <= wanted + unique["refine"] + lost
    assert ids(Tables(spark, config.tables)) == ids(small.tables(spark))


def test_steps_are_chosen_by_name_or_by_range() -> None:
    assert [step.name for step in chosen_steps("refine, curate")] == ["curate", "refine"]
    assert [step.name for step in chosen_steps(first="measure")] == ["measure", "select", "export"]
    assert [step.name for step in chosen_steps(last="curate")] == ["ingest", "curate"]
    assert [step.name for step in chosen_steps("dedup")] == ["dedup", "dedup"]
    assert {step.name for step in chosen_steps()} == set(NAMES)
    with pytest.raises(UserError, match=r"no step 'dance': steps are ingest, curate"):
        chosen_steps("curate,dance")
    with pytest.raises(UserError, match="comes after"):
        chosen_steps(first="export", last="curate")
