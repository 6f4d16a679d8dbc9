"""What Spark costs a GPU in semantic dedup: embedding against bare `encode`, and the compare stage against a bare half-precision matrix product.

Embedding: texts of 1 to 8 sentences of samples/, each with its number, by the bundled model. `encode` of sentence-transformers in the same precision on the
same device, at its best batch size; boostqa as its step does it, from Parquet to Parquet, with one or more tasks on the GPU. The first turn of each, which
loads the model, is not counted; of the others the best is.

Comparison: vectors with planted duplicates (bench/dedup_vectors.py). A pair is one comparison. `product` is the matrix product alone, of as many rows and
columns as a block of the stage has; `one task` is what a worker does with a set that is on the CPU, with and without pairs to find; `stage` is Spark's,
with the packed rows on disk and its pairs thrown away. Pairs that the device finds are counted against those of the CPU.

Needs the project's environment and Java alone: no Delta, no data beside the project, no network. Where there is no GPU it runs on the CPU, with small sizes,
float32 in the stage, and says so (`device`): then its shares say nothing of a GPU. A try that writes no result: ARGS="--quick".

Expected before the first look on a GPU of 700 TFLOP/s with 16 cores: `encode` waits for its tokeniser, so one task through Spark gives 85 to 95 %, four more
than 100 %. One task without pairs gives 50 to 60 % of the product, as each score is read once more; with pairs 10 to 20 %, since a core decides half
a million pairs a second. The stage gives under 1 % in cells of 1,000 rows and 5 % in cells of 100,000: rows come out of the JVM at a million a second.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import ROOT, goal, write_result
from dedup_one import compare_alone, job_for, rows_of
from dedup_vectors import DIM, THRESHOLD, Planted, halves

from etl.clusters import Survey, packing_for
from etl.config import load_config
from etl.session import LOCAL_SETTINGS
from etl.steps.embed import with_vectors
from udfs.cell_fit import fit_cells
from udfs.device_similarity import DeviceSimilarity
from udfs.embedding import from_binary, half_rows
from udfs.embedding_model import EmbedSettings, load_model
from udfs.similarity import pairs_over
from udfs.text import sentences, text_hash

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
ON_GPU = torch.cuda.is_available()
DEVICE = "cuda:0" if ON_GPU else "cpu"
CORES = os.cpu_count() or 1
# Texts; vectors of the stage and of one task; tasks at a time; rows a cell; texts that `encode` takes at a time.
SIZES: dict[str, Row] = {
    "gpu": {
        "texts": 131_072,
        "stage": 1_000_000,
        "task": 262_144,
        "slots": (1, 4, min(8, CORES)),
        "cells": (1_000, 100_000),
        "batches": (32, 256, 1_024),
    },
    "cpu": {"texts": 4_096, "stage": 50_000, "task": 4_096, "slots": (CORES,), "cells": (1_000,), "batches": (32,)},
    "quick": {"texts": 256, "stage": 5_000, "task": 1_000, "slots": (CORES,), "cells": (1_000,), "batches": (32,)},
}
# Rows and columns of the bare product: a block of the stage.
BLOCK = (1 << 14, 1 << 16) if ON_GPU else (1_024, 1_024)
TURNS = 3
# Rows of which the pairs are compared with the CPU's.
CHECKED = 20_000


def best_of(turns: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Runs once, then so many turns; returns the seconds of the fastest of these, and what the last one made."""
    best, made = np.inf, work()
    for _ in range(turns):
        synchronise()
        started = time.monotonic()
        made = work()
        synchronise()
        best = min(best, time.monotonic() - started)
    return best, made


def synchronise() -> None:
    """Waits for the GPU, which works on while Python goes on."""
    if ON_GPU:
        torch.cuda.synchronize()


def texts_of(count: int) -> list[str]:
    """Texts that differ: a number, and sentences drawn from the samples."""
    lines = (ROOT / "samples/corpus/science/science.jsonl").read_text("utf-8").splitlines()
    # One record of the file is cut on purpose.
    whole = [line for line in lines if '"body"' in line and line.endswith("}")]
    pool = [sentence for line in whole for sentence in sentences(json.loads(line)["body"])]
    random = np.random.default_rng(5)
    drawn = (random.integers(0, len(pool), random.integers(1, 9)) for _ in range(count))
    return [f"Part {n}. {' '.join(pool[i] for i in some)}" for n, some in enumerate(drawn)]


def bare_encode(texts: list[str], batches: tuple[int, ...]) -> tuple[list[Row], np.ndarray]:
    """Measures `encode` with each batch size; returns its vectors too."""
    # As a worker loads it: the same weights, in the precision of this device.
    loaded = load_model(EmbedSettings(device=DEVICE)).loaded
    rows, made = [], np.zeros((0, 0))
    for batch in batches:
        seconds, made = best_of(
            TURNS - 1, lambda batch=batch: loaded.encode(texts, batch_size=batch, show_progress_bar=False)
        )
        told = {"what": f"encode, {batch} texts at a time", "size": len(texts), "seconds": round(seconds, 2)}
        rows.append(told | {"docs_per_s": round(len(texts) / seconds, 1)})
    return rows, np.asarray(made, dtype=np.float32)


def session(slots: int, folder: Path) -> SparkSession:
    """A session with so many tasks at a time, without Delta."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if ON_GPU:
        # What torch keeps here is for the workers.
        torch.cuda.empty_cache()
    builder = SparkSession.builder.master(f"local[{slots}]").appName("gpu_dedup")
    more = {"spark.driver.memory": "8g" if ON_GPU else "2g", "spark.local.dir": str(folder), "spark.log.level": "ERROR"}
    for key, value in {**LOCAL_SETTINGS, **more}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def embed_by_spark(texts: list[str], slots: int, folder: Path) -> tuple[Row, np.ndarray]:
    """Measures boostqa on the texts; returns its vectors too, in the order of the texts."""
    given, made = folder / "texts.parquet", folder / "vectors"
    names = [f"{n:08}" for n in range(len(texts))]
    columns = {"item_id": names, "role": ["text"] * len(texts), "text_hash": [text_hash(text) for text in texts]}
    pq.write_table(pa.table({**columns, "text": texts}), given)
    sets = [f"embed.device={DEVICE}", "embed.max_unknown_share=1.0"]
    config = load_config(str(ROOT / "conf/local.yaml"), sets).embed
    spark = session(slots, folder)

    def embed() -> None:
        rows = with_vectors(spark.read.parquet(str(given)), len(texts), config, str(folder / "progress"))
        rows.write.mode("overwrite").parquet(str(made))

    seconds, _ = best_of(TURNS - 1, embed)
    spark.stop()
    table = pq.read_table(made).sort_by("item_id")
    told = {"what": f"boostqa, {slots} tasks at a time", "size": len(texts), "seconds": round(seconds, 2)}
    return told | {"docs_per_s": round(len(texts) / seconds, 1)}, from_binary(table.column("vector"), DIM)


def bare_product(dtype: torch.dtype) -> Row:
    """Measures the matrix product alone."""
    seeded = torch.Generator(device=DEVICE).manual_seed(1)
    left, right = (torch.randn(n, DIM, device=DEVICE, generator=seeded) for n in BLOCK)
    left, right = (torch.nn.functional.normalize(one).to(dtype) for one in (left, right))
    out = torch.empty(BLOCK, dtype=dtype, device=DEVICE)
    times = 20 if ON_GPU else 3

    def multiply() -> None:
        for _ in range(times):
            torch.mm(left, right.T, out=out)

    seconds, _ = best_of(TURNS, multiply)
    per_s = times * BLOCK[0] * BLOCK[1] / seconds
    name = str(dtype).removeprefix("torch.")
    return {"what": f"product, {name}", "size": BLOCK[1], "rows": BLOCK[0], **rates(per_s)}


def vectors_of(planted: Planted) -> np.ndarray:
    """Makes the vectors, and reads them."""
    planted.make()
    return np.concatenate([half_rows(pq.read_table(path).column("vector"), DIM) for path in planted.parts])


def rates(pairs_per_s: float) -> Row:
    """A speed of comparison, as it is and in GFLOP/s."""
    return {"pairs_per_s": round(pairs_per_s), "gflops": round(2 * DIM * pairs_per_s / 1e9, 1)}


def one_task(what: str, vectors: np.ndarray) -> Row:
    """Measures what a worker does with one set of vectors."""
    by, n = DeviceSimilarity(DEVICE), len(vectors)
    seconds, found = best_of(TURNS - 1, lambda: sum(len(i) for i, _, _ in by.alike(by.ready(vectors), None, THRESHOLD)))
    told = {"what": f"one task, {what}", "size": n, "pairs": found, "seconds": round(seconds, 4)}
    return told | rates(n * (n - 1) / 2 / seconds)


def differing(vectors: np.ndarray) -> int:
    """Counts the pairs that the device finds otherwise than the CPU, or with another cosine."""
    by, ours = DeviceSimilarity(DEVICE), set()
    for i, j, cosine in by.alike(by.ready(vectors), None, THRESHOLD):
        ours |= set(zip(i.tolist(), j.tolist(), cosine.tolist(), strict=True))
    i, j, cosine = pairs_over(vectors, None, THRESHOLD)
    return len(ours ^ set(zip(i.tolist(), j.tolist(), cosine.tolist(), strict=True)))


def stage(planted: Planted, vectors: np.ndarray, cell: int, slots: int, folder: Path) -> Row:
    """Measures the compare stage through Spark, with cells of about so many rows."""
    spark = session(slots, folder)
    job = job_for(spark, folder / "warehouse", [f"embed.device={DEVICE}", f"dedup.cluster_size={cell}"])
    config = job.config.dedup
    chosen = np.sort(np.random.default_rng(3).permutation(planted.n)[: config.sample_rows])
    sample = vectors[chosen]
    rows = rows_of(spark, planted)
    nobody = rows.select("item_id").limit(0)
    sides = np.full(len(sample), "text", dtype=object)
    surveyed = Survey({"text": planted.n}, DIM, nobody, {}, sides, sample)
    cells = fit_cells(sample, planted.n, cell, THRESHOLD, 0)
    packing = packing_for(job, surveyed, cells)
    made = compare_alone(job, rows, planted.n, packing, turns=TURNS)
    spark.stop()
    told = {"what": f"stage, cells of {cell:,}, {slots} tasks at a time", "size": planted.n, "cells": len(cells)}
    told |= {"cells_in_blocks": len(packing.blocks), "seconds": made["compare_alone_s"]}
    return told | rates(made["comparisons"] / made["compare_alone_s"])


def embedding(sizes: Row, folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows and goals of embedding."""
    texts = texts_of(sizes["texts"])
    rows, truth = bare_encode(texts, sizes["batches"])
    best = max(row["docs_per_s"] for row in rows)
    for slots in dict.fromkeys(sizes["slots"]):
        row, made = embed_by_spark(texts, slots, folder)
        lengths = np.linalg.norm(truth, axis=1) * np.linalg.norm(made, axis=1)
        drift = 1 - ((truth * made).sum(axis=1) / lengths).min()
        rows.append(row | {"share": round(row["docs_per_s"] / best, 4), "drift": round(float(drift), 5)})
        print(rows[-1], flush=True)
    ours = max((row for row in rows if "share" in row), key=lambda row: float(row["share"]))
    goals = [
        goal(f"{ours['what']}: docs/s to bare encode", round(100 * ours["share"], 1), 95, "%", at_most=False),
        goal("drift of a vector from that of encode", max(row.get("drift", 0) for row in rows), 0.01, "cosine"),
    ]
    return rows, goals


def comparison(sizes: Row, folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows and goals of comparison."""
    planted, some = Planted(folder / "planted", sizes["stage"]), sizes["task"]
    nothing_alike = halves(np.random.default_rng(2).normal(size=(some, DIM)).astype(np.float32))
    few, vectors = vectors_of(Planted(folder / "planted", some)), vectors_of(planted)
    half = bare_product(torch.float16)
    rows = [half, one_task("no pairs", nothing_alike), one_task("planted pairs", few)]
    for row in rows[1:]:
        row["share"] = round(row["pairs_per_s"] / half["pairs_per_s"], 4)
    bare = half if ON_GPU else bare_product(torch.float32)
    rows += [] if ON_GPU else [bare]
    for cell in sizes["cells"]:
        row = stage(planted, vectors, cell, max(sizes["slots"]), folder)
        rows.append(row | {"share": round(row["pairs_per_s"] / bare["pairs_per_s"], 4)})
        print(rows[-1], flush=True)
    ours = max((row for row in rows if row["what"].startswith("stage")), key=lambda row: float(row["share"]))
    wrong = differing(few[:CHECKED])
    goals = [
        goal(f"{row['what']}: pairs/s to the bare product", round(100 * row["share"], 1), 50, "%", at_most=False)
        for row in (rows[1], rows[2], ours)
    ]
    return rows, [*goals, goal(f"{min(some, CHECKED):,} vectors: pairs unlike the CPU's", wrong, 0, "pairs")]


def main() -> int:
    """Measures, writes the result; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, and no result file")
    parser.add_argument("--folder", type=Path, help="where vectors and Spark's files go; without it a temporary one")
    args = parser.parse_args()
    sizes = SIZES["quick" if args.quick else "gpu" if ON_GPU else "cpu"]
    device = torch.cuda.get_device_name(0) if ON_GPU else "cpu"
    print(f"on {device}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gpu-dedup-", dir=args.folder) as folder:
        measured = [part(sizes, Path(folder)) for part in (embedding, comparison)]
    rows = [{"device": device, **row} for some, _ in measured for row in some]
    goals = [one for _, some in measured for one in some]
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    if args.quick:
        for one in goals:
            print(f"  {one['name']}: {one['value']:g} {one['unit']} (goal {one['goal']:g})")
        return 0
    return 0 if write_result("gpu_dedup", rows, goals) else 1


if __name__ == "__main__":
    sys.exit(main())
