"""datatrove's MinHash: signatures, buckets, clusters and filter, by its local executor."""

from __future__ import annotations

import shutil
from typing import Any

from client import tell
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from near import BANDS, ROWS, WORDS, arguments


def main() -> None:
    """Its four stages, as its own example has them; a task for each file."""
    args = arguments()
    work, files = args.out.with_name(f"{args.out.name}-work"), len(list(args.texts.glob("*.parquet")))
    config = MinhashConfig(n_grams=WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def stage(name: str, tasks: int, *pipeline: Any) -> None:
        LocalPipelineExecutor(
            pipeline=list(pipeline), tasks=tasks, workers=min(tasks, args.cores), logging_dir=f"{work}/logs/{name}"
        ).run()

    reader = ParquetReader(str(args.texts), text_key="text", id_key="id")
    stage("signatures", files, reader, MinhashDedupSignature(f"{work}/signatures", config))
    stage("buckets", BANDS, MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config))
    stage("clusters", 1, MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config))
    stage("filter", files, reader, MinhashDedupFilter(f"{work}/remove"), ParquetWriter(str(args.out)))
    shutil.rmtree(work)
    tell(0)


if __name__ == "__main__":
    main()
