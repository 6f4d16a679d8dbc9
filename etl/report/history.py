"""What the table `steps` tells the report: the last run, and what the last successful step of each kind has made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.errors import UserError
from etl.report.figures import StepRun
from etl.step_log import OUTDATED
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import Row

# More rows than any run has: a run records each of its steps once.
NEWEST = 64


@dataclass(frozen=True)
class LastRun:
    """The newest run: its steps in order, and when the last of them ended (UTC, in words)."""

    run_id: str
    finished: str
    steps: tuple[StepRun, ...]


@dataclass(frozen=True)
class Made:
    """What a step made: the id of it (a plan, a dedup run, a mixture, a set of measures), and the figures recorded with it."""

    id: str
    rows_in: int
    dropped: dict[str, int]
    figures: dict[str, float]


NOTHING = Made("", 0, {}, {})


def last_run(tables: Tables) -> LastRun:
    """Returns the newest run. Raises UserError when the warehouse has none."""
    ended = F.date_format(F.to_utc_timestamp("created_at", F.current_timezone()), "yyyy-MM-dd HH:mm 'UTC'")
    ran = tables.read("steps").where(F.col("status") != OUTDATED).withColumn("ended", ended)
    newest = ran.orderBy(F.col("created_at").desc()).limit(NEWEST).collect()
    if not newest:
        raise UserError(
            "there is nothing to report: no run is recorded in this warehouse. Run the pipeline first (boostqa run --conf ...)"
        )
    run = [row for row in newest if row["run_id"] == newest[0]["run_id"]]
    return LastRun(newest[0]["run_id"], newest[0]["ended"], tuple(_step(row) for row in reversed(run)))


def _step(row: Row) -> StepRun:
    names = ("step", "attempt", "status", "rows_in", "rows_out", "seconds", "error")
    return StepRun(**{name: row[name] for name in names}, dropped=largest_first(row["dropped"] or {}))


def largest_first(counts: dict[str, int]) -> dict[str, int]:
    """Sorts counts by size, then by name."""
    return dict(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))


def last_made(tables: Tables) -> dict[str, Made]:
    """Returns what was made last, by the name of its id: plan_id, seed_dedup_id, dedup_id, inputs_id, mix_id."""
    good = tables.read("steps").where("status IN ('done', 'unchanged')")
    # `measure` names its rows by the fingerprint of its inputs.
    ids = F.expr("if(step = 'measure', map('inputs_id', fingerprint), ids)")
    named = good.select(F.explode(ids).alias("name", "id"), "rows_in", "dropped", "figures", "created_at")
    last = named.groupBy("name").agg(
        F.max_by(F.struct("id", "rows_in", "dropped", "figures"), "created_at").alias("made")
    )
    return {row["name"]: _made(row["made"]) for row in last.collect()}


def _made(row: Row) -> Made:
    return Made(row["id"], row["rows_in"], row["dropped"] or {}, row["figures"] or {})
