"""Real texts through the steps embed and dedup, and the pairs and stand-ins that come out beside brute force."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import ROOT
from ledger_table import ledger_of
from numpy.typing import NDArray

from etl.config import load_config
from etl.items import vectors as vectors_of
from etl.progress import silent
from etl.step import Job
from etl.steps import dedup, embed
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy
from udfs.embedding import from_binary
from udfs.similarity import pairs_over
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
THRESHOLD = 0.90


class RealRows:
    """Real texts in a warehouse, through the steps embed and dedup."""

    def __init__(self, spark: SparkSession, warehouse: Path, texts: list[str]) -> None:
        sets = [f"tables.warehouse={warehouse}", "mlflow.enabled=false", f"dedup.threshold={THRESHOLD}"]
        self.config = load_config(str(ROOT / "conf/local.yaml"), sets)
        self.tables = Tables(spark, self.config.tables)
        ledger = ledger_of(self.tables, self.config, "bench")
        watch = silent(self.tables.files)
        self.job = Job(spark, self.config, self.tables, ledger, read_taxonomy(self.config), "bench", print, watch, "")
        if not self.tables.exists("documents"):
            rows = [(text_hash(text), "passage", text, text_hash(text)) for text in texts]
            documents = spark.createDataFrame(rows, "doc_id string, kind string, text string, text_hash string")
            self.tables.append("documents", documents)
            self.tables.append("curation", documents.selectExpr("doc_id", "true AS kept", "0.5D AS quality"))

    def measure(self) -> Row:
        """Runs both steps, and compares every row with every other."""
        seconds: dict[str, float] = {}
        for step in (embed.SEEDS_STEP, dedup.SEEDS_STEP):
            started = time.monotonic()
            outcome = step.run(self.job)
            seconds[f"{step.name}_s"] = round(time.monotonic() - started, 1)
        made = vectors_of(self.tables, self.config.embed).where("vector IS NOT NULL AND reason IS NULL")
        rows = made.select("item_id", "vector", "dim").orderBy("item_id").toPandas()
        ids, vectors = rows["item_id"].tolist(), from_binary(rows["vector"].tolist(), int(rows["dim"].iloc[0]))
        this = outcome.ids["seed_dedup_id"]
        edges = self.tables.read("edges").where(f"dedup_id = '{this}'").select("a_id", "b_id").toPandas()
        removed = self.tables.read("duplicates").where(f"dedup_id = '{this}'").select("item_id", "kept_id").toPandas()
        told = {**seconds, **_beside_brute_force(ids, vectors, edges), **_orphans(ids, vectors, removed)}
        return {"what": "real texts", "size": outcome.rows_in, "threshold": THRESHOLD, **told, **outcome.figures}


def _beside_brute_force(ids: list[str], vectors: NDArray[np.float32], edges: Any) -> Row:
    """Recall and precision of the pairs, among texts whose vectors differ."""
    number = {item: n for n, item in enumerate(ids)}
    distinct_vectors, group = np.unique(vectors, axis=0, return_inverse=True)
    group = group.ravel()
    started = time.monotonic()
    i, j, _ = pairs_over(distinct_vectors, None, THRESHOLD)
    brute_s = time.monotonic() - started
    truth = set((np.minimum(i, j) * len(ids) + np.maximum(i, j)).tolist())
    a = group[[number[item] for item in edges["a_id"]]]
    b = group[[number[item] for item in edges["b_id"]]]
    found = set((np.minimum(a, b) * len(ids) + np.maximum(a, b))[a != b].tolist())
    recall = len(found & truth) / len(truth) if truth else 1.0
    told = {"pairs": len(truth), "recall": round(recall, 5), "wrong_pairs": len(found - truth)}
    return {**told, "brute_force_s": round(brute_s, 1), "equal_vectors": len(ids) - len(distinct_vectors)}


def _orphans(ids: list[str], vectors: NDArray[np.float32], removed: Any) -> Row:
    """Removed rows without a kept row at or over the threshold, by their own vectors."""
    number = {item: n for n, item in enumerate(ids)}
    gone = set(removed["item_id"])
    known = [(row.item_id, row.kept_id) for row in removed.itertuples()]
    loose = sum(kept in gone or kept not in number for _, kept in known)
    pairs = [(number[item], number[kept]) for item, kept in known if item in number and kept in number]
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    cosine = (vectors[a].astype(np.float64) * vectors[b]).sum(axis=1)
    cosine /= np.linalg.norm(vectors[a].astype(np.float64), axis=1) * np.linalg.norm(
        vectors[b].astype(np.float64), axis=1
    )
    # Texts that are equal but for capitals are removed as such; what the model makes of them may differ.
    return {"removed": len(removed), "orphans": loose + int((cosine < THRESHOLD - 1e-9).sum())}
