"""Benchmark files as protected rows: which documents share a word n-gram with one, and what that comes to for each benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from etl.config import Config, SourceConfig
from etl.readers.documents import BATCH_RECORDS
from etl.readers.mapping import MappedRecord
from etl.readers.reading import format_for, read_file
from etl.readers.record import BadRecord
from etl.sources import external_version, list_files, source_settings
from etl.step import Job, content_of
from etl.table_source import entries_of, mapped_rows
from etl.tables import Tables
from udfs.ngrams import ngram_hashes
from udfs.text import normal_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# 5 million hashes are about 200 MB in each executor, and some 50,000 benchmark questions.
BROADCAST_ROWS = 5_000_000
BENCHMARK = "benchmark:"
# Of the items that share one n-gram, and of those that a document meets, so many are named, the first by name.
MAX_ITEMS = 100
ITEM_SCHEMA = pa.schema(
    [("benchmark", pa.string()), ("hash", pa.int64())]
    + [(name, pa.string()) for name in ("uri", "position", "source", "reason", "error", "raw")]
)
ITEM_DDL = (
    "benchmark string, hash bigint, uri string, position string, source string, reason string, error string, raw string"
)


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


def contaminated(tables: Tables, config: Config, documents: DataFrame, known: DataFrame) -> DataFrame:
    """Returns doc_id and `benchmarks` of the documents that share an n-gram with an item of `known` (see `read_items`).

    `benchmarks` are the items as `name:position`, sorted, at most MAX_ITEMS.
    """
    settings = config.curate.decontaminate
    sizes = (settings.ngram_words, settings.ngram_chars)

    def explode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts, questions = batch.column("text").to_pylist(), batch.column("question").to_pylist()
            yield hashed(batch.column("doc_id"), texts, questions, sizes)

    grams = documents.select("doc_id", "text", "question").mapInArrow(explode, "key string, hash bigint")
    first_items = F.slice(F.sort_array(F.collect_set("benchmark")), 1, MAX_ITEMS).alias("items")
    items = tables.scratch("benchmark_ngrams", known.where("hash IS NOT NULL").groupBy("hash").agg(first_items))
    hashes = items.select("hash")
    near = F.broadcast(hashes) if items.count() <= BROADCAST_ROWS else hashes
    # The documents' n-grams, far more than anything else here, are not shuffled: a few of them come through to the join that names the items.
    hits = grams.join(near, "hash", "left_semi").distinct().join(items.hint("shuffle_merge"), "hash")
    met = F.array_distinct(F.flatten(F.collect_set("items")))
    return hits.groupBy(F.col("key").alias("doc_id")).agg(F.slice(F.sort_array(met), 1, MAX_ITEMS).alias("benchmarks"))


@dataclass(frozen=True)
class Contamination:
    """What one benchmark has found, by one method: `rows` documents that are out, and `items` of it that they hold."""

    benchmark: str
    method: str
    rows: int
    items: int


def contamination(config: Config, curation: DataFrame) -> list[Contamination]:
    """Counts what each benchmark of the config has found by n-grams; one that found nothing is there with 0.

    A document names at most MAX_ITEMS items, so `items` may be too small where one document holds a whole benchmark.
    """
    against = [source.name for source in config.curate.decontaminate.against]
    if not against:
        return []
    found = curation.where("benchmarks IS NOT NULL").select("doc_id", F.explode("benchmarks").alias("item"))
    # A name may be the beginning of another: the longest that fits.
    names = sorted(against, key=lambda name: (-len(name), name))
    named = F.coalesce(*[F.when(F.col("item").startswith(f"{name}:"), F.lit(name)) for name in names]).alias("name")
    counts = (F.count_distinct("doc_id").alias("rows"), F.count_distinct("item").alias("items"))
    counted = {row["name"]: row for row in found.groupBy(named).agg(*counts).collect()}
    told = [(name, counted.get(name, {"rows": 0, "items": 0})) for name in against]
    return [Contamination(name, "ngram", row["rows"], row["items"]) for name, row in told]


def benchmark_figures(config: Config, curation: DataFrame) -> dict[str, float]:
    """Returns `contamination` as figures of a step: benchmark_rows.NAME and benchmark_items.NAME."""
    counted = contamination(config, curation)
    rows = {f"benchmark_rows.{one.benchmark}": float(one.rows) for one in counted}
    return rows | {f"benchmark_items.{one.benchmark}": float(one.items) for one in counted}


def read_items(tables: Tables, config: Config) -> DataFrame:
    """Reads the benchmark files: a row (benchmark, hash) per n-gram of an item, a row of `quarantine` per record that could not be read.

    Written to scratch, so that each file is read once, and because Spark takes what a worker makes of a short list of files for as small as the list,
    and would broadcast it, whatever its size.
    """
    settings = config.curate.decontaminate
    sources = {s.name: source_settings(config, s) for s in settings.against}
    sizes = (settings.ngram_words, settings.ngram_chars)

    def of_files(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                source = sources[file["source"]]
                found = read_file(file["uri"], format_for(file["uri"], source.format), source.options)
                yield from _item_rows(found, source.name, file["uri"], sizes)

    of_tables = [_table_items(tables, config, s, sizes) for s in settings.against if s.format == "delta"]
    files = [
        list_files(tables, config, s).mapInArrow(of_files, ITEM_DDL) for s in settings.against if s.format != "delta"
    ]
    return tables.scratch("benchmark_items", reduce(lambda a, b: a.unionByName(b), of_tables + files))


def _table_items(tables: Tables, config: Config, source: SourceConfig, sizes: tuple[int, int]) -> DataFrame:
    settings = source_settings(config, source)

    def of_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _item_rows(entries_of(batches), settings.name, source.path, sizes)

    version = external_version(tables, config, source)
    return mapped_rows(tables, source, version, settings).mapInArrow(of_rows, ITEM_DDL)


def _item_rows(
    entries: Iterable[MappedRecord | BadRecord], benchmark: str, uri: str, sizes: tuple[int, int]
) -> Iterator[pa.RecordBatch]:
    stream = iter(entries)
    while chunk := list(islice(stream, BATCH_RECORDS)):
        items = [e for e in chunk if isinstance(e, MappedRecord)]
        names = pa.array([f"{benchmark}:{e.own_id or e.position}" for e in items], pa.string())
        grams = hashed(names, [e.question or e.text for e in items], [e.question or None for e in items], sizes)
        yield _conformed({"benchmark": grams.column("key"), "hash": grams.column("hash")})
        bad = [e for e in chunk if isinstance(e, BadRecord)]
        if bad:
            told = {name: [getattr(e, name) for e in bad] for name in ("position", "reason", "error", "raw")}
            yield _conformed({**told, "uri": [uri] * len(bad), "source": [benchmark_source(benchmark)] * len(bad)})


def _conformed(columns: dict[str, Any]) -> pa.RecordBatch:
    n = len(next(iter(columns.values())))
    return pa.RecordBatch.from_pydict({f.name: columns.get(f.name, pa.nulls(n)) for f in ITEM_SCHEMA}, ITEM_SCHEMA)


def benchmark_source(name: str) -> str:
    """Returns what `quarantine.source` says for a benchmark, so that it is not taken for a corpus of that name."""
    return f"{BENCHMARK}{name}"


def benchmark_state(job: Job) -> str:
    """Returns a hash of the benchmark files' addresses, sizes and times: another benchmark, another curation."""
    if not job.config.curate.decontaminate.against:
        return ""
    return content_of(_files(job.tables, job.config), "uri", "size", "modified")


def _files(tables: Tables, config: Config) -> DataFrame:
    listed = [list_files(tables, config, source) for source in config.curate.decontaminate.against]
    return reduce(lambda a, b: a.unionByName(b), listed)
