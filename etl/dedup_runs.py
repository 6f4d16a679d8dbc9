"""What earlier dedup runs have compared, so that a grown set compares only what is new, and a higher threshold nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.config import Config
from etl.errors import InvariantError
from etl.step import Outcome
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# What decides which pairs are compared; what is removed of them hangs on the rule as well.
COMPARING = (
    "dedup.cluster_size",
    "dedup.probes",
    "dedup.priority",
    "dedup.sample_rows",
    "embed.model",
    "embed.precision",
    "embed.windows",
    "embed.max_unknown_share",
    "run.seed",
)
RULE = ("dedup.survivors", "dedup.incremental")
# Earlier runs that are looked at.
_LOOKED_AT = 3


@dataclass(frozen=True)
class DedupRun:
    """One run, as `dedup_runs` holds it: `parent_id` is the run that it continued, `content` names the rows, `settings` and `rule` what it was made by."""

    dedup_id: str
    scope: str
    content: str
    settings: str
    rule: str
    threshold: float
    parent_id: str | None = None
    centroid_set_id: str | None = None
    removed: int = 0
    edges: int = 0
    rows_in: int = 0
    dropped: dict[str, int] | None = None
    figures: dict[str, float] | None = None

    def outcome(self, id_name: str) -> Outcome:
        """Returns what the run gave."""
        dropped, figures = self.dropped or {}, self.figures or {}
        return Outcome(self.rows_in, self.rows_in - sum(dropped.values()), dropped, figures, {id_name: self.dedup_id})


def new_run(config: Config, scope: str, dedup_id: str, content: str) -> DedupRun:
    """Names a run that is to be made."""
    settings, rule = config.fingerprint(*COMPARING), config.fingerprint(*RULE)
    return DedupRun(dedup_id, scope, content, settings, rule, config.dedup.threshold)


def recorded(tables: Tables, run: DedupRun) -> DedupRun | None:
    """Returns the run as it was recorded, where all that it wrote is still there."""
    found = _runs(tables, F.col("dedup_id") == run.dedup_id)
    if not found:
        return None
    mine = F.col("dedup_id") == run.dedup_id
    there = tables.read("duplicates").where(mine).count(), tables.read("edges").where(mine).count()
    return found[0] if there == (found[0].removed, found[0].edges) else None


def looser(tables: Tables, run: DedupRun) -> DedupRun | None:
    """Returns a run that has compared the same rows all with all, at a lower threshold or at the same: its edges hold all that `run` needs."""
    same = (F.col("scope") == run.scope) & (F.col("content") == run.content) & (F.col("settings") == run.settings)
    whole = F.col("parent_id").isNull() & (F.col("threshold") <= run.threshold) & (F.col("dedup_id") != run.dedup_id)
    found = _runs(tables, same & whole)
    for one in found:
        if tables.read("edges").where(F.col("dedup_id") == one.dedup_id).count() == one.edges:
            return one
    return None


def continued(tables: Tables, run: DedupRun, rows: DataFrame) -> DedupRun | None:
    """Returns the last run by the same settings of which all rows (item_id, row_hash) are still there unchanged."""
    names = ("scope", "settings", "rule", "threshold")
    same = F.lit(True)
    for name in names:
        same = same & (F.col(name) == getattr(run, name))
    for one in _runs(tables, same & (F.col("dedup_id") != run.dedup_id))[:_LOOKED_AT]:
        before = compared_before(tables, one)
        if before.join(rows.select("item_id", "row_hash"), ["item_id", "row_hash"], "left_anti").isEmpty():
            return one
    return None


def compared_before(tables: Tables, run: DedupRun) -> DataFrame:
    """Returns the rows that a run and those before it in its chain have compared: item_id, row_hash, reason."""
    chain = [run.dedup_id]
    while run.parent_id is not None:
        parents = _runs(tables, F.col("dedup_id") == run.parent_id)
        if not parents:
            raise InvariantError(f"dedup_runs: {run.dedup_id} continues {run.parent_id}, which is not there")
        run = parents[0]
        chain.append(run.dedup_id)
    return tables.read("compared").where(F.col("dedup_id").isin(chain)).select("item_id", "row_hash", "reason")


def record(tables: Tables, run: DedupRun, outcome: Outcome) -> None:
    """Records a finished run; one that is recorded stays as it is, unless what it wrote had been lost."""
    done = replace(run, rows_in=outcome.rows_in, dropped=outcome.dropped, figures=outcome.figures)
    columns = {name: getattr(done, name) for name in DedupRun.__dataclass_fields__}
    ddl = (
        "dedup_id string, scope string, content string, settings string, rule string, threshold double, parent_id string, "
        "centroid_set_id string, removed bigint, edges bigint, rows_in bigint, dropped map<string,bigint>, "
        "figures map<string,double>, created_at timestamp"
    )
    row = (*columns.values(), datetime.now(timezone.utc))
    tables.upsert("dedup_runs", tables.spark.createDataFrame([row], ddl))


def _runs(tables: Tables, condition: Any) -> list[DedupRun]:
    """The runs that meet a condition, the last first."""
    rows = tables.read("dedup_runs").where(condition).orderBy(F.col("created_at").desc(), "dedup_id").collect()
    names = DedupRun.__dataclass_fields__
    return [DedupRun(**{name: row[name] for name in names}) for row in rows]
