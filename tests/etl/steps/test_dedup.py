"""dedup: planted vectors come out as brute force says, whatever the order and the partitions; what the model can not read stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from etl.tables import Tables
from tests.etl.tiny import delta_versions, document, embedding, job_for, kept, make_config, pair, put, the_step
from udfs.embedding import from_binary, to_binary
from udfs.similarity import pairs_over
from udfs.survivors import greedy_survivors
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from etl.step import Job, Outcome

DIM, GROUPS, EACH = 24, 12, 4
THRESHOLD = 0.9
SAME_SETTINGS = {"threshold": THRESHOLD, "cluster_size": 8, "probes": 2, "audit_rows": 100}


def planted() -> tuple[list[str], np.ndarray, list[float]]:
    """Groups of like vectors: ids, unit vectors as stored (float16), qualities."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(GROUPS, DIM))
    vectors = np.repeat(centres, EACH, axis=0) + 0.35 * rng.normal(size=(GROUPS * EACH, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = from_binary(to_binary(vectors), DIM)
    ids = [f"item-{i:02}" for i in range(len(vectors))]
    return ids, stored, rng.choice([0.5, 0.7, 0.9], len(ids)).tolist()


def expected(ids: list[str], vectors: np.ndarray, quality: list[float]) -> dict[str, str]:
    """By brute force: the sequential answer by quality, then length (equal here), then id."""
    order = sorted(range(len(ids)), key=lambda i: (-quality[i], ids[i]))
    rank = np.empty(len(ids), dtype=np.int64)
    rank[order] = np.arange(len(ids))
    i, j, cosine = pairs_over(vectors, None, THRESHOLD)
    kept_of = greedy_survivors(i, j, rank, len(ids), cosine)
    return {ids[item]: ids[keeper] for item, keeper in enumerate(kept_of) if item != keeper}


def text_of(name: str) -> str:
    return f"The text of {name}."


def dedup(
    spark: SparkSession, warehouse: Path, order: list[int], partitions: int, cluster_size: int
) -> tuple[dict[str, Any], Any]:
    ids, vectors, quality = planted()
    settings = {**SAME_SETTINGS, "cluster_size": cluster_size}
    # Several settings at once show that neither Spark's nor our own partitions decide anything.
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        job = job_for(spark, make_config(warehouse, dedup=settings))
        put(job.tables, "documents", [document(ids[i], text_of(ids[i])) for i in order])
        put(job.tables, "curation", [kept(ids[i], quality[i]) for i in order])
        put(job.tables, "embeddings", [embedding(ids[i], text_of(ids[i]), vectors[i]) for i in order])
        outcome = the_step("dedup").run(job)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", str(before))
    outcome.check("dedup")
    rows = job.tables.read("duplicates").collect()
    edges = {(row["a_id"], row["b_id"]) for row in job.tables.read("edges").collect()}
    return {row["item_id"]: (row["kept_id"], row["cosine"], row["method"]) for row in rows}, (outcome, edges)


def test_planted_duplicates_come_out_as_brute_force_says(spark: SparkSession, tmp_path: Path) -> None:
    ids, vectors, quality = planted()
    removed, (outcome, edges) = dedup(spark, tmp_path / "w", list(range(len(ids))), 2, cluster_size=1000)
    truth = expected(ids, vectors, quality)
    assert len(truth) > GROUPS
    assert {item: keeper for item, (keeper, _, _) in removed.items()} == truth
    assert all(cosine >= THRESHOLD and method == "semantic" for _, cosine, method in removed.values())
    i, j, _ = pairs_over(vectors, None, THRESHOLD)
    assert edges == {tuple(sorted((ids[a], ids[b]))) for a, b in zip(i, j, strict=True)}
    assert outcome.rows_in == len(ids)
    assert outcome.dropped == {"semantic_duplicate": len(truth)}
    assert outcome.figures["audit_recall"] == 1.0
    assert outcome.figures["orphans"] == 0


@pytest.mark.long
def test_clusters_give_the_same_for_any_order_and_partitioning(spark: SparkSession, tmp_path: Path) -> None:
    n = GROUPS * EACH
    shuffled = np.random.default_rng(1).permutation(n).tolist()
    ways = [(list(range(n)), 1), (list(range(n))[::-1], 3), (shuffled, 7)]
    results = [dedup(spark, tmp_path / f"w{i}", order, parts, cluster_size=8) for i, (order, parts) in enumerate(ways)]
    first, (outcome, edges) = results[0]
    for removed, (_, found) in results[1:]:
        assert removed == first
        assert found == edges
    assert 0 < outcome.figures["audit_recall"] <= 1
    # What was compared and is over the threshold never stays side by side.
    assert not [edge for edge in edges if not set(edge) & set(first)]
    assert not {keeper for keeper, _, _ in first.values()} & set(first)


def test_what_the_model_can_not_read_is_never_removed_by_its_vector(spark: SparkSession, tmp_path: Path) -> None:
    same = np.eye(1, DIM)[0]
    rows = {"readable-1": {}, "readable-2": {}, "unknown-1": {"reason": "unknown_tokens"}}
    rows |= {
        "unknown-2": {"reason": "unknown_tokens"},
        "long-1": {"reason": "longer_than_window"},
        "pair-1": {"role": "question"},
    }
    job = job_for(spark, make_config(tmp_path / "w"))
    asked = pair("pair-1", text_of("pair-1"), "An answer.")
    put(job.tables, "documents", [*[document(name, text_of(name)) for name in rows if name != "pair-1"], asked])
    put(job.tables, "curation", [kept(name) for name in rows])
    put(job.tables, "embeddings", [embedding(name, text_of(name), same, **more) for name, more in rows.items()])
    outcome = the_step("dedup").run(job)
    removed = {row["item_id"]: row["kept_id"] for row in job.tables.read("duplicates").collect()}
    # A passage and a question are never compared either.
    assert removed == {"readable-2": "readable-1"}
    assert outcome.figures["not_comparable"] == 3


@pytest.mark.long
def test_the_same_rows_are_the_same_run_whatever_else_their_tables_hold(spark: SparkSession, tmp_path: Path) -> None:
    removed, _ = dedup(spark, tmp_path / "w", list(range(GROUPS * EACH)), 2, cluster_size=8)
    job = replace(job_for(spark, make_config(tmp_path / "w", dedup=SAME_SETTINGS)), fingerprint="another")
    put(job.tables, "embeddings", [embedding("of a question", "Why?", np.eye(1, DIM)[0], role="question")])
    before = delta_versions(job.tables)
    again = the_step("dedup").run(job)
    assert delta_versions(job.tables) == before
    assert sum(again.dropped.values()) == len(removed)


@pytest.mark.long
def test_a_row_without_a_vector_is_compared_by_its_words_alone(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    put(job.tables, "documents", [document("a", "The same."), document("b", "The same."), document("c", "Another.")])
    put(job.tables, "curation", [kept(name) for name in "abc"])
    outcome = the_step("dedup").run(job)
    outcome.check("dedup")
    assert outcome.dropped == {"exact_duplicate": 1}
    assert outcome.figures["not_comparable"] == 3


@pytest.mark.long
def test_a_changed_text_is_compared_by_its_own_vector(spark: SparkSession, tmp_path: Path) -> None:
    old, new, other = np.eye(3, DIM)
    job = job_for(spark, make_config(tmp_path / "w", dedup={"max_driver_edges": 0}))
    put(
        job.tables,
        "documents",
        [document("changed", "The new text."), document("old-like", "A."), document("new-like", "B.")],
    )
    put(job.tables, "curation", [kept("changed", 0.5), kept("old-like", 0.9), kept("new-like", 0.9)])
    vectors = [
        ("changed", "The old text.", old),
        ("changed", "The new text.", new),
        ("old-like", "A.", old),
        ("new-like", "B.", new),
    ]
    put(job.tables, "embeddings", [embedding(name, text, vector) for name, text, vector in vectors])
    the_step("dedup").run(job)
    removed = {row["item_id"]: row["kept_id"] for row in job.tables.read("duplicates").collect()}
    assert removed == {"changed": "new-like"}
    assert other.any()


def add(job: Job, names: Sequence[str], vectors: Sequence[Any], quality: Sequence[float]) -> None:
    put(job.tables, "documents", [document(name, text_of(name)) for name in names])
    put(job.tables, "curation", [kept(name, q) for name, q in zip(names, quality, strict=True)])
    rows = [embedding(name, text_of(name), vector) for name, vector in zip(names, vectors, strict=True)]
    put(job.tables, "embeddings", rows)


def fate(job: Job, dedup_id: str) -> dict[str, tuple[str, float, str]]:
    rows = job.tables.read("duplicates").where(F.col("dedup_id") == dedup_id).collect()
    return {row["item_id"]: (row["kept_id"], row["cosine"], row["method"]) for row in rows}


def id_of(outcome: Outcome) -> str:
    return outcome.ids["seed_dedup_id"]


@pytest.mark.long
def test_five_batches_in_order_of_priority_keep_what_one_run_keeps(spark: SparkSession, tmp_path: Path) -> None:
    ids, vectors, quality = planted()
    settings = {**SAME_SETTINGS, "max_drift": 2.0}
    whole = job_for(spark, make_config(tmp_path / "whole", dedup=settings))
    add(whole, ids, vectors, quality)
    at_once = the_step("dedup").run(whole)
    batches = job_for(spark, make_config(tmp_path / "batches", dedup=settings))
    # The same centroids, which are not too few for any batch.
    batches.tables.append("centroids", whole.tables.read("centroids"))
    order = sorted(range(len(ids)), key=lambda i: (-quality[i], ids[i]))
    compared, outcome = [], at_once
    for part in np.array_split(np.array(order), 5):
        add(batches, [ids[i] for i in part], vectors[part], [quality[i] for i in part])
        outcome = the_step("dedup").run(batches)
        outcome.check("dedup")
        assert outcome.figures["orphans"] == outcome.figures["kept_pairs"] == 0
        compared.append(outcome.figures["compared_rows"])
    assert compared[-1] < len(ids), "what was removed is not compared again"
    assert fate(batches, id_of(outcome)) == fate(whole, id_of(at_once))
    assert outcome.dropped == at_once.dropped
    assert batches.tables.read("centroids").select("centroid_set_id").distinct().count() == 1


@pytest.mark.long
def test_what_an_earlier_run_kept_stays_and_new_rows_go(spark: SparkSession, tmp_path: Path) -> None:
    one, other = np.eye(2, DIM)
    job = job_for(spark, make_config(tmp_path / "w"))
    add(job, ["old-kept", "old-gone"], [one, one], [0.8, 0.7])
    first = the_step("dedup").run(job)
    add(job, ["new-better", "new-other", "new-like-other"], [one, other, other], [0.9, 0.5, 0.4])
    second = the_step("dedup").run(job)
    assert fate(job, id_of(first)) == {"old-gone": ("old-kept", 1.0, "semantic")}
    gone = {name: keeper for name, (keeper, _, _) in fate(job, id_of(second)).items()}
    assert gone == {"old-gone": "old-kept", "new-better": "old-kept", "new-like-other": "new-other"}
    before = delta_versions(job.tables)
    again = the_step("dedup").run(job)
    assert (again.dropped, again.ids, again.figures) == (second.dropped, second.ids, second.figures)
    assert delta_versions(job.tables) == before
    # A row that is gone is a reason to compare all again.
    job.tables.delete_where("curation", "doc_id = 'old-kept'")
    third = the_step("dedup").run(job)
    assert {name: keeper for name, (keeper, _, _) in fate(job, id_of(third)).items()} == {
        "old-gone": "new-better",
        "new-like-other": "new-other",
    }


@pytest.mark.long
def test_a_higher_threshold_takes_the_pairs_over_and_gives_what_comparing_gives(
    spark: SparkSession, tmp_path: Path
) -> None:
    ids, vectors, quality = planted()
    job = job_for(spark, make_config(tmp_path / "w", dedup=SAME_SETTINGS))
    add(job, ids, vectors, quality)
    lower = the_step("dedup").run(job)
    config = make_config(tmp_path / "w", dedup={**SAME_SETTINGS, "threshold": 0.92})
    said: list[str] = []
    higher = the_step("dedup").run(replace(job, config=config, say=said.append))
    assert [line for line in said if "taken over" in line]
    assert 0 < higher.dropped["semantic_duplicate"] < lower.dropped["semantic_duplicate"]
    fresh = job_for(spark, make_config(tmp_path / "fresh", dedup={**SAME_SETTINGS, "threshold": 0.92}))
    fresh.tables.append("centroids", job.tables.read("centroids").withColumn("settings", F.lit("others")))
    add(fresh, ids, vectors, quality)
    compared = the_step("dedup").run(fresh)
    assert fate(job, id_of(higher)) == fate(fresh, id_of(compared))


def test_strange_vectors_and_ids_are_rows_with_reasons(spark: SparkSession, tmp_path: Path) -> None:
    good, other = np.eye(2, DIM)
    job = job_for(spark, make_config(tmp_path / "w"))
    names = ["a-good", "b-same", "nan", "zero", "short", "twice", "none", "unembedded"]
    vectors = [good, good, np.full(DIM, np.nan), np.zeros(DIM), np.ones(DIM // 2), other, None, None]
    put(job.tables, "documents", [document(name, text_of(name)) for name in [*names, "b-same"]])
    put(job.tables, "curation", [kept(name) for name in names])
    rows = [embedding(n, text_of(n), v) for n, v in zip(names, vectors, strict=True) if v is not None]
    empty = {**rows[0], "item_id": "none", "text_hash": text_hash(text_of("none")), "vector": None}
    put(job.tables, "embeddings", [*rows, empty, rows[names.index("twice")]])
    outcome = the_step("dedup").run(job)
    outcome.check("dedup")
    assert outcome.rows_in == len(names) + 1
    assert outcome.dropped == {"duplicate_id": 1, "semantic_duplicate": 1}
    assert outcome.figures["not_comparable"] == 6
    assert outcome.figures["not_comparable_no_vector"] == 2
    reasons = {row["item_id"]: row["reason"] for row in job.tables.read("compared").collect()}
    assert reasons == {
        "a-good": None,
        "b-same": None,
        "nan": "not_finite",
        "zero": "zero_vector",
        "short": "wrong_dimension",
        "twice": "repeated_vector",
        "none": "no_vector",
        "unembedded": "no_vector",
    }


@pytest.mark.long
def test_vectors_that_come_after_a_run_are_compared(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    put(job.tables, "documents", [document(name, text_of(name)) for name in "ab"])
    put(job.tables, "curation", [kept("a", 0.9), kept("b", 0.8)])
    unread = the_step("dedup").run(job)
    assert (unread.dropped, unread.figures["not_comparable_no_vector"]) == ({}, 2)
    put(job.tables, "embeddings", [embedding(name, text_of(name), np.eye(1, DIM)[0]) for name in "ab"])
    read = the_step("dedup").run(job)
    assert fate(job, id_of(read)) == {"b": ("a", 1.0, "semantic")}


class Killed(Exception):
    pass


class ShortLived(Tables):
    """Tables that die after their first write."""

    def append(self, name: str, rows: DataFrame, txn: str | None = None) -> int:
        super().append(name, rows, txn)
        raise Killed(name)


def contents(tables: Tables) -> dict[str, list[str]]:
    names = {
        "centroids": ("centroid_set_id", "cluster", "vector"),
        "dedup_runs": ("dedup_id", "centroid_set_id", "edges"),
    }
    names |= {"edges": ("a_id", "b_id", "cosine"), "duplicates": ("item_id", "kept_id", "cosine", "method")}
    names |= {"compared": ("dedup_id", "item_id", "row_hash")}
    return {name: sorted(map(repr, tables.read(name).select(*columns).collect())) for name, columns in names.items()}


@pytest.mark.long
def test_a_run_that_is_killed_after_each_write_comes_to_the_same(spark: SparkSession, tmp_path: Path) -> None:
    ids, vectors, quality = planted()
    quiet, killed = (job_for(spark, make_config(tmp_path / name, dedup=SAME_SETTINGS)) for name in ("quiet", "killed"))
    for job in (quiet, killed):
        add(job, ids, vectors, quality)
    done = the_step("dedup").run(quiet)
    deaths: list[str] = []
    for _ in range(5):
        with pytest.raises(Killed) as death:
            the_step("dedup").run(replace(killed, tables=ShortLived(spark, killed.config.tables)))
        deaths.append(str(death.value))
    assert deaths == ["centroids", "edges", "duplicates", "compared", "dedup_runs"]
    tables = Tables(spark, killed.config.tables)
    again = the_step("dedup").run(replace(killed, tables=tables))
    assert contents(tables) == contents(quiet.tables)
    assert (again.dropped, again.figures, again.ids) == (done.dropped, done.figures, done.ids)


@pytest.mark.long
def test_what_is_lost_of_a_run_is_made_again(spark: SparkSession, tmp_path: Path) -> None:
    ids, vectors, quality = planted()
    job = job_for(spark, make_config(tmp_path / "w", dedup=SAME_SETTINGS))
    add(job, ids, vectors, quality)
    first = the_step("dedup").run(job)
    before = contents(job.tables)
    for table in ("edges", "duplicates", "compared"):
        column = "a_id" if table == "edges" else "item_id"
        lost = min(row[0] for row in job.tables.read(table).select(column).collect())
        job.tables.delete_where(table, f"{column} = '{lost}'")
        again = the_step("dedup").run(job)
        assert (again.ids, again.dropped) == (first.ids, first.dropped)
        assert contents(job.tables) == before
    # A run of which rows are lost is not continued either.
    job.tables.delete_where("compared", "item_id LIKE '%0'")
    add(job, ["one more"], np.ones((1, DIM)), [0.9])
    more = the_step("dedup").run(job)
    assert more.figures["compared_rows"] == len(ids) + 1


@pytest.mark.long
def test_another_audit_of_the_same_rows_compares_nothing(spark: SparkSession, tmp_path: Path) -> None:
    one, other = np.eye(2, DIM)
    job = job_for(spark, make_config(tmp_path / "w"))
    add(job, ["a", "b"], [one, one], [0.9, 0.8])
    the_step("dedup").run(job)
    add(job, ["c", "d"], [other, other + 0.1 * one], [0.9, 0.8])
    grown = the_step("dedup").run(job)
    said: list[str] = []
    config = make_config(tmp_path / "w", dedup={"audit_rows": 7})
    again = the_step("dedup").run(replace(job, config=config, say=said.append))
    assert not [line for line in said if "comparing" in line]
    assert fate(job, id_of(again)) == fate(job, id_of(grown)) != {}
    assert (again.dropped, again.figures["edges"]) == (grown.dropped, grown.figures["edges"])


@pytest.mark.long
def test_components_keep_one_of_each_chain(spark: SparkSession, tmp_path: Path) -> None:
    angles = np.radians([0, 20, 40, 60, 120])
    vectors = np.zeros((5, DIM))
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    kept_by = {}
    for rule, bound in (("greedy", 100), ("components", 100), ("components", 0)):
        settings = {"survivors": rule, "max_driver_edges": bound}
        job = job_for(spark, make_config(tmp_path / f"{rule}-{bound}", dedup=settings))
        add(job, list("abcde"), vectors, [0.9, 0.8, 0.7, 0.6, 0.5])
        outcome = the_step("dedup").run(job)
        kept_by[rule, bound] = {name: keeper for name, (keeper, _, _) in fate(job, id_of(outcome)).items()}
    assert kept_by["greedy", 100] == {"b": "a", "d": "c"}
    assert kept_by["components", 100] == kept_by["components", 0] == dict.fromkeys("bcd", "a")


@pytest.mark.long
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows_to_compare_remove_nothing(spark: SparkSession, tmp_path: Path, count: int) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    for i in range(count):
        put(job.tables, "documents", [document(f"d{i}", "One text.")])
        put(job.tables, "curation", [kept(f"d{i}")])
        put(job.tables, "embeddings", [embedding(f"d{i}", "One text.", np.eye(1, DIM)[0])])
    outcome = the_step("dedup").run(job)
    assert (outcome.rows_in, outcome.rows_out, outcome.dropped) == (count, count, {})
