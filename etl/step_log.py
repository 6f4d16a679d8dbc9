"""The table `steps`: what each run did, and which step has nothing to do because nothing it hangs on has changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from etl.items import latest_id
from etl.schemas import TABLES
from etl.step import Outcome, Step
from etl.tables import Tables

# Stands behind the last success of a step whose rows are taken out, to be made again.
OUTDATED = "outdated"


@dataclass(frozen=True)
class Success:
    """What a step made when it last ran on the same inputs and settings."""

    outcome: Outcome
    versions_out: dict[str, int]


class StepLog:
    """Reads and writes `steps` for one run.

    Rows of unchanged steps wait for the next row that says something new: they cost no commit of their own.
    """

    def __init__(self, tables: Tables, run_id: str) -> None:
        self._tables = tables
        self._run_id = run_id
        self._waiting: list[dict[str, Any]] = []
        self._made: dict[str, int] = {}
        self._ids: dict[str, str | None] = {}

    def made_version(self, table: str) -> int:
        """Returns the version of a table that the steps before this one made.

        Two steps may write one table (embed: seeds, then questions). What hangs on the first must not run again because the second has written since.
        """
        return self._made.get(table, self._tables.version(table))

    def current_id(self, name: str) -> str | None:
        """Returns the id (plan_id, dedup_id) that the steps before this one gave, in this run or else in the last that made one."""
        if name not in self._ids:
            self._ids[name] = latest_id(self._tables, name)
        return self._ids[name]

    def last_success(self, step: Step, fingerprint: str) -> Success | None:
        """Returns what the step made when it last ran on these inputs and settings; None when it has to run."""
        # ingest looks at files, which have no version.
        if not step.reads:
            return None
        last = self._successes.get((step.name, fingerprint))
        if last is None or not self._still_there(step, last["versions_out"]):
            return None
        made = Outcome(last["rows_in"], last["rows_out"], last["dropped"], last["figures"], last["ids"])
        return Success(made, last["versions_out"]) if step.intact(made) else None

    @cached_property
    def _successes(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The last success of every step and fingerprint, read once: a row per configuration ever run, however large the data."""
        from pyspark.sql import functions as F

        kept = F.struct("rows_in", "rows_out", "dropped", "figures", "ids", "versions_out")
        steps = self._tables.read("steps")
        outdated = steps.where(f"status = '{OUTDATED}'").groupBy("step").agg(F.max("created_at").alias("since"))
        done = steps.where("status IN ('done', 'unchanged')").join(outdated, "step", "left")
        still = done.where("since IS NULL OR created_at > since").groupBy("step", "fingerprint")
        rows = still.agg(F.max_by(kept, "created_at").alias("last")).collect()
        return {(row["step"], row["fingerprint"]): row["last"].asDict() for row in rows}

    def _still_there(self, step: Step, versions: dict[str, int]) -> bool:
        # Below its recorded version, a table was dropped or restored; above it, one that the step replaces holds what other settings made.
        now = {name: self._tables.version(name) for name in versions}
        replaced = all(now[name] == version for name, version in versions.items() if name in step.replaces)
        return replaced and all(now[name] >= version for name, version in versions.items())

    def add(self, entry: dict[str, Any], outcome: Outcome, seconds: float) -> None:
        """Records one step; `entry` holds step, attempt, status, fingerprint, versions_in and what else is known."""
        row = self._row(entry, outcome, seconds)
        self._waiting.append(row)
        self._made |= row["versions_out"]
        self._ids |= outcome.ids
        if row["status"] != "unchanged":
            self.flush()

    def outdate(self, names: Iterable[str]) -> None:
        """Lets no success of these steps count that was before now: what they have made is about to be taken out, and whoever comes next has to make it again."""
        for name in sorted(set(names)):
            entry = {"step": name, "attempt": 0, "status": OUTDATED, "fingerprint": "", "versions_in": {}}
            self._waiting.append(self._row(entry, Outcome(0, 0), 0.0))
        self.flush()

    def _row(self, entry: dict[str, Any], outcome: Outcome, seconds: float) -> dict[str, Any]:
        return {
            "run_id": self._run_id,
            "rows_in": outcome.rows_in,
            "rows_out": outcome.rows_out,
            "dropped": outcome.dropped,
            "figures": {key: float(value) for key, value in outcome.figures.items()},
            "ids": outcome.ids,
            "seconds": seconds,
            "versions_out": {},
            "mlflow_run_id": None,
            "error": None,
            "created_at": datetime.now(timezone.utc),
            **entry,
        }

    def flush(self) -> None:
        """Writes the rows that wait, in one commit."""
        if not self._waiting:
            return
        columns = TABLES["steps"].columns
        ddl = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
        rows = [tuple(row[name] for name in columns) for row in self._waiting]
        self._tables.append("steps", self._tables.spark.createDataFrame(rows, ddl))
        self._waiting = []
