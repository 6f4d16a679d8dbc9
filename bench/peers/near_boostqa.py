"""boostqa: the near-duplicate stage of `curate` on a Spark of this machine, from Parquet files to the kept rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from client import tell
from near import BANDS, ROWS, THRESHOLD, WORDS, arguments
from pyspark.sql import functions as F

from etl.config import load_config
from etl.near_duplicates import near_duplicates
from etl.near_pairs import Search
from etl.session import get_spark
from etl.tables import Tables
from udfs.minhash import MinHashSettings
from udfs.near import KEYS_DDL, near_keys

PROFILE = Path(__file__).parents[2] / "conf" / "local.yaml"
SETTINGS = MinHashSettings(ngram_words=WORDS, bands=BANDS, rows=ROWS, threshold=THRESHOLD)
# Text of this size goes to one task of a shuffle: the local profile's 4 are for small tables.
TASK_BYTES = 64 << 20


def keyed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The keys of each text."""
    for batch in batches:
        keys = near_keys(batch.column("text").to_pylist(), SETTINGS)
        yield pa.RecordBatch.from_pydict({"item_id": batch.column("id"), **keys})


def main() -> None:
    """Writes the rows that are kept; the longest of two that are alike stays."""
    args = arguments()
    spark = get_spark(f"local[{args.cores}]")
    size = sum(path.stat().st_size for path in args.texts.glob("*.parquet"))
    spark.conf.set("spark.sql.shuffle.partitions", str(max(4, 2 * size // TASK_BYTES)))
    config = load_config(str(PROFILE), [f"tables.warehouse={args.out}-warehouse"])
    tables, texts = Tables(spark, config.tables), spark.read.parquet(str(args.texts))
    began = time.monotonic()
    keys = tables.scratch("bench_keys", texts.mapInArrow(keyed, f"item_id string, {KEYS_DDL}"))
    keys_s = time.monotonic() - began
    rows = keys.withColumns({"old": F.lit(False), "priority": -F.col("n_shingles")})
    named = texts.withColumnRenamed("id", "item_id")
    found = near_duplicates(Search(tables, named, SETTINGS, config.dedup.max_driver_edges), rows)
    removed = found.removed.select(F.col("item_id").alias("id"))
    texts.join(removed, "id", "left_anti").write.parquet(str(args.out))
    kept = spark.read.parquet(str(args.out)).count()
    tell(kept, keys_s=round(keys_s, 2), stage_s=round(time.monotonic() - began, 2), **found.figures)


main()
