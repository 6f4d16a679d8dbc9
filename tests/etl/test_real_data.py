"""Real files in each format, which nobody here wrote: every record is read or has a reason, and nothing raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.etl.tiny import DATA, job_for, make_config, needs_data, source, the_step

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PARTS: dict[str, dict[str, Any]] = {
    "economics": {"path": "en/economics/m4859*.md", "format": "markdown"},
    "sicp": {"path": "en/sicp_html/1_002e*.xhtml", "format": "html"},
    "factbook": {
        "path": "en/factbook/antarctica",
        "format": "json",
        "fields": {"text": "Introduction.Background.text"},
    },
    "onestop": {
        "path": "en/onestop_csv_quarter/A*.csv",
        "format": "csv",
        "encoding": "auto",
        "fields": {"text": "Advanced"},
    },
    "classical": {"path": "zh/classical/古文原文/九章算术", "format": "text"},
    "constitution": {"path": "zh/laws/宪法", "format": "markdown"},
    "cmrc": {
        "path": "zh/cmrc2018/cmrc2018_trial.json",
        "format": "json",
        "fields": {"text": "context_text", "id": "context_id"},
    },
    "gsm8k": {
        "path": "bench/gsm8k/test.jsonl",
        "format": "jsonl",
        "fields": {"question": "question", "answer": "answer"},
    },
    "math": {
        "path": "bench/college_math.parquet",
        "format": "parquet",
        "fields": {"question": "question", "answer": "answer"},
    },
}
CHINESE = {"classical", "constitution", "cmrc"}


@pytest.fixture(scope="module")
def read(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    sources = [
        source(name, DATA / part["path"], **{k: v for k, v in part.items() if k != "path"})
        for name, part in PARTS.items()
    ]
    # The factbook's regions hold a few records that are larger than the samples' bound.
    config = make_config(
        tmp_path_factory.mktemp("real") / "warehouse", sources=sources, ingest={"max_record_bytes": 10_000_000}
    )
    job = job_for(spark, config)
    the_step("ingest").run(job).check("ingest")
    return {name: job.tables.read(name).collect() for name in ("documents", "quarantine", "files")}


@needs_data
@pytest.mark.parametrize("name", PARTS)
def test_every_record_is_read_or_has_a_reason(read: dict[str, list[Any]], name: str) -> None:
    documents = [row for row in read["documents"] if row["source"] == name]
    broken = [row for row in read["quarantine"] if row["source"] == name]
    files = [row for row in read["files"] if row["source"] == name]
    assert documents
    assert len({row["parent_id"] for row in documents}) + len(broken) == sum(row["records"] for row in files)
    assert len(documents) == sum(row["passages"] for row in files)
    assert all(row["reason"] and row["error"] for row in broken)
    assert len(broken) < 0.2 * len(documents)
    assert all(row["text"].strip() and row["n_tokens"] > 0 for row in documents)
    chinese = sum(row["lang"] == "zh" for row in documents) / len(documents)
    assert (chinese > 0.8) == (name in CHINESE)


@needs_data
def test_all_keys_are_unique(read: dict[str, list[Any]]) -> None:
    assert len({row["doc_id"] for row in read["documents"]}) == len(read["documents"])
    assert len({(row["uri"], row["position"]) for row in read["quarantine"]}) == len(read["quarantine"])
