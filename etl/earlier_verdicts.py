"""Verdicts of earlier judgings that still hold, so that documents that come later are judged against them and nothing is judged twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.benchmarks import benchmark_state
from etl.step import Job
from etl.tables import Tables
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Another number where the same document, settings and benchmarks come to give other features: everything is judged anew then.
FEATURES_VERSION = "2"


def judging_id(job: Job) -> str:
    """Names the settings and benchmark files that a verdict hangs on, beside the document itself."""
    return stable_id("judging", FEATURES_VERSION, job.config.fingerprint("curate"), benchmark_state(job))


def hashed_documents(tables: Tables) -> DataFrame:
    """Returns `documents` with `document_hash`, by which a changed one is known."""
    return tables.read("documents").withColumn("document_hash", F.xxhash64("text_hash", "kind", "lang"))


def earlier_verdicts(tables: Tables, documents: DataFrame, judging: str) -> DataFrame | None:
    """Returns the rows of `curation` that hold for these documents, written to scratch; None where there are none.

    A verdict holds while its document is what it was, for the settings and benchmarks it was given under, and for a duplicate while the document that
    stands for it is there and kept.
    """
    if not tables.exists("curation"):
        return None
    given = tables.read("curation").where(F.col("judging_id") == judging)
    same = given.join(documents.select("doc_id", "document_hash"), ["doc_id", "document_hash"], "left_semi")
    standing = same.where("kept").selectExpr("doc_id AS kept_id")
    alone = same.where("kept_id IS NULL")
    held = tables.scratch("curate_earlier", alone.unionByName(same.join(standing, "kept_id", "left_semi")))
    return None if held.isEmpty() else held


def unjudged(tables: Tables, documents: DataFrame, earlier: DataFrame | None) -> DataFrame:
    """Returns the documents without an earlier verdict."""
    if earlier is None:
        return documents
    # Ids alone are compared; where few are new, no text of an old document is moved.
    new = documents.select("doc_id").join(earlier.select("doc_id"), "doc_id", "left_anti")
    return documents.join(tables.scratch("curate_new", new), "doc_id", "left_semi")
