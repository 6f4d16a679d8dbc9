"""What a step is: a name, the tables it reads and writes, the settings it hangs on, and a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etl.annotators import annotators
from etl.config import Config
from etl.errors import InvariantError
from etl.ledger import Ledger
from etl.progress import Watch
from etl.recipes import question_recipes
from etl.tables import Tables
from udfs.taxonomy import Taxonomy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Job:
    """What a step works with. `fingerprint` is the hash of all that the running step hangs on: it names what the step makes."""

    spark: SparkSession
    config: Config
    tables: Tables
    ledger: Ledger
    taxonomy: Taxonomy
    run_id: str
    say: Callable[[str], None]
    watch: Watch
    fingerprint: str = ""

    @property
    def annotators(self) -> tuple[str, ...]:
        """The names of the annotators whose labels count under this config, the first choice first."""
        return annotators(self.config, self.taxonomy)


@dataclass(frozen=True)
class Outcome:
    """What became of the rows a step looked at: those that went on, and those dropped, by reason.

    `figures` are logged beside; `ids` name what the step made (plan_id, dedup_id, mix_id) for the steps that follow.
    """

    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def check(self, step: str) -> None:
        """Raises InvariantError unless every row in is a row out or a row with a reason."""
        lost = self.rows_in - self.rows_out - sum(self.dropped.values())
        if lost:
            raise InvariantError(
                f"{step}: {self.rows_in} rows in, {self.rows_out} out, {sum(self.dropped.values())} dropped: {lost} unaccounted for"
            )


def nothing_else(job: Job) -> str:
    """Says that a step hangs on nothing but tables, settings and prompts."""
    return ""


def the_recipes(job: Job) -> str:
    """Says that a step hangs on the prompts, models and parameters that the config makes questions with."""
    return repr(question_recipes(job.config))


def the_labels(job: Job) -> str:
    """Says that a step hangs on what the config's annotators say."""
    return repr(job.annotators)


def always(config: Config) -> bool:
    """Says that a step asks its LLM tasks under any config."""
    return True


def nothing_missing(outcome: Outcome) -> bool:
    """Says that a step makes nothing outside the tables."""
    return True


@dataclass(frozen=True)
class Step:
    """One step of the pipeline.

    It is skipped when what it hangs on is that of its last success: the versions of the tables it `reads`, the `ids` of earlier steps by which it picks
    rows of them (plan_id, dedup_id), the settings it names, and the prompts of its LLM `tasks` (which it asks where the config says so: `asks`); `hangs_on` adds what else there is, `intact` tells whether what it made outside the tables is still there. Of the tables it `writes`,
    those that it `replaces` hold its last run alone, so they must still be at the version it left. A step that reads no table (ingest) looks for itself.
    """

    name: str
    run: Callable[[Job], Outcome]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    settings: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    hangs_on: Callable[[Job], str] = nothing_else
    intact: Callable[[Outcome], bool] = nothing_missing
    asks: Callable[[Config], bool] = always

    def tasks_under(self, config: Config) -> tuple[str, ...]:
        """Returns the LLM tasks of the step, or none where the config switches them off."""
        return self.tasks if self.asks(config) else ()


def content_of(rows: DataFrame, *columns: str) -> str:
    """Returns what stands in these columns as a short text: the same for the same rows in any order and partitioning."""
    from pyspark.sql import functions as F

    total = rows.agg(F.sum(F.xxhash64(*columns).cast("decimal(38,0)")), F.count("*")).first()
    return repr(tuple(total or ()))


def count_reasons(rows: DataFrame, reason: str = "reason") -> dict[str, int]:
    """Counts rows by reason; rows without one are left out. The number of reasons is small and fixed."""
    counted = rows.where(f"{reason} IS NOT NULL").groupBy(reason).count().collect()
    return {row[reason]: row["count"] for row in sorted(counted, key=lambda r: str(r[reason]))}
