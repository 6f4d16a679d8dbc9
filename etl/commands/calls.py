"""`boostqa calls`: what the ledger holds, by task, model and status, and why calls have failed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.commands.arguments import add_config, open_warehouse
from etl.commands.grid import grid
from etl.schemas import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from etl.commands.arguments import Commands

GROUP = ("task", "model", "status")
NUMBERS = ("calls", "tries", "prompt tokens", "answer tokens", "cost", "seconds")
MOST_ERRORS = 10
RETRY = "Failed calls are asked again by: boostqa run --conf {conf} --retry-failed"


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add_parser("calls", help="sum up the ledger of LLM calls: tokens, money, failures")
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints a line per task, model and status, the sum, and the commonest errors."""
    _, tables = open_warehouse(args)
    calls = tables.read("llm_calls").select(
        *[c for c in TABLES["llm_calls"].columns if c not in ("messages", "response", "reasoning")]
    )
    parts = [shown(calls)]
    errors = commonest_errors(calls)
    if errors:
        parts += [grid(("calls", "error of failed calls"), errors, numbers=("calls",)), RETRY.format(conf=args.conf)]
    print(*parts, sep="\n\n")
    return 0


def shown(calls: DataFrame) -> str:
    """Lays out the sums by task, model and status, with the whole in the last line."""
    sums = calls.rollup(*GROUP).agg(
        F.grouping_id().alias("level"),
        F.count("*").alias("calls"),
        F.coalesce(F.sum("attempts"), F.lit(0)).alias("tries"),
        F.coalesce(F.sum("prompt_tokens"), F.lit(0)).alias("prompt"),
        F.coalesce(F.sum("completion_tokens"), F.lit(0)).alias("answer"),
        F.coalesce(F.sum("cost"), F.lit(0.0)).alias("cost"),
        F.coalesce(F.percentile_approx("latency_s", 0.5), F.lit(0.0)).alias("seconds"),
    )
    rows = sums.where("level IN (0, 7)").orderBy("level", *GROUP).collect()
    lines = [
        (
            *(("sum", "", "") if row["level"] else (row["task"], row["model"], row["status"])),
            *(f"{row[name]:,}" for name in ("calls", "tries", "prompt", "answer")),
            f"{row['cost']:,.4f}",
            f"{row['seconds']:.1f}",
        )
        for row in rows
    ]
    return grid((*GROUP, *NUMBERS), lines, numbers=NUMBERS)


def commonest_errors(calls: DataFrame) -> list[tuple[str, str]]:
    """Counts the failed calls that were not asked again by what they failed of, the commonest first; numbers in an error's words are left out."""
    later = calls.where("attempt > 0").select(F.col("request_id").alias("again"), F.col("attempt").alias("later"))
    last = calls.join(later, (F.col("request_id") == F.col("again")) & (F.col("later") > F.col("attempt")), "left_anti")
    kind = F.regexp_replace(F.substring("error", 1, 160), r"\d+(\.\d+)?", "N")
    failed = last.where("status = 'failed'").groupBy(kind.alias("kind")).agg(F.count("*").alias("calls"))
    rows = failed.orderBy(F.col("calls").desc(), "kind").limit(MOST_ERRORS).collect()
    return [(f"{row['calls']:,}", row["kind"]) for row in rows]
