"""boostqa: `Ledger.ask` on a Spark of this machine, with a Delta warehouse in the client's folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

from client import MAX_TOKENS, MODEL, arguments, tell
from pyspark.sql import functions as F

from etl.config import Config, load_config
from etl.ledger import Ledger
from etl.session import get_spark
from etl.tables import Tables
from udfs.tasks import TASKS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TASK = "multi_grade"
# As many as Spark has task slots here, which is what conf/base.yaml advises and has.
WORKERS = 2
WARM_UP = 512
PROFILE = Path(__file__).parents[2] / "conf" / "local.yaml"


def configuration(url: str, in_flight: int, warehouse: Path) -> Config:
    """The local profile with another endpoint and more requests at once; everything else as it comes."""
    llm = {"endpoint": "urls", "base_urls": [url], "max_in_flight": in_flight, "workers": WORKERS}
    return load_config(str(PROFILE), [f"llm={json.dumps(llm)}", f"tables.warehouse={warehouse}"])


def requests(spark: SparkSession, prompts: Path) -> DataFrame:
    """A request for each prompt, each a seed of its own."""
    rows = spark.read.schema("prompt string").json(str(prompts))
    message = F.struct(F.lit("user").alias("role"), F.col("prompt").alias("content"))
    return rows.select(
        F.md5("prompt").alias("request_id"),
        F.lit(TASK).alias("task"),
        F.lit(TASKS[TASK].prompt_id("en")).alias("prompt_id"),
        F.lit(MODEL).alias("model"),
        F.lit(json.dumps({"max_tokens": MAX_TOKENS})).alias("params"),
        F.lit(0).alias("sample"),
        F.to_json(F.array(message)).alias("messages"),
        F.md5("prompt").alias("prefix"),
    )


def warm_up(ledger: Ledger, prompts: DataFrame, url: str) -> None:
    """Asks a few, as the steps before would have, so that no code is new to Spark; then the server counts anew."""
    ledger.ask(prompts.limit(WARM_UP).withColumn("request_id", F.concat(F.lit("warm-up "), "request_id")))
    root = url.removesuffix("/v1")
    open_url = build_opener(ProxyHandler({})).open
    with open_url(f"{root}/stats") as told:
        latency = json.load(told)["latency_s"]
    open_url(Request(f"{root}/reset", data=json.dumps({"latency_s": latency}).encode())).close()


def main() -> None:
    """Recovers what a killed run left, and asks the rest."""
    args = arguments()
    spark = get_spark()
    warehouse = args.folder / "warehouse"
    first = not warehouse.exists()
    config = configuration(args.url, args.in_flight, warehouse)
    tables = Tables(spark, config.tables)
    ledger = Ledger(tables, config.llm, f"run-{os.getpid()}", lambda: [args.url])
    recovered = ledger.recover()
    if first:
        warm_up(ledger, requests(spark, args.prompts), args.url)
    started = time.monotonic()
    asked = ledger.ask(requests(spark, args.prompts))
    seconds = time.monotonic() - started
    answers = tables.read("llm_calls").where("status = 'ok' AND request_id NOT LIKE 'warm-up %'").count()
    tell(answers, asked=asked, recovered=recovered, ask_s=round(seconds, 2))


main()
