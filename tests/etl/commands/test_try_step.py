"""`boostqa try`: a few requests for real, nothing written but the ledger, and a run that does not pay for them again."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from etl.cli import main
from etl.tables import Tables
from tests.etl.tiny import delta_versions

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun
    from udfs.engines.teacher_process import Teacher


@pytest.mark.long
def test_a_few_requests_are_asked_and_kept(
    spark: SparkSession, sample_run: SampleRun, teacher: Teacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sample_run.warehouse, tmp_path / "warehouse")
    params = json.dumps({**sample_run.config.refine.params, "temperature": 0.45})
    sets = [f"tables.warehouse={tmp_path / 'warehouse'}", "llm.endpoint=urls", f"llm.base_urls=[{teacher.base_url}]"]
    given = [part for text in [*sets, f"refine.params={params}"] for part in ("--set", text)]
    before, sent = delta_versions(sample_run.tables), teacher.stats()["requests"]
    for asked_now in (3, 0):
        capsys.readouterr()
        assert main(["try", "refine", "--conf", "conf/local.yaml", *given, "-n", "3"]) == 0
        said = capsys.readouterr().out
        assert said.count("--- refine (refine.") == said.count("\nANSWER (stop)\n") == 3
        assert f"3 requests, {asked_now} of them asked now" in said
        assert teacher.stats()["requests"] - sent == 3
    after = delta_versions(
        Tables(spark, sample_run.config.tables.model_copy(update={"warehouse": f"{tmp_path}/warehouse"}))
    )
    assert {name for name in after if after[name] != before[name]} == {"llm_calls"}


def test_a_step_that_is_switched_off_says_what_switches_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", "measure", "--conf", "conf/local.yaml"]) == 2
    assert "asks no model as the config has it: set measure.cluster_agent.rounds" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "words"), [("0", "0 is less than 1"), ("-3", "-3 is less than 1"), ("x", "invalid")])
def test_there_is_nothing_to_try_in_less_than_one_row(
    rows: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["try", "refine", "--conf", "conf/local.yaml", f"-n{rows}"])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_only_steps_that_ask_can_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["try", "dedup", "--conf", "conf/local.yaml"])
    assert stopped.value.code == 2
    assert "invalid choice: 'dedup'" in capsys.readouterr().err
