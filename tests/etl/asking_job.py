"""A driver that asks so many requests on a small cluster of its own: `python -m tests.etl.asking_job WAREHOUSE URL COUNT`.

Made to be killed. With `MASTER NAME=VALUE...` behind it, it asks on that cluster with these settings, and nearly all requests are of one seed: one task is long.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pyspark
from pyspark.sql import functions as F

from etl.ledger import Ledger
from etl.session import get_spark
from etl.tables import Tables
from tests.etl.tiny import ROOT, make_config

IN_FLIGHT, FLUSH_ROWS, WORKERS = 8, 4, 2
# What a kill may cost: requests that were on their way, and answers that were not yet written down.
LOST = IN_FLIGHT + WORKERS * FLUSH_ROWS
LLM = {
    "endpoint": "urls",
    "max_in_flight": IN_FLIGHT,
    "flush_rows": FLUSH_ROWS,
    "flush_seconds": 0.3,
    "workers": WORKERS,
    "wave_requests": 200,
}


def main(warehouse: str, url: str, count: int, master: str = "local-cluster[2,1,1024]", *settings: str) -> None:
    """Recovers and asks, with a task that may be killed again and again."""
    started = time.monotonic()
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYTHONPATH"] = str(ROOT)
    # Short-lived executors: their compiler's second level never pays.
    quick = "spark.executor.extraJavaOptions=-XX:TieredStopAtLevel=1"
    confs = ("spark.task.maxFailures=30", "spark.deploy.maxExecutorRetries=-1", quick, *settings)
    os.environ["PYSPARK_SUBMIT_ARGS"] = " ".join([*(f"--conf {each}" for each in confs), "pyspark-shell"])
    spark = get_spark(master)
    config = make_config(warehouse, llm={**LLM, "base_urls": [url]})
    tables = Tables(spark, config.tables)
    ledger = Ledger(tables, config.llm, f"run-{os.getpid()}", lambda: [url])
    # Here, where tests are collected without Spark, it is not yet needed.
    from tests.etl.test_ledger import requests

    print("up after", time.monotonic() - started, flush=True)
    print("recovered", ledger.recover(), flush=True)
    rows = requests(tables, "kill", count)
    if settings:
        rows = rows.withColumn("prefix", F.when(F.length("prefix") > len("kill-9"), "one").otherwise(F.col("prefix")))
    print("asked", ledger.ask(rows), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
