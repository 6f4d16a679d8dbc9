"""Benchmark files as protected rows: which documents share a word n-gram with one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from etl.config import Config
from etl.readers.mapping import MappedRecord
from etl.readers.reading import format_of, read_file
from etl.sources import list_files, source_settings
from udfs.ngrams import ngram_hashes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def hashed(batch: pa.RecordBatch, key: str, n_words: int, n_chars: int) -> pa.RecordBatch:
    """Explodes the column `text` into its n-gram hashes: columns `key` and hash."""
    grams = [ngram_hashes(text, n_words, n_chars) for text in batch.column("text").to_pylist()]
    rows = np.repeat(np.arange(len(grams)), [len(g) for g in grams])
    keys = batch.column(key).take(pa.array(rows, pa.int64()))
    return pa.RecordBatch.from_arrays(
        [keys, pa.array(np.concatenate([*grams, np.zeros(0, np.int64)]).astype(np.int64))], names=[key, "hash"]
    )


def contaminated(spark: SparkSession, config: Config, documents: DataFrame) -> DataFrame:
    """Returns doc_id and benchmark (`name:position`) of the documents that share an n-gram with a benchmark item."""
    from pyspark.sql import functions as F

    settings = config.curate.decontaminate
    if not settings.against:
        return documents.select("doc_id", F.lit(None).cast("string").alias("benchmark")).limit(0)
    n_words, n_chars = settings.ngram_words, settings.ngram_chars

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield hashed(batch, "doc_id", n_words, n_chars)

    grams = documents.select("doc_id", "text").mapInArrow(explode, "doc_id string, hash bigint")
    return (
        grams.join(protected(spark, config).distinct(), "hash")
        .groupBy("doc_id")
        .agg(F.min("benchmark").alias("benchmark"))
    )


def protected(spark: SparkSession, config: Config) -> DataFrame:
    """Returns the n-gram hashes of all benchmark items: benchmark, hash."""
    settings = config.curate.decontaminate
    sources = {s.name: source_settings(config, s) for s in settings.against}
    n_words, n_chars = settings.ngram_words, settings.ngram_chars

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                source = sources[file["source"]]
                kind = format_of(file["uri"]) if source.format == "auto" else source.format
                entries = [e for e in read_file(file["uri"], kind, source.options) if isinstance(e, MappedRecord)]
                names = [f"{source.name}:{e.own_id or e.position}" for e in entries]
                texts = [e.question or e.text for e in entries]
                yield hashed(
                    pa.RecordBatch.from_pydict({"benchmark": names, "text": texts}), "benchmark", n_words, n_chars
                )

    listed = [list_files(spark, config, s) for s in settings.against]
    files = listed[0]
    for more in listed[1:]:
        files = files.unionByName(more)
    return files.mapInArrow(explode, "benchmark string, hash bigint")
