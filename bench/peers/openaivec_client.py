"""openaivec's Spark UDF, one row a request as all others, its concurrency the same in all partitions together."""

from __future__ import annotations

import os
import sys

from client import MAX_TOKENS, arguments, tell
from openaivec.spark_ext import responses_udf, setup
from pyspark.sql import SparkSession

# It counts tokens before each request. This model's tokenizer is the one that can be had without a download, from another client's package.
MODEL = "gpt-4"


def main() -> None:
    """Asks all prompts and writes the answers as Parquet."""
    args = arguments()
    partitions = os.cpu_count() or 1
    os.environ.update(PYSPARK_PYTHON=sys.executable, OPENAI_BASE_URL=args.url)
    spark = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false").getOrCreate()
    setup(spark, api_key="none", responses_model_name=MODEL)
    ask = responses_udf(
        "Answer the question.",
        batch_size=1,
        max_concurrency=args.in_flight // partitions,
        max_output_tokens=MAX_TOKENS,
    )
    rows = spark.read.schema("prompt string").json(str(args.prompts))
    out = f"{args.folder}/answers"
    rows.repartition(partitions).withColumn("answer", ask("prompt")).write.mode("overwrite").parquet(out)
    tell(spark.read.parquet(out).where("answer IS NOT NULL").count())
    spark.stop()


main()
