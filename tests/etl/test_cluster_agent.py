"""The cluster agent as a part of `measure`: counted, tried, run and run again, with a judge whose clusters are known."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest

from etl.cluster_agent import criteria_rows, part_rows, run_agent, score_rows
from etl.doctor import examine
from etl.dry_run import AllCountedError, DryLedger, DryTables, dry_run
from etl.tables import Tables
from etl.trial import try_step
from tests.etl.tiny import delta_versions, get, job_for, make_config, outcome_of, run_steps, the_step
from tests.udfs.engines.helpers import ScriptedServer, completion
from udfs.cluster_agent import TASKS
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from etl.config import Config
    from etl.step import Job
    from tests.conftest import SampleRun

# Of ten samples: ten clusters of one; one of all; three, of which those of three are not valid; five pairs.
KNOWN = ([[n] for n in range(1, 11)], [list(range(1, 11))], [[1, 2, 3], [4, 5, 6, 7], [8, 9, 10]],
         [[n, n + 5] for n in range(1, 6)])  # fmt: skip
SCORES = {"cluster_agent_all_samples": 3.175, "cluster_agent_kept_samples": 3.2125, "cluster_agent_clusters": 4.25}
CRITERIA = {
    "metadata": [{"name": "task", "criteria": "Questions of one kind belong together."}],
    "metrics": [{"name": "steps", "criteria": "By steps.", "levels": ["1", "2", "3", "4", "5"]}],
}


class KnownJudge:
    """Gives each round that it is asked about the next of the known clusters."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = Lock()

    def __call__(self, body: dict[str, Any], number: int) -> tuple[int, object]:
        system, user = (message["content"] for message in body["messages"])
        (task,) = [name for name in ("cluster_criteria", "cluster_texts", "cluster_verify") if name in system]
        with self._lock:
            turn, self.asked[task] = self.asked[task], self.asked[task] + 1
        said: dict[str, Any] = CRITERIA
        if task == "cluster_texts":
            said = {
                "clusters": [{"cluster": n, "samples": c, "reasoning": "known"} for n, c in enumerate(KNOWN[turn], 1)]
            }
        elif task == "cluster_verify":
            lines = user.split("<clusters>\n")[1].split("\n</clusters>")[0].splitlines()
            sizes = {c["cluster"]: len(c["samples"]) for c in map(json.loads, lines)}
            said = {
                "verdicts": [{"cluster": n, "valid": int(size != 3), "reason": "size"} for n, size in sizes.items()]
            }
        return 200, completion(json.dumps(said))


@pytest.fixture
def judge() -> Iterator[tuple[KnownJudge, str]]:
    known = KnownJudge()
    server = ScriptedServer(known)
    yield known, server.url
    server.stop()


def scored(tables: Tables) -> dict[str, set[float]]:
    """The scores by metric: one value each where every run came to the same."""
    rows = tables.read("diversity").where("metric LIKE 'cluster_agent%'").collect()
    assert {(row["items"], row["scope"], row["n"]) for row in rows} == {("qa", "all", 4)}
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows)
    assert {json.loads(row["params"])["samples"] for row in rows} == {10}
    return {metric: {row["value"] for row in rows if row["metric"] == metric} for metric in SCORES}


def counted(job: Job, config: Config, texts: DataFrame) -> list[tuple[int, int]]:
    """What a dry run of the agent tells: the requests of each task, and those that are answered."""
    ledger = DryLedger(job.tables, config)
    ledger.left = len(TASKS)
    with pytest.raises(AllCountedError):
        run_agent(replace(job, tables=DryTables(job.spark, config.tables), ledger=ledger), texts, {"qa": 43})
    assert all(asks.prompt_tokens >= 100 * (asks.requests - asks.hits) for asks in ledger.counted)
    return [(asks.requests, asks.hits) for asks in ledger.counted]


@pytest.mark.long
def test_known_clusters_come_out_at_the_known_score_and_are_paid_once(
    spark: SparkSession, judge: tuple[KnownJudge, str], tmp_path: Path
) -> None:
    known, url = judge
    agent = {"rounds": 4, "samples": 10, "items": ["qa", "documents"]}
    config = make_config(tmp_path / "w", llm={"endpoint": "urls", "base_urls": [url]}, measure={"cluster_agent": agent})
    rows = [("qa", f"q{n}", f"Question {n}?", "en") for n in range(43)] + [("documents", "d", "One passage.", "en")]
    texts = spark.createDataFrame(rows, "items string, item_id string, text string, lang string")
    job = job_for(spark, config, [url])
    assert counted(job, config, texts) == [(1, 0), (4, 0), (4, 0)]

    figures = run_agent(job, texts, {"qa": 43, "documents": 1})
    # Ten clusters of one have nothing to verify.
    once = Counter(cluster_criteria=1, cluster_texts=4, cluster_verify=3)
    assert known.asked == once
    assert scored(job.tables) == {metric: {value} for metric, value in SCORES.items()}
    assert figures["cluster_agent_all_samples_qa"] == SCORES["cluster_agent_all_samples"]
    assert (figures["cluster_agent_qa_rounds_ok"], figures["cluster_agent_documents_rounds_too_few_texts"]) == (4, 4)
    made = [row for row in job.tables.read("cluster_rounds").collect() if row["items"] == "qa"]
    assert sorted((row["n_clusters"], row["n_kept"]) for row in made) == [(1, 4), (1, 10), (5, 10), (10, 10)]
    drawn = [item for row in made for item in row["item_ids"]]
    assert (len(drawn), len(set(drawn))) == (40, 40)
    assert {len(row["request_ids"]) for row in made} == {2, 3}
    assert all({c["valid"] for c in row["clusters"]} <= {True, False} for row in made)

    versions = delta_versions(job.tables)
    assert run_agent(job, texts.orderBy("text").repartition(3), {"qa": 43, "documents": 1}) == figures
    assert (known.asked, delta_versions(job.tables)) == (once, versions)


@pytest.mark.long
@pytest.mark.long
def test_measure_runs_the_agent_where_it_is_switched_on(
    spark: SparkSession, sample_run: SampleRun, judge: tuple[KnownJudge, str], tmp_path: Path
) -> None:
    known, url = judge
    shutil.copytree(sample_run.warehouse, tmp_path / "warehouse")
    config = make_config(
        tmp_path / "warehouse",
        llm={"endpoint": "urls", "base_urls": [url]},
        measure={"cluster_agent": {"rounds": 4}},
    )
    step = the_step("measure")
    (plan,) = dry_run(spark, config, [step])
    assert [(asks.requests, asks.hits) for asks in plan.asks] == [(1, 0), (4, 0), (4, 0)]

    calls, asked = try_step(spark, config, step, 2)
    assert [call["task"] for call in calls] == ["cluster_criteria", "cluster_texts", "cluster_texts", "cluster_verify"]
    assert asked == known.asked.total() == 4

    finished, lines = run_steps(spark, config, "measure")
    assert any("cluster_agent_all_samples of qa: 3.17, 4 rounds of 10 texts" in line for line in lines)
    tables = Tables(spark, config.tables)
    assert scored(tables) == {metric: {value} for metric, value in SCORES.items()}
    questions = {row["item_id"] for row in sample_run.rows("mixture")}
    assert {item for items in get(tables, "cluster_rounds", "item_ids") for item in items} <= questions
    assert known.asked == Counter(cluster_criteria=1, cluster_texts=4, cluster_verify=3)

    finished, _ = run_steps(spark, config, "measure")
    assert (outcome_of(finished, "measure").status, known.asked.total()) == ("unchanged", 8)
    assert examine(tables) == []


def test_an_unusable_answer_is_kept_in_words() -> None:
    row = {"items": "qa", "lang": "en", "round": 3, "request_id": "r", "clusters": [{"cluster": 1, "members": [1, 2]}]}
    (made,) = criteria_rows(row, Parsed(error="cut"))
    assert made == {"items": "qa", "lang": "en", "criteria_request_id": "r", "criteria_error": "cut"}
    (made,) = part_rows("judged", row, Parsed(error="noise"))
    assert made == {"items": "qa", "round": 3, "judged_request_id": "r", "judged_error": "noise"}


def test_verdicts_are_laid_upon_their_clusters() -> None:
    row = {"items": "qa", "round": 0, "request_id": "r", "clusters": [{"cluster": 1, "members": [1, 2]}]}
    (made,) = part_rows("judged", row, Parsed(value=[{"cluster": 1, "valid": False, "reason": "no"}]))
    assert made["judged"] == [{"cluster": 1, "members": [1, 2], "valid": False, "reason": "no"}]


def test_a_single_round_has_a_score_without_an_interval() -> None:
    import pandas as pd

    made = score_rows(pd.DataFrame({"items": ["qa"], "round": [0], "n_clusters": [5], "n_kept": [10]}), 10, 1)
    assert set(made["value"]) == {2.5, 5.0}
    assert made["ci_low"].isna().all()
