"""What is written first: a pandas UDF that calls `openai` once a row, and waits. Spark keeps a row in flight for each core."""

from __future__ import annotations

import os
import sys

import pandas as pd
from client import MAX_TOKENS, MODEL, arguments, messages, tell
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf


def main() -> None:
    """Asks all prompts and writes the answers as Parquet."""
    args = arguments()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Workers import `client` too.
    os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))
    url = args.url
    # First: without a session, Spark can not read the type "string" below.
    spark = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false").getOrCreate()

    @pandas_udf("string")  # type: ignore[call-overload,untyped-decorator]
    def ask(prompts: pd.Series) -> pd.Series:
        from openai import OpenAI

        client = OpenAI(base_url=url, api_key="none")

        def answer(prompt: str) -> str | None:
            reply = client.chat.completions.create(model=MODEL, messages=messages(prompt), max_tokens=MAX_TOKENS)
            return reply.choices[0].message.content

        return prompts.map(answer)

    rows = spark.read.schema("prompt string").json(str(args.prompts))
    out = f"{args.folder}/answers"
    rows.repartition(os.cpu_count()).withColumn("answer", ask("prompt")).write.mode("overwrite").parquet(out)
    tell(spark.read.parquet(out).where("answer IS NOT NULL").count())
    spark.stop()


main()
