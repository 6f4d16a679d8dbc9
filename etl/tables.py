"""The only place that touches Delta: reading, appending and replacing the tables of a warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.config import TablesConfig
from etl.errors import InvariantError
from etl.schemas import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Tables:
    """The Delta tables of one warehouse, by path or by `catalog.schema`."""

    def __init__(self, spark: SparkSession, where: TablesConfig) -> None:
        self.spark = spark
        self._where = where
        self.root = (where.warehouse or where.files or "").rstrip("/")
        self.files = (where.files or f"{self.root}/_boostqa").rstrip("/")

    def address(self, name: str) -> str:
        """Returns how SQL names the table: a quoted path, or `catalog.schema.name`."""
        if self._where.warehouse:
            return f"delta.`{self._path(name)}`"
        return f"`{self._where.catalog}`.`{self._where.schema_name}`.`{name}`"

    def _path(self, name: str) -> str:
        return f"{str(self._where.warehouse).rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Tells whether the table has been written."""
        if not self._where.warehouse:
            return self.spark.catalog.tableExists(self.address(name))
        from pyspark.errors import AnalysisException

        try:
            self.spark.read.format("delta").load(self._path(name))
        except AnalysisException as err:
            if err.getCondition() in {"PATH_NOT_FOUND", "DELTA_TABLE_NOT_FOUND", "DELTA_PATH_DOES_NOT_EXIST"}:
                return False
            raise
        return True

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """Reads a table, at a version if given; one that was never written is an empty DataFrame of its schema."""
        if not self.exists(name):
            return self.spark.createDataFrame([], TABLES[name].ddl())
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self._path(name)) if self._where.warehouse else reader.table(self.address(name))

    def version(self, name: str) -> int:
        """Returns the table's latest Delta version; -1 when it was never written."""
        if not self.exists(name):
            return -1
        latest = self.spark.sql(f"DESCRIBE HISTORY {self.address(name)} LIMIT 1").first()
        return -1 if latest is None else int(latest["version"])

    def append(self, name: str, rows: DataFrame, txn: str | None = None) -> int:
        """Appends rows in one commit and returns how many, from the commit's metrics.

        `txn` names the content: a second append under the same name is skipped by Delta (and 0 returned).
        """
        return self._write(name, rows, "append", {"txnAppId": txn, "txnVersion": "0"} if txn else {})

    def overwrite(self, name: str, rows: DataFrame) -> int:
        """Replaces the table's content in one commit and returns the new number of rows."""
        return self._write(name, rows, "overwrite", {})

    def _write(self, name: str, rows: DataFrame, mode: str, options: dict[str, str]) -> int:
        self._create(name)
        before = self.version(name)
        writer = self._conform(name, rows).write.format("delta").mode(mode).options(**options)
        if self._where.warehouse:
            writer.save(self._path(name))
        else:
            writer.saveAsTable(self.address(name))
        return self._rows_written(name, before)

    def _create(self, name: str) -> None:
        if self.exists(name):
            return
        table = TABLES[name]
        comment = table.comment.replace("'", "")
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.address(name)} ({table.ddl()}) USING delta COMMENT '{comment}'"
        )

    def _conform(self, name: str, rows: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        wanted = TABLES[name].columns
        unknown = set(rows.columns) - set(wanted)
        if unknown:
            raise InvariantError(f"table {name} has no column {', '.join(sorted(unknown))}")
        have = set(rows.columns)
        return rows.select(
            *[
                (F.col(c).cast(kind) if c in have else F.lit(None).cast(kind)).alias(c)
                for c, (kind, _) in wanted.items()
            ]
        )

    def _rows_written(self, name: str, before: int) -> int:
        history = self.spark.sql(f"DESCRIBE HISTORY {self.address(name)} LIMIT 1").first()
        if history is None or history["version"] == before:
            return 0
        return int(history["operationMetrics"].get("numOutputRows", 0))

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

    def scratch(self, name: str, rows: DataFrame) -> DataFrame:
        """Writes rows to a scratch folder and reads them back: what comes after can not run their plan again."""
        path = f"{self.files}/scratch/{name}"
        rows.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)
