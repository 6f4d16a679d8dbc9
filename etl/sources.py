"""Which files a run must read: lists every source's files and leaves out those that have not changed since they were read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etl.config import Config, SourceConfig
from etl.errors import UserError
from etl.readers.documents import SourceSettings
from etl.readers.record import ReadOptions
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def source_settings(config: Config, source: SourceConfig) -> SourceSettings:
    """Gathers what a worker needs to read one source."""
    options = ReadOptions(
        encoding=source.encoding,
        max_record_bytes=config.ingest.max_record_bytes,
        delimiter=source.delimiter or "",
        columns=tuple(source.columns),
        records=source.records or "",
        fields={ours: theirs if isinstance(theirs, str) else tuple(theirs) for ours, theirs in source.fields.items()},
    )
    return SourceSettings(
        name=source.name,
        root=absolute(source.path),
        format=source.format,
        license=source.license,
        options=options,
        tokenizer=config.ingest.tokenizer,
        max_passage_tokens=config.ingest.max_passage_tokens,
    )


def absolute(path: str) -> str:
    """Returns a path with a scheme as it is, and a local one made absolute against the current folder."""
    return path if "://" in path or path.startswith(("file:", "dbfs:")) else str(Path(path).expanduser().absolute())


def list_files(spark: SparkSession, config: Config, source: SourceConfig) -> DataFrame:
    """Lists a source's files: uri, size, modified, settings, source. Reads no content.

    Raises UserError that names the source when its path is missing or matches nothing.
    """
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    root = absolute(source.path)
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    try:
        found = reader.load(root).select(F.col("path").alias("uri"), F.col("length").alias("size"), "modificationTime")
    except AnalysisException as err:
        if err.getCondition() != "PATH_NOT_FOUND":
            raise
        raise UserError(f"sources.{source.name}.path: {source.path} does not exist or matches no file") from err
    settings = stable_id(config.fingerprint("ingest"), source.model_dump_json())
    return found.select(
        "uri",
        "size",
        F.col("modificationTime").cast("string").alias("modified"),
        F.lit(settings).alias("settings"),
        F.lit(source.name).alias("source"),
    )
