"""measure: what stands in `diversity` is what the n x n definition gives on the same vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from udfs.embedding import from_binary
from udfs.textstats import compression_ratio, distinct_n

if TYPE_CHECKING:
    from tests.conftest import SampleRun


def clean_items(run: SampleRun, items: str) -> dict[str, str]:
    """The ids of what was measured, with the text: unique seeds, or verified questions that dedup has kept."""
    removed = {row["item_id"] for row in run.rows("duplicates")}
    if items == "documents":
        kept = {row["doc_id"]: row["clean_text"] for row in run.rows("curation") if row["kept"]}
        return {
            row["doc_id"]: row["question"] if row["kind"] == "qa" else kept[row["doc_id"]] or row["text"]
            for row in run.rows("documents")
            if row["doc_id"] in kept and row["doc_id"] not in removed
        }
    verified = [row for row in run.rows("qa") if row["status"] == "verified" and row["qa_id"] not in removed]
    return {row["qa_id"]: row["question"] for row in verified}


def vectors_of(run: SampleRun, ids: set[str]) -> tuple[list[str], np.ndarray]:
    rows = sorted(
        (r["item_id"], r["vector"], r["dim"]) for r in run.rows("embeddings") if r["item_id"] in ids and not r["reason"]
    )
    vectors = from_binary([bytes(vector) for _, vector, _ in rows], rows[0][2]).astype(np.float64)
    return [item for item, _, _ in rows], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def values(run: SampleRun, items: str, scope: str) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in run.rows("diversity") if (row["items"], row["scope"]) == (items, scope)}


def by_definition(unit: np.ndarray) -> dict[str, float]:
    n = len(unit)
    kernel = unit @ unit.T
    eigen = np.linalg.eigvalsh(kernel / n)
    eigen = eigen[eigen > 1e-12]
    return {
        "mean_cosine": float((kernel.sum() - np.trace(kernel)) / (n * (n - 1))),
        "remote_clique": float(1 - kernel.mean()),
        "rke": float(1 / np.sum((kernel / n) ** 2)),
        "vendi_q1": float(np.exp(-np.sum(eigen * np.log(eigen)))),
        "vendi_q2": float(1 / np.sum(eigen**2)),
        "vendi_qinf": float(1 / eigen.max()),
        "log_det": float(np.linalg.slogdet(np.eye(n) + kernel)[1]),
    }


@pytest.mark.parametrize("items", ["documents", "qa"])
def test_the_closed_forms_equal_the_definition(sample_run: SampleRun, items: str) -> None:
    ids, unit = vectors_of(sample_run, set(clean_items(sample_run, items)))
    found = values(sample_run, items, "all")
    for metric, value in by_definition(unit).items():
        assert found[metric]["value"] == pytest.approx(value, rel=2e-3, abs=2e-3), metric
        assert found[metric]["n"] == len(ids)
        assert found[metric]["ci_low"] <= found[metric]["value"] <= found[metric]["ci_high"], metric


def test_a_source_is_measured_by_itself(sample_run: SampleRun) -> None:
    texts = clean_items(sample_run, "documents")
    source = {row["doc_id"]: row["source"] for row in sample_run.rows("documents")}
    ids, unit = vectors_of(sample_run, {item for item in texts if source[item] == "engineering"})
    found = values(sample_run, "documents", "source=engineering")
    assert found["mean_cosine"]["value"] == pytest.approx(by_definition(unit)["mean_cosine"], abs=2e-3)
    assert found["distinct_1"]["n"] == len(ids)
    assert found["distinct_1"]["value"] == pytest.approx(distinct_n(sorted(texts[item] for item in ids), 1))


def test_texts_are_measured_too(sample_run: SampleRun) -> None:
    readable, _ = vectors_of(sample_run, set(texts := clean_items(sample_run, "qa")))
    words = sorted(texts[item] for item in readable)
    found = values(sample_run, "qa", "all")
    assert found["distinct_2"]["value"] == pytest.approx(distinct_n(words, 2))
    assert found["compression_ratio"]["value"] == pytest.approx(compression_ratio(words))


def test_every_scope_of_the_config_is_there_and_no_other(sample_run: SampleRun) -> None:
    kinds = {row["scope"].split("=")[0] for row in sample_run.rows("diversity")}
    assert kinds == set(sample_run.config.measure.scopes)
    assert len({row["inputs_id"] for row in sample_run.rows("diversity")}) == 1
    assert all(np.isfinite(row["value"]) for row in sample_run.rows("diversity"))
