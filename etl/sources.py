"""Which files a run must read: lists every source's files and leaves out those that have not changed since they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from etl.config import Config, SourceConfig
from etl.errors import UserError
from etl.readers.documents import SourceSettings
from etl.readers.record import ReadOptions
from etl.tables import Tables
from udfs.listing import find_files
from udfs.storage import StorageError, absolute
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
        markup=source.markup,
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


def settings_hash(config: Config, source: SourceConfig) -> str:
    """Hashes all that the rows of a source hang on besides its files: other settings, and the files are read again."""
    return stable_id(config.fingerprint("ingest"), source.model_dump_json())


def setting_of(config: Config, source: SourceConfig) -> str:
    """Returns where the configuration names a source: a corpus, or a benchmark to decontaminate against."""
    return f"{'sources' if source in config.sources else 'curate.decontaminate.against'}.{source.name}"


def list_files(tables: Tables, config: Config, source: SourceConfig) -> DataFrame:
    """Lists a source's files: uri, size, modified, settings, source. Reads no content; a Delta table is one file, its version the time.

    Raises UserError that names the source when its path is missing or matches nothing.
    """
    settings = settings_hash(config, source)
    if source.format == "delta":
        row = (source.path, 0, str(external_version(tables, config, source)), settings, source.name)
        return tables.spark.createDataFrame(
            [row], "uri string, size bigint, modified string, settings string, source string"
        )
    return _listed(tables.spark, source, settings, f"{setting_of(config, source)}.path")


def external_version(tables: Tables, config: Config, source: SourceConfig) -> int:
    """Returns the version of a Delta table that is a source. Raises UserError that names the source when there is none."""
    version = tables.external_version(source.path)
    if version < 0:
        raise UserError(f"{setting_of(config, source)}.path: {source.path} is not a Delta table")
    return version


def _listed(spark: SparkSession, source: SourceConfig, settings: str, named: str) -> DataFrame:
    # Not Spark's own listing: that passes over empty files and names with an underscore, and says nothing.
    try:
        files = find_files(absolute(source.path))
    except StorageError as err:
        raise UserError(f"{named}: {err}") from err
    if not files:
        raise UserError(f"{named}: {source.path} does not exist or matches no file")
    rows = {
        "uri": [f.uri for f in files],
        "size": [f.size for f in files],
        "modified": [f"{f.mtime:.6f}" for f in files],
    }
    same = {"settings": [settings] * len(files), "source": [source.name] * len(files)}
    return spark.createDataFrame(pa.table({**rows, **same}))
