"""The only place that touches Delta: reading, appending and replacing the tables of a warehouse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from etl.config import TablesConfig
from etl.errors import InvariantError
from etl.schemas import TABLES
from udfs.storage import absolute

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

Known = TypeVar("Known")
# Commits that one write can bring with it.
RECENT = 5
# How Delta says that a table was never written, by path and by name.
ABSENT = {"DELTA_TABLE_ONLY_OPERATION", "TABLE_OR_VIEW_NOT_FOUND"}


class Tables:
    """The Delta tables of one warehouse, by path or by `catalog.schema`. `written` counts the rows this object wrote, by table."""

    def __init__(self, spark: SparkSession, where: TablesConfig) -> None:
        self.spark = spark
        self._where = where
        self._versions: dict[str, int] = {}
        self._known: dict[str, tuple[int, Any]] = {}
        # Tables that were seen to have all columns of today.
        self._whole: set[str] = set()
        self.written: Counter[str] = Counter()
        # Absolute: Delta finds no table by a relative path, and a worker's current folder is not the driver's.
        self.root = absolute(where.warehouse or where.files or "").rstrip("/")
        self.files = files_folder(where)

    def address(self, name: str) -> str:
        """Returns how SQL names the table: a quoted path, or `catalog.schema.name`."""
        if self._where.warehouse:
            return f"delta.`{self._path(name)}`"
        return f"`{self._where.catalog}`.`{self._where.schema_name}`.`{name}`"

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Tells whether the table has been written."""
        return self.version(name) >= 0

    def version(self, name: str) -> int:
        """Returns the table's latest Delta version; -1 when it was never written.

        Looked up once: while a run holds the warehouse's lock, versions change by its own writes only.
        """
        if name not in self._versions:
            self._versions[name] = self._look_up(self.address(name))
        return self._versions[name]

    def known(self, name: str, find: Callable[[], Known]) -> Known:
        """Returns what `find` reads in the table `name` alone: looked up again only after the table has changed."""
        version = self.version(name)
        if self._known.get(name, (None, None))[0] != version:
            self._known[name] = (version, find())
        found: Known = self._known[name][1]
        return found

    def _look_up(self, address: str) -> int:
        from pyspark.errors import AnalysisException

        try:
            latest = self._latest(address)
        except AnalysisException as err:
            if err.getCondition() in ABSENT:
                return -1
            raise
        return int(latest["version"])

    def _latest(self, address: str) -> Row:
        latest = self.spark.sql(f"DESCRIBE HISTORY {address} LIMIT 1").first()
        if latest is None:
            raise InvariantError(f"the Delta table {address} has no history")
        return latest

    def external_version(self, path: str) -> int:
        """Returns the version of a Delta table outside the warehouse (a path, or a name with dots); -1 when there is none."""
        return self._look_up(external_address(path))

    def external(self, path: str, version: int) -> DataFrame:
        """Reads a Delta table outside the warehouse at a version."""
        return self.spark.sql(f"SELECT * FROM {external_address(path)} VERSION AS OF {version}")

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """Reads a table, at a version if given; one that was never written is an empty DataFrame of its schema.

        Columns that an older version of boostqa did not write are null.
        """
        if not self.exists(name):
            return self.spark.createDataFrame([], TABLES[name].ddl())
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        rows = reader.load(self._path(name)) if self._where.warehouse else reader.table(self.address(name))
        return rows if version is None and name in self._whole else self._with_all_columns(name, rows)

    def _with_all_columns(self, name: str, rows: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        missing = self._missing(name, rows)
        if not missing:
            return rows
        return rows.withColumns({column: F.lit(None).cast(kind) for column, (kind, _) in missing.items()})

    @staticmethod
    def _missing(name: str, rows: DataFrame) -> dict[str, tuple[str, str]]:
        have = set(rows.columns)
        return {column: said for column, said in TABLES[name].columns.items() if column not in have}

    def _widen(self, name: str) -> None:
        """Adds the columns that an older version of boostqa did not know to a table, in a commit of its own."""
        if name in self._whole:
            return
        missing = self._missing(name, self.spark.sql(f"SELECT * FROM {self.address(name)} LIMIT 0"))
        if missing:
            added = replace(TABLES[name], columns=missing).ddl()
            self.spark.sql(f"ALTER TABLE {self.address(name)} ADD COLUMNS ({added})")
            self._versions[name] = self._look_up(self.address(name))
        self._whole.add(name)

    def append(self, name: str, rows: DataFrame, txn: str | None = None) -> int:
        """Appends rows in one commit and returns how many, from the commit's metrics.

        `txn` names the content: a second append under the same name is skipped by Delta (and 0 returned).
        """
        return self._write(name, rows, "append", {"txnAppId": txn, "txnVersion": "0"} if txn else {})

    def append_new(self, name: str, rows: DataFrame) -> int:
        """Appends the rows whose key the table does not hold yet, each key once, and returns how many; no commit when there are none."""
        key = list(TABLES[name].key)
        known = self.read(name).select(*key)
        new = self.scratch(f"new_{name}", rows.join(known, key, "left_anti").dropDuplicates(key))
        return 0 if new.isEmpty() else self.append(name, new)

    def upsert(self, name: str, rows: DataFrame) -> int:
        """Writes rows, in the place of those that have their keys, in one commit; returns how many. `rows` come from `scratch`: MERGE reads them twice."""
        if rows.isEmpty():
            return 0
        if not self.exists(name):
            return self._create(name, rows)
        self._widen(name)
        self._conform(name, rows).createOrReplaceTempView("_boostqa_upsert")
        same = " AND ".join(f"t.`{c}` <=> s.`{c}`" for c in TABLES[name].key)
        self.spark.sql(
            f"MERGE INTO {self.address(name)} t USING _boostqa_upsert s ON {same} "
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
        self.spark.catalog.dropTempView("_boostqa_upsert")
        return self._rows_written(name, "numTargetRowsInserted", "numTargetRowsUpdated")

    def overwrite(self, name: str, rows: DataFrame) -> int:
        """Replaces the table's content in one commit and returns the new number of rows."""
        return self._write(name, rows, "overwrite", {})

    def _write(self, name: str, rows: DataFrame, mode: str, options: dict[str, str]) -> int:
        if not self.exists(name):
            if not options:
                return self._create(name, rows)
            # The commit that makes a table takes no `txnAppId`.
            self._create(name, self.read(name))
        self._widen(name)
        writer = self._conform(name, rows).write.format("delta").mode(mode).options(**options)
        if self._where.warehouse:
            writer.save(self._path(name))
        else:
            writer.saveAsTable(self.address(name))
        return self._rows_written(name)

    def _create(self, name: str, rows: DataFrame) -> int:
        """Makes the table with its first rows, in one commit."""
        writer = self._conform(name, rows).writeTo(self.address(name)).using("delta")
        writer.tableProperty("comment", TABLES[name].comment).create()
        self._whole.add(name)
        return self._rows_written(name)

    def _conform(self, name: str, rows: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        wanted = TABLES[name].columns
        unknown = set(rows.columns) - set(wanted)
        if unknown:
            raise InvariantError(f"table {name} has no column {', '.join(sorted(unknown))}")
        have = set(rows.columns)
        return rows.select(
            *[
                (F.col(c) if c in have else F.lit(None)).cast(kind).alias(c, metadata={"comment": comment})
                for c, (kind, comment) in wanted.items()
            ]
        )

    def _rows_written(self, name: str, *metrics: str) -> int:
        # A platform may compact the files right after a write, as a commit of its own that writes no new row.
        commits = self.spark.sql(f"DESCRIBE HISTORY {self.address(name)} LIMIT {RECENT}").collect()
        before, self._versions[name] = self._versions[name], int(commits[0]["version"])
        mine = [c for c in commits if c["version"] > before and c["operation"] != "OPTIMIZE"]
        counted = [
            commit["operationMetrics"].get(metric, 0) for commit in mine for metric in metrics or ("numOutputRows",)
        ]
        rows = sum(int(n) for n in counted)
        self.written[name] += rows
        return rows

    def delete_matching(self, name: str, rows: DataFrame, columns: list[str]) -> None:
        """Deletes the rows whose `columns` stand in `rows`; no commit when there are none."""
        if not self.exists(name):
            return
        keys = rows.select(*columns).distinct()
        if self.read(name).join(keys, columns, "left_semi").isEmpty():
            return
        keys.createOrReplaceTempView("_boostqa_delete")
        same = " AND ".join(f"t.`{c}` = s.`{c}`" for c in columns)
        self.spark.sql(f"MERGE INTO {self.address(name)} t USING _boostqa_delete s ON {same} WHEN MATCHED THEN DELETE")
        self.spark.catalog.dropTempView("_boostqa_delete")
        self._versions[name] = self._look_up(self.address(name))

    def delete_where(self, name: str, condition: str) -> int:
        """Deletes the rows that meet an SQL condition and returns how many; no commit when there are none."""
        found = self.read(name).where(condition).count()
        if found:
            self.spark.sql(f"DELETE FROM {self.address(name)} WHERE {condition}")
            self._versions[name] = self._look_up(self.address(name))
        return found

    def scratch(self, name: str, rows: DataFrame) -> DataFrame:
        """Writes rows to a scratch folder and reads them back: what comes after can not run their plan again."""
        path = f"{self.files}/scratch/{name}"
        rows.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)


def files_folder(where: TablesConfig) -> str:
    """Returns the folder of segments, lock and scratch files: `tables.files`, else one inside the warehouse."""
    return absolute(where.files or f"{str(where.warehouse).rstrip('/')}/_boostqa").rstrip("/")


def external_address(path: str) -> str:
    """Returns how SQL names a Delta table that the user gave: `catalog.schema.table` as it is, a path quoted."""
    return path if "/" not in path and "." in path else f"delta.`{absolute(path)}`"
