"""A driver that asks so many requests on a small cluster of its own: `python -m tests.etl.asking_job WAREHOUSE URL COUNT`. Made to be killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pyspark

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


def main(warehouse: str, url: str, count: int) -> None:
    """Recovers and asks, with a task that may be killed again and again."""
    started = time.monotonic()
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        "--conf spark.task.maxFailures=30 --conf spark.deploy.maxExecutorRetries=-1 pyspark-shell"
    )
    spark = get_spark("local-cluster[2,1,1024]")
    config = make_config(warehouse, llm={**LLM, "base_urls": [url]})
    tables = Tables(spark, config.tables)
    ledger = Ledger(tables, config.llm, f"run-{os.getpid()}", lambda: [url])
    # Here, where tests are collected without Spark, it is not yet needed.
    from tests.etl.test_ledger import requests

    print("up after", time.monotonic() - started, flush=True)
    print("recovered", ledger.recover(), flush=True)
    print("asked", ledger.ask(requests(tables, "kill", count)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
