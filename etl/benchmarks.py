"""Benchmark files as protected rows: which documents share a word n-gram with one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from etl.config import Config
from etl.readers.mapping import MappedRecord
from etl.readers.reading import format_of, read_file
from etl.sources import list_files, source_settings
from etl.step import Job
from etl.tables import Tables
from udfs.ngrams import ngram_hashes
from udfs.text import normal_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# 5 million hashes are about 200 MB in each executor, and some 50,000 benchmark questions.
BROADCAST_ROWS = 5_000_000


def hashed(keys: pa.Array, texts: list[str], questions: list[str | None], sizes: tuple[int, int]) -> pa.RecordBatch:
    """Returns the n-gram hashes of each text, and one hash of the whole question: columns key and hash.

    `sizes` are words, and characters for scripts without spaces. A question shorter than one n-gram is found by its whole alone.
    """
    grams = [ngram_hashes(text, *sizes) for text in texts]
    whole = [[_whole(question or text)] for text, question in zip(texts, questions, strict=True)]
    rows = np.repeat(np.arange(len(grams)), [len(g) + 1 for g in grams])
    hashes = [part for pair in zip(grams, whole, strict=True) for part in pair] or [np.zeros(0, np.int64)]
    columns = [keys.take(pa.array(rows, pa.int64())), pa.array(np.concatenate(hashes).astype(np.int64))]
    return pa.RecordBatch.from_arrays(columns, names=["key", "hash"])


def _whole(text: str) -> int:
    return int.from_bytes(bytes.fromhex(normal_hash(text)[:16]), "big", signed=True)


def contaminated(tables: Tables, config: Config, documents: DataFrame) -> DataFrame:
    """Returns doc_id and benchmark (`name:position`) of the documents that share an n-gram with a benchmark item."""
    settings = config.curate.decontaminate
    if not settings.against:
        return documents.select("doc_id", F.lit(None).cast("string").alias("benchmark")).limit(0)
    sizes = (settings.ngram_words, settings.ngram_chars)

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts, questions = batch.column("text").to_pylist(), batch.column("question").to_pylist()
            yield hashed(batch.column("doc_id"), texts, questions, sizes)

    grams = documents.select("doc_id", "text", "question").mapInArrow(explode, "key string, hash bigint")
    # Written first: Spark takes what a worker makes of a short list of files for as small as the list, and broadcasts it, whatever its size.
    known = tables.scratch("benchmark_grams", protected(tables, config).distinct())
    hashes = known.select("hash").distinct()
    near = F.broadcast(hashes) if known.count() <= BROADCAST_ROWS else hashes
    # The documents' n-grams, far more than anything else here, are not shuffled: a few of them come through to the join that names the item.
    hits = grams.join(near, "hash", "left_semi").join(known.hint("shuffle_merge"), "hash")
    return hits.groupBy(F.col("key").alias("doc_id")).agg(F.min("benchmark").alias("benchmark"))


def protected(tables: Tables, config: Config) -> DataFrame:
    """Returns the n-gram hashes of all benchmark items: benchmark, hash."""
    settings = config.curate.decontaminate
    sources = {s.name: source_settings(config, s) for s in settings.against}
    sizes = (settings.ngram_words, settings.ngram_chars)

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                source = sources[file["source"]]
                kind = format_of(file["uri"]) if source.format == "auto" else source.format
                entries = [e for e in read_file(file["uri"], kind, source.options) if isinstance(e, MappedRecord)]
                names = [f"{source.name}:{e.own_id or e.position}" for e in entries]
                texts = [e.question or e.text for e in entries]
                yield hashed(pa.array(names, pa.string()), texts, [e.question or None for e in entries], sizes)

    return _files(tables, config).mapInArrow(explode, "key string, hash bigint").withColumnRenamed("key", "benchmark")


def benchmark_state(job: Job) -> str:
    """Returns a hash of the benchmark files' addresses, sizes and times: another benchmark, another curation."""
    if not job.config.curate.decontaminate.against:
        return ""
    listed = _files(job.tables, job.config).select(
        F.xxhash64("uri", "size", "modified").cast("decimal(38,0)").alias("h")
    )
    total = listed.agg(F.sum("h"), F.count("*")).first()
    return repr(tuple(total or ()))


def _files(tables: Tables, config: Config) -> DataFrame:
    listed = [list_files(tables, config, source) for source in config.curate.decontaminate.against]
    return reduce(lambda a, b: a.unionByName(b), listed)
