"""The tables: made by their first rows, counted from their commits, and looked at again only after they have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from etl.errors import InvariantError
from etl.schemas import TABLES
from tests.etl.tiny import get

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from etl.tables import Tables

Make = Callable[[], "Tables"]


def rows(tables: Tables, *ids: str, **columns: Any) -> DataFrame:
    values = [(doc_id, columns.get("reason", "none")) for doc_id in ids]
    return tables.spark.createDataFrame(values, "doc_id string, reason string")


def test_the_first_rows_make_the_table_with_its_comments_in_one_commit(scratch_tables: Make) -> None:
    tables = scratch_tables()
    assert (tables.exists("curation"), tables.version("curation")) == (False, -1)
    assert tables.append("curation", rows(tables, "a", "b")) == 2
    assert tables.version("curation") == 0
    said = tables.spark.sql(f"DESCRIBE TABLE EXTENDED {tables.address('curation')}").collect()
    comments = {row["col_name"]: row["comment"] for row in said if row["comment"]}
    assert comments == {name: comment for name, (_, comment) in TABLES["curation"].columns.items()}
    assert ("Comment", TABLES["curation"].comment) in [(row["col_name"], row["data_type"]) for row in said]


def test_written_rows_are_counted_whatever_writes_them(scratch_tables: Make) -> None:
    tables = scratch_tables()
    assert tables.upsert("curation", rows(tables, "a", "b")) == 2
    assert tables.upsert("curation", rows(tables, "b", "c", reason="other")) == 2
    assert sorted(get(tables, "curation", "doc_id", "reason")) == [("a", "none"), ("b", "other"), ("c", "other")]
    assert tables.append_new("curation", rows(tables, "c", "d", "d")) == 1
    assert tables.overwrite("curation", rows(tables, "e")) == 1
    assert get(tables, "curation", "doc_id") == ["e"]
    assert tables.written["curation"] == 6


def test_rows_of_one_name_are_taken_once_also_by_a_new_table(scratch_tables: Make) -> None:
    tables = scratch_tables()
    assert [tables.append("curation", rows(tables, "a"), txn="t") for _ in range(2)] == [1, 0]
    assert get(tables, "curation", "doc_id") == ["a"]


def test_what_is_known_of_a_table_is_asked_again_when_it_has_changed(scratch_tables: Make) -> None:
    tables, asked = scratch_tables(), []

    def count() -> int:
        asked.append(tables.version("curation"))
        return tables.read("curation").count()

    assert [tables.known("curation", count) for _ in range(2)] == [0, 0]
    tables.append("curation", rows(tables, "a"))
    assert [tables.known("curation", count) for _ in range(2)] == [1, 1]
    assert asked == [-1, 0]


def test_a_column_that_the_table_does_not_have_is_refused(scratch_tables: Make) -> None:
    tables = scratch_tables()
    with pytest.raises(InvariantError, match="table curation has no column surprise"):
        tables.append("curation", tables.spark.createDataFrame([("x",)], "surprise string"))
    assert not tables.exists("curation")


def test_a_table_of_an_older_version_is_read_and_gets_the_columns_that_came_since(scratch_tables: Make) -> None:
    older = scratch_tables()
    few = older.spark.createDataFrame([("set-1", 0)], "centroid_set_id string, cluster int")
    few.write.format("delta").save(f"{older.root}/centroids")
    tables = scratch_tables()
    assert tables.read("centroids").columns[:2] == ["centroid_set_id", "cluster"]
    assert set(tables.read("centroids").columns) == set(TABLES["centroids"].columns)
    assert tables.read("centroids").where("scope = 'mine'").isEmpty()
    more = [("set-2", 0, "mine")]
    new = tables.spark.createDataFrame(more, "centroid_set_id string, cluster int, scope string")
    assert tables.append("centroids", new) == 1
    assert tables.upsert("centroids", new) == 1
    assert get(tables, "centroids", "centroid_set_id", "cluster") == [("set-1", 0), ("set-2", 0)]
    assert [row["scope"] for row in tables.read("centroids").orderBy("centroid_set_id").collect()] == [None, "mine"]
    said = tables.spark.sql(f"DESCRIBE TABLE {tables.address('centroids')}").collect()
    assert ("scope", TABLES["centroids"].columns["scope"][1]) in [(row["col_name"], row["comment"]) for row in said]
