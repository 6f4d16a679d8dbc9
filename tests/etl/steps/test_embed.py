"""embed: one row a text, and a reason beside each vector that must not decide alone. No Spark: the worker's part is a plain function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from etl.items import vectors
from etl.steps import embed as step
from etl.steps.embed import embedded
from tests.etl.tiny import MODEL, document, get, job_for, kept, make_config, put, the_step
from udfs.embedding import from_binary
from udfs.embedding_model import EmbedSettings, load_model

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun

ENGLISH = "Photosynthesis is the process by which plants use light to make sugar."
CHINESE = "勾股定理说明直角三角形斜边的平方等于两条直角边的平方之和。"


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    texts = {"en": ENGLISH, "same": ENGLISH, "zh": CHINESE, "long": "The river flows to the sea. " * 200}
    batch = pa.RecordBatch.from_pydict(
        {
            "item_id": list(texts),
            "role": ["text"] * len(texts),
            "text_hash": [f"hash-{name}" for name in texts],
            "text": list(texts.values()),
        }
    )
    model = load_model(EmbedSettings(MODEL, device="cpu", threads=1))
    return {row["item_id"]: row for row in embedded(batch, model, 0.1).to_pylist()}


def test_a_readable_text_has_a_unit_vector_and_no_reason(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["en"]
    (vector,) = from_binary([row["vector"]], row["dim"])
    assert row["dim"] == 384
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-3)
    assert (row["reason"], row["cut"], row["unknown_share"]) == (None, False, 0.0)
    assert row["text_hash"] == "hash-en"
    assert row["vector"] == rows["same"]["vector"]


def test_chinese_is_marked_as_unreadable_for_the_english_model(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["zh"]["reason"] == "unknown_tokens"
    assert rows["zh"]["unknown_share"] > 0.1
    assert rows["zh"]["vector"] is None


def test_a_text_over_the_window_is_marked_as_cut(rows: dict[str, dict[str, Any]]) -> None:
    assert (rows["long"]["reason"], rows["long"]["cut"]) == ("longer_than_window", True)
    assert rows["long"]["vector"] is not None


@pytest.mark.long
def test_another_bound_of_unknown_tokens_is_decided_anew(spark: SparkSession, tmp_path: Path) -> None:
    rows = [document("en", ENGLISH), document("zh", CHINESE, lang="zh")]
    for bound, unread in ((0.1, ["zh"]), (0.9, []), (0.1, ["zh"]), (0.9, [])):
        job = job_for(spark, make_config(tmp_path, embed={"max_unknown_share": bound}))
        if not job.tables.exists("documents"):
            put(job.tables, "documents", rows)
            put(job.tables, "curation", [kept("en"), kept("zh")])
        the_step("embed").run(job)
        found = vectors(job.tables, job.config.embed).collect()
        assert sorted(row["item_id"] for row in found) == ["en", "zh"]
        assert [row["item_id"] for row in found if row["reason"] == "unknown_tokens"] == unread
        assert all(row["vector"] is not None for row in found if row["item_id"] not in unread)


@pytest.mark.long
def test_each_commit_is_kept_whatever_becomes_of_the_next(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "ROWS_PER_COMMIT", 4)
    job = job_for(spark, make_config(tmp_path))
    put(job.tables, "documents", [document(f"d{n}", f"{ENGLISH} Part {n // 2}.") for n in range(16)])
    put(job.tables, "curation", [kept(f"d{n}") for n in range(16)])
    append, done = type(job.tables).append, []

    def fails_at_the_third(tables: Any, name: str, rows: Any) -> int:
        if len(done) == 2:
            raise OSError("the storage is gone")
        done.append(append(tables, name, rows))
        return int(done[-1])

    with monkeypatch.context() as patch:
        patch.setattr(type(job.tables), "append", fails_at_the_third)
        with pytest.raises(OSError, match="gone"):
            the_step("embed").run(job)
    assert job.tables.read("embeddings").count() == sum(done) > 0
    outcome = the_step("embed").run(job)
    assert outcome.rows_in == outcome.rows_out == 16 - sum(done)
    found = vectors(job.tables, job.config.embed).collect()
    assert sorted(row["item_id"] for row in found) == sorted(f"d{n}" for n in range(16))
    by_text = {row["text_hash"]: bytes(row["vector"]) for row in found}
    assert all(bytes(row["vector"]) == by_text[row["text_hash"]] for row in found), "equal texts meet in one task"


@pytest.mark.long
def test_vectors_of_other_settings_do_not_pass_for_these(spark: SparkSession, tmp_path: Path) -> None:
    for windows, cut in (("first", True), ("mean", False)):
        job = job_for(spark, make_config(tmp_path, embed={"windows": windows}))
        if not job.tables.exists("documents"):
            put(job.tables, "documents", [document("long", "The river flows to the sea. " * 200)])
            put(job.tables, "curation", [kept("long")])
        assert vectors(job.tables, job.config.embed).count() == 0
        the_step("embed").run(job)
        (row,) = vectors(job.tables, job.config.embed).collect()
        assert row["reason"] == ("longer_than_window" if cut else None)
    assert sorted(get(job.tables, "embeddings", "model", "cut")) == [(MODEL, True), (f"{MODEL}+mean", False)]


def test_every_seed_and_every_refined_question_is_embedded(sample_run: SampleRun) -> None:
    seeds = {row["doc_id"] for row in sample_run.rows("curation") if row["kept"]}
    questions = {row["qa_id"] for row in sample_run.rows("refinements") if row["status"] == "ok"}
    assert {row["item_id"] for row in sample_run.rows("embeddings")} == seeds | questions
    asked = {row["doc_id"] for row in sample_run.rows("documents") if row["kind"] == "qa"}
    for row in sample_run.rows("embeddings"):
        assert row["role"] == ("question" if row["item_id"] in asked | questions else "text")
