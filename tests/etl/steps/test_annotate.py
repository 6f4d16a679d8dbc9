"""annotate: what the embedding can not decide gets a reason and no label; the LLM's answer becomes a label or a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from etl.steps.annotate import labelled, llm_row
from udfs.embedding import to_binary
from udfs.tasks import Parsed
from udfs.zero_shot import LEVELS, Prototypes

if TYPE_CHECKING:
    from tests.conftest import SampleRun

DIM = 16
EYE = np.eye(DIM, dtype=np.float32)
PROTOTYPES = Prototypes(("botany", "algebra"), EYE[:2], EYE[2 : 2 + len(LEVELS)])
DISCIPLINES = {"botany": "science", "algebra": "science"}


def batch(vectors: list[np.ndarray], reasons: list[str | None]) -> pa.RecordBatch:
    n = len(vectors)
    names = [f"i{i}" for i in range(n)]
    same = {"text_hash": names, "annotator": ["zero_shot@1"] * n, "item_kind": ["doc"] * n}
    given = {
        "vector": pa.array([to_binary(v[None, :])[0] for v in vectors], pa.binary()),
        "reason": pa.array(reasons, pa.string()),
    }
    return pa.RecordBatch.from_pydict({"item_id": names, **same, **given})


def test_labels_go_to_readable_rows_only() -> None:
    rows = labelled(
        batch([EYE[0], EYE[1], EYE[0], EYE[15]], [None, None, "unknown_tokens", None]), PROTOTYPES, DISCIPLINES, 0.15
    ).to_pylist()
    assert [row["field"] for row in rows] == ["botany", "algebra", None, None]
    assert [row["discipline"] for row in rows] == ["science", "science", None, None]
    assert [row["reason"] for row in rows] == [None, None, "unknown_tokens", "low_score"]
    assert rows[2]["difficulty"] is None
    assert all(1 <= row["difficulty"] <= 5 for row in rows[:2])


def test_a_batch_without_a_readable_row_has_reasons_alone() -> None:
    rows = labelled(batch([EYE[0]], ["longer_than_window"]), PROTOTYPES, DISCIPLINES, 0.15).to_pylist()
    assert [(row["discipline"], row["reason"]) for row in rows] == [(None, "longer_than_window")]


def test_the_llms_answer_becomes_a_label_or_a_reason() -> None:
    row = {"item_id": "i", "text_hash": "h", "annotator": "llm@1", "item_kind": "doc", "model": "m", "prompt_id": "p"}
    value = {"field": "botany", "difficulty": 4, "confidence": 0.8, "reason": "leaves"}
    good = llm_row(row, Parsed(value=value), DISCIPLINES)
    assert (good["discipline"], good["field"], good["difficulty"], good["discipline_score"]) == (
        "science",
        "botany",
        4,
        0.8,
    )
    bad = llm_row(row, Parsed(error="not JSON"), DISCIPLINES)
    assert (bad["reason"], bad["error"]) == ("llm_unusable", "not JSON")
    assert "discipline" not in bad


def labels_of(run: SampleRun) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows("annotations"):
        found.setdefault(row["item_id"], []).append(row)
    return found


def test_every_seed_and_question_of_the_samples_is_labelled_in_range(sample_run: SampleRun) -> None:
    removed = {row["item_id"] for row in sample_run.rows("duplicates")}
    seeds = {row["doc_id"] for row in sample_run.rows("curation") if row["kept"]} - removed
    questions = {row["qa_id"] for row in sample_run.rows("refinements") if row["status"] == "ok"}
    labels = labels_of(sample_run)
    assert set(labels) == seeds | questions
    for rows in labels.values():
        good = [row for row in rows if row["discipline"] is not None]
        assert len(good) == 1
        assert 1 <= good[0]["difficulty"] <= 5
        assert all(row["reason"] for row in rows if row["discipline"] is None)


def test_only_what_the_embedding_left_open_is_paid_for(sample_run: SampleRun) -> None:
    for rows in labels_of(sample_run).values():
        by = {row["annotator"].split("@")[0]: row for row in rows}
        if "llm" in by:
            assert by["zero_shot"]["reason"] in ("unknown_tokens", "longer_than_window", "low_score", "no_vector")
