"""What earlier dedup runs have compared, so that a grown set compares only what is new, and a higher threshold nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.config import Config
from etl.schemas import TABLES
from etl.step import Outcome
from etl.tables import Tables
from udfs.text import stable_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame

# What a run hangs on, beside its rows.
SETTINGS = ("dedup", "embed", "run.seed")
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
    """One run, as `dedup_runs` holds it: `parent_id` is the run that it continued, `inputs_id` names rows and settings, `content` the rows alone.

    `removed`, `edges` and `looked_at` count what it has written.
    """

    dedup_id: str
    inputs_id: str
    scope: str
    content: str
    settings: str
    rule: str
    threshold: float
    parent_id: str | None = None
    centroid_set_id: str | None = None
    removed: int = 0
    edges: int = 0
    looked_at: int = 0
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] | None = None
    figures: dict[str, float] | None = None

    def outcome(self) -> Outcome:
        """Returns what the run gave."""
        return Outcome(self.rows_in, self.rows_out, self.dropped or {}, self.figures or {}, {self.scope: self.dedup_id})

    def after(self, parent: DedupRun) -> DedupRun:
        """Returns the run that continues `parent`: what an unfinished one after another parent has written is not taken for its own."""
        return replace(self, parent_id=parent.dedup_id, dedup_id=stable_id(self.inputs_id, parent.dedup_id))


def new_run(config: Config, scope: str, content: str, fates: dict[str, int]) -> DedupRun:
    """Names a run that is to be made by the content of the rows it compares, by how many are out for which reason, and by its settings."""
    settings, rule = config.fingerprint(*COMPARING), config.fingerprint(*RULE)
    inputs_id = stable_id(scope, content, repr(sorted(fates.items())), config.fingerprint(*SETTINGS))
    return DedupRun(stable_id(inputs_id, ""), inputs_id, scope, content, settings, rule, config.dedup.threshold)


class History:
    """The runs of one scope that were finished, the last first; `dedup_runs` is read once."""

    def __init__(self, tables: Tables, scope: str) -> None:
        self._tables = tables
        mine = (F.col("scope") == scope) & F.col("inputs_id").isNotNull()
        found = tables.read("dedup_runs").where(mine) if tables.exists("dedup_runs") else None
        rows = found.orderBy(F.col("created_at").desc(), "dedup_id").collect() if found is not None else []
        names = DedupRun.__dataclass_fields__
        self._runs = [DedupRun(**{name: row[name] for name in names}) for row in rows]

    def recorded(self, run: DedupRun) -> DedupRun | None:
        """Returns the last run of the same rows and settings of which all that it wrote is still there."""
        return next((one for one in self._runs if one.inputs_id == run.inputs_id and self._is_whole(one)), None)

    def known(self, dedup_id: str) -> DedupRun | None:
        """Returns the run as it was recorded, whether or not what it wrote is still there."""
        return next((one for one in self._runs if one.dedup_id == dedup_id), None)

    def looser(self, run: DedupRun) -> DedupRun | None:
        """Returns a run that has compared the same rows all with all, at a lower threshold or at the same: its edges hold all that `run` needs."""
        for one in self._runs:
            same = (one.content, one.settings) == (run.content, run.settings) and one.dedup_id != run.dedup_id
            if same and one.parent_id is None and one.threshold <= run.threshold and self._is_whole(one):
                return one
        return None

    def continued(self, run: DedupRun, rows: DataFrame) -> DedupRun | None:
        """Returns the last run by the same settings of which all rows (item_id, row_hash) are still there unchanged."""

        def by(one: DedupRun) -> tuple[str, str, float]:
            return one.settings, one.rule, one.threshold

        alike = [one for one in self._runs if by(one) == by(run) and one.inputs_id != run.inputs_id]
        for one in alike[:_LOOKED_AT]:
            before = self.compared(one.dedup_id) if self._is_whole(one) else None
            now = rows.select("item_id", "row_hash")
            if before is not None and before.join(now, ["item_id", "row_hash"], "left_anti").isEmpty():
                return one
        return None

    def compared(self, dedup_id: str | None) -> DataFrame | None:
        """Returns the rows that a run and those before it in its chain have looked at: item_id, row_hash; None for no run."""
        run = self.known(dedup_id) if dedup_id else None
        if run is None:
            return None
        chain = F.col("dedup_id").isin([one.dedup_id for one in self._chain(run)])
        return self._tables.read("compared").where(chain).select("item_id", "row_hash")

    def _chain(self, run: DedupRun) -> list[DedupRun]:
        """The run and those that it continued, as far as they are known."""
        known = {one.dedup_id: one for one in self._runs}
        chain = [run]
        while (before := known.get(chain[-1].parent_id or "")) is not None:
            chain.append(before)
        return chain

    def _is_whole(self, run: DedupRun) -> bool:
        """Tells whether all that the run has written is there, and all rows of its chain: a table may have been restored or deleted from."""
        chain = self._chain(run)
        if chain[-1].parent_id is not None:
            return False
        ids = [one.dedup_id for one in chain]
        there = written(self._tables, {"duplicates": ids[:1], "edges": ids[:1], "compared": ids})
        return there == {
            "duplicates": run.removed,
            "edges": run.edges,
            "compared": sum(one.looked_at for one in chain),
        }


def written(tables: Tables, runs_of: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Counts the rows that some runs have in some tables: table -> the ids of the runs."""
    parts = [
        tables.read(name).where(F.col("dedup_id").isin(list(ids))).select(F.lit(name).alias("name"))
        for name, ids in runs_of.items()
        if tables.exists(name)
    ]
    counts = dict.fromkeys(runs_of, 0)
    if parts:
        every = reduce(lambda a, b: a.unionByName(b), parts)
        counts |= {row["name"]: row["count"] for row in every.groupBy("name").count().collect()}
    return counts


def removed_by(tables: Tables, dedup_id: str) -> DataFrame:
    """Returns what a run has removed: item_id, kept_id, cosine, method."""
    mine = tables.read("duplicates").where(F.col("dedup_id") == dedup_id)
    return mine.select("item_id", "kept_id", "cosine", "method")


def record(tables: Tables, run: DedupRun, again: bool) -> None:
    """Records a finished run, `again` in the place of its earlier record."""
    columns = {name: kind for name, (kind, _) in TABLES["dedup_runs"].columns.items()}
    told = {name: getattr(run, name) for name in DedupRun.__dataclass_fields__}
    told["created_at"] = datetime.now(timezone.utc)
    ddl = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    row = tables.spark.createDataFrame([tuple(told[name] for name in columns)], ddl)
    if again:
        tables.upsert("dedup_runs", row)
    else:
        tables.append("dedup_runs", row)
