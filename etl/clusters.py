"""Comparison inside cells of like vectors: what can be compared, in which cells and tasks, and the pairs at or over the threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import __version__ as spark_version
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.step import Job
from etl.task_device import task_device, tasks_have_gpu
from udfs.cells import Cells, CellSearch
from udfs.clustering import cluster_count
from udfs.comparison import EDGES_DDL, compared, comparer, unsound
from udfs.embedding import half_rows
from udfs.packing import PACKED_DDL, TASK, Packing, packed

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Rows that centroids are fitted on, for each centroid, and the bytes of their vectors at most.
_POINTS = 32
_SAMPLE_BYTES = 512 << 20
# Vectors of a task: those of two blocks are in memory at once, in float16 and float32.
_BLOCK_BYTES = 8 << 20
# On a GPU, products cost less than to bring rows there: each row of a cell in n blocks is brought n times.
_GPU_BLOCK_BYTES = 128 << 20
# Vectors of a partition of the shuffle.
_PARTITION_BYTES = 24 << 20
# Partitions of which each may write its own file of pairs.
_FILES = 16
# Left-out rows whose ids are sent to where the vectors are, about 100 MB; for more, the vectors are sent to the ids.
_BROADCAST_ROWS = 1_000_000


@dataclass(frozen=True)
class Survey:
    """What there is to compare: how many rows (`n`), how many vectors an earlier run has not seen (`new`), the numbers in a vector, the rows `left_out`
    (item_id, reason, same_id) and a sample.

    A row is left out for a reason, or because its vector is the same, bit by bit, as that of row `same_id`, whose fate it shares. The sample has the
    lowest key hashes: their sides and vectors, in this order.
    """

    n: int
    new: int
    dim: int
    left_out: DataFrame
    reasons: dict[str, int]
    sides: NDArray[np.object_]
    sample: NDArray[np.float16]


def survey(job: Job, rows: DataFrame) -> Survey:
    """Looks through `rows` (item_id, side, old, priority, vector, dim; from `scratch`) once: what can not be compared, what is the same, and the sample
    that centroids and sizes of cells come from. The dimension is the one that most rows name."""
    counted = rows.groupBy("dim", "old").count().collect()
    dims: Counter[int] = Counter()
    for row in counted:
        dims[row["dim"] or 0] += row["count"]
    found, new = sum(dims.values()), sum(row["count"] for row in counted if not row["old"])
    dim = max(1, max(dims, key=lambda one: (dims[one], -one), default=1))
    seen = job.tables.scratch("dedup_survey", _looked_through(rows, dim, _sample_bound(job, found, dim)))
    left_out = job.tables.scratch("dedup_left_out", _unsound(seen).unionByName(_identical(seen)))
    said = F.coalesce("reason", F.lit("identical")).alias("said")
    reasons = {row["said"]: row["count"] for row in left_out.groupBy(said).count().collect()}
    n = found - sum(reasons.values())
    drawn = _drawn(without(seen.where("vector IS NOT NULL"), left_out, reasons))
    # Where most rows are copies of a few, the few are hardly among those that were drawn of all.
    if 2 * drawn.num_rows < min(n, _sample_rows(job, n, dim)):
        left = without(rows.withColumn("h", _key_hash()), left_out, reasons)
        drawn = _drawn(left.where(F.col("h") <= _sample_bound(job, n, dim)))
    sides = np.array(drawn.column("side").to_pylist(), dtype=object)
    return Survey(n, new, dim, left_out, reasons, sides, half_rows(drawn.column("vector"), dim))


def _drawn(rows: DataFrame) -> pa.Table:
    taken = rows.select("h", "item_id", "side", "vector").toArrow()
    return taken.sort_by([("h", "ascending"), ("item_id", "ascending")])


def without(rows: DataFrame, left_out: DataFrame, reasons: dict[str, int]) -> DataFrame:
    """Returns the rows that are not left out; `reasons` counts those that are."""
    count, ids = sum(reasons.values()), left_out.select("item_id")
    if not count:
        return rows
    return rows.join(F.broadcast(ids) if count <= _BROADCAST_ROWS else ids, "item_id", "left_anti")


def _sample_rows(job: Job, n: int, dim: int) -> int:
    config = job.config.dedup
    wanted = max(config.sample_rows, _POINTS * cluster_count(n, config.cluster_size))
    return min(wanted, _SAMPLE_BYTES // (2 * dim))


def _key_hash() -> Column:
    return F.xxhash64("item_id")


def _sample_bound(job: Job, n: int, dim: int) -> int:
    """The key hash up to which rows are drawn: hashes are spread evenly over all numbers of 64 bits."""
    share = _sample_rows(job, n, dim) / max(1, n)
    return min(2**63 - 1, -(2**63) + int(share * 2**64))


def _looked_through(rows: DataFrame, dim: int, bound: int) -> DataFrame:
    """Every row, without its vector unless it is drawn: item_id, side, old, priority, h, one, other (hashes of the vector), reason, vector."""
    priority = rows.schema["priority"].dataType.simpleString()
    ddl = f"item_id string, side string, old boolean, priority {priority}, h bigint, one bigint, other bigint, "
    ddl += "reason string, vector binary"
    kept = ("item_id", "side", "old", "priority", "h", "one", "other")

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors = batch.column("vector")
            reason = unsound(vectors, dim)
            drawn = pa.array((batch.column("h").to_numpy() <= bound) & (reason == ""))
            told = pa.array(reason, pa.string(), mask=reason == "")
            some = pc.if_else(drawn, vectors, pa.scalar(None, vectors.type))
            yield pa.RecordBatch.from_pydict(
                {**{name: batch.column(name) for name in kept}, "reason": told, "vector": some}
            )

    # Two hashes by other seeds: 128 bits together.
    hashes = {"h": _key_hash(), "one": F.xxhash64("vector"), "other": F.xxhash64(F.lit(1), "vector")}
    return rows.withColumns(hashes).select(*kept, "vector").mapInArrow(look, ddl)


def _unsound(seen: DataFrame) -> DataFrame:
    return seen.where("reason IS NOT NULL").select("item_id", "reason", F.lit(None).cast("string").alias("same_id"))


def _identical(seen: DataFrame) -> DataFrame:
    """The rows whose vector another row of their side has too, bit by bit, with the best of these. Old rows are never the others. No vector is moved."""
    best = Window.partitionBy("side", "one", "other").orderBy(F.col("old").desc(), "priority", "item_id")
    sound = seen.where("reason IS NULL")
    first = sound.select("item_id", "old", F.first("item_id").over(best).alias("same_id"))
    others = first.where("item_id <> same_id AND NOT old")
    return others.select("item_id", F.lit(None).cast("string").alias("reason"), "same_id")


def packing_for(job: Job, surveyed: Survey, cells: Cells) -> Packing:
    """Plans the tasks: cells that are too large for one are cut into blocks, by their sizes in the sample."""
    config = job.config.dedup
    plain = Packing(cells, config.probes, config.threshold)
    placed = CellSearch(cells, plain.probes, plain.threshold).place(surveyed.sample).cells
    row, place = np.nonzero(placed >= 0)
    sizes = Counter(zip(surveyed.sides[row].tolist(), placed[row, place].tolist(), strict=True))
    each = surveyed.n / max(1, len(surveyed.sample))
    most = _GPU_BLOCK_BYTES if tasks_have_gpu(job.spark, job.config.embed.device) else _BLOCK_BYTES
    room = max(1, most // (2 * surveyed.dim))
    blocks = {task: -(-round(size * each) // room) for task, size in sizes.items() if size * each > room}
    return Packing(cells, config.probes, config.threshold, blocks)


def edges_within_cells(rows: DataFrame, n: int, packing: Packing, device: str = "auto") -> DataFrame:
    """Returns the pairs of `rows` (item_id, side, old, vector; `n` of them) at or over the threshold that share a cell, each once: EDGES_DDL.

    Cost grows with n x cell size. Old rows are not compared with each other. `device` as in `compare`.
    """
    count = partitions(n, packing)
    found = compare(pack(rows, packing), count, packing, device)
    # Each partition would write a file of few pairs.
    return found.hint("rebalance") if count > _FILES else found


def pack(rows: DataFrame, packing: Packing) -> DataFrame:
    """Returns the rows packed by task."""

    def place(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return packed(batches, packing)

    return rows.select("item_id", "side", "old", "vector").mapInArrow(place, PACKED_DDL)


def partitions(n: int, packing: Packing) -> int:
    """Says into how many partitions tasks are shuffled: by bytes, and a few more where pairs of blocks need cores."""
    vectors = -(-2 * n * 2 * packing.dim // _PARTITION_BYTES)
    pairs = sum(count * (count + 1) // 2 for count in packing.blocks.values())
    return max(1, vectors) + min(pairs, max(1, vectors) * 4)


def compare(tasks: DataFrame, count: int, packing: Packing, device: str = "auto") -> DataFrame:
    """Compares packed rows, task by task, in `count` partitions: on the GPU that `device` names or, with `auto`, that Spark has given to the task; else on
    the CPU. The result is the same."""
    dim, threshold = packing.dim, packing.threshold

    def stream(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return compared(batches, dim, threshold, comparer(task_device(device)))

    def whole(table: pa.Table) -> pa.Table:
        schema = pa.schema([("a_id", pa.string()), ("b_id", pa.string()), ("cosine", pa.float64())])
        return pa.Table.from_batches(stream(iter(table.to_batches())), schema)

    # Spark 4.0 takes the edges of a task all at once.
    old_spark = tuple(int(part) for part in spark_version.split(".")[:2]) < (4, 1)
    return tasks.repartition(count, *TASK).groupBy(*TASK).applyInArrow(whole if old_spark else stream, EDGES_DDL)


def union(frames: list[DataFrame]) -> DataFrame:
    """Returns the rows of all frames, which have the same columns."""
    return reduce(lambda a, b: a.unionByName(b), frames)
