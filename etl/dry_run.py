"""What a run would do, found by running the steps that ask an LLM on tables that take no rows and a ledger that sends nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from etl.config import Config
from etl.errors import UserError
from etl.ledger import Ledger
from etl.pipeline import fingerprint_of
from etl.progress import silent
from etl.step import Job, Step
from etl.step_log import StepLog
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy
from udfs.engines.purse import cost_of
from udfs.tokens import token_counter

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COUNTED_DDL = "model string, hit boolean, prompt_tokens bigint, completion_tokens bigint"
# Parameters that bound an answer, the first that is there; and what is taken for the longest where none is.
BOUNDS, UNBOUNDED_TOKENS = ("max_tokens", "max_completion_tokens"), 4096


@dataclass(frozen=True)
class Requests:
    """The requests of one step to one model: all, those the ledger has answered, and the tokens of the others; completion at its worst."""

    model: str
    requests: int
    hits: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class StepPlan:
    """What one step would do. `state` is unchanged, runs, or unknown; `note` tells why it is unknown."""

    step: str
    state: str
    note: str = ""
    asks: tuple[Requests, ...] = field(default=())


class DryTables(Tables):
    """Tables that can be read and take no rows."""

    def append(self, name: str, rows: DataFrame, txn: str | None = None) -> int:
        """Writes nothing."""
        return 0

    def append_new(self, name: str, rows: DataFrame) -> int:
        """Writes nothing."""
        return 0

    def upsert(self, name: str, rows: DataFrame) -> int:
        """Writes nothing."""
        return 0

    def overwrite(self, name: str, rows: DataFrame) -> int:
        """Writes nothing."""
        return 0

    def delete_matching(self, name: str, rows: DataFrame, columns: list[str]) -> None:
        """Deletes nothing."""

    def delete_where(self, name: str, condition: str) -> int:
        """Deletes nothing."""
        return 0

    def scratch(self, name: str, rows: DataFrame) -> DataFrame:
        """Returns the rows as they are: a run that goes on meanwhile keeps its scratch folders."""
        return rows


class AllCountedError(Exception):
    """A step has asked as often as it has tasks: what it would do with the answers needs no running."""


class DryLedger(Ledger):
    """A ledger that counts requests in place of asking them; `left` is how often the running step will still ask."""

    assumes = True

    def __init__(self, tables: Tables, config: Config) -> None:
        super().__init__(tables, config.llm, "dry-run", list)
        self._tokenizer = config.ingest.tokenizer
        self.counted: list[Requests] = []
        self.left = 0

    def ask(self, requests: DataFrame) -> int:
        """Counts what would be asked, and asks nothing. Raises AllCountedError after the step's last task."""
        from pyspark.sql import functions as F

        tokenizer = self._tokenizer

        def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                yield counted(batch, tokenizer)

        known = self._tables.read("llm_calls").select("request_id").distinct().withColumn("hit", F.lit(True))
        once = requests.select("request_id", "model", "params", "messages").dropDuplicates(["request_id"])
        sized = once.join(known, "request_id", "left").mapInArrow(count, COUNTED_DDL)
        new = ~F.col("hit")
        by_model = sized.groupBy("model").agg(
            F.count("*").alias("requests"),
            F.count_if("hit").alias("hits"),
            F.sum(F.when(new, F.col("prompt_tokens"))).alias("prompt_tokens"),
            F.sum(F.when(new, F.col("completion_tokens"))).alias("completion_tokens"),
        )
        self.counted += [
            Requests(
                row["model"], row["requests"], row["hits"], row["prompt_tokens"] or 0, row["completion_tokens"] or 0
            )
            for row in by_model.collect()
        ]
        self.left -= 1
        if self.left == 0:
            raise AllCountedError
        return 0


def counted(batch: pa.RecordBatch, tokenizer: str) -> pa.RecordBatch:
    """Counts each request's tokens: those of its messages, and the most that it lets the model answer."""
    messages = [json.loads(text) for text in batch.column("messages").to_pylist()]
    given = [json.loads(text) for text in batch.column("params").to_pylist()]
    bounds = [next((params[name] for name in BOUNDS if name in params), UNBOUNDED_TOKENS) for params in given]
    texts = ["\n".join(message["content"] for message in each) for each in messages]
    columns = {
        "model": batch.column("model"),
        "hit": [hit is True for hit in batch.column("hit").to_pylist()],
        "prompt_tokens": pa.array(token_counter(tokenizer)(texts), pa.int64()),
        "completion_tokens": pa.array(bounds, pa.int64()),
    }
    return pa.RecordBatch.from_pydict(columns)


def dry_run(spark: SparkSession, config: Config, steps: Iterable[Step]) -> list[StepPlan]:
    """Tells for each step what it would do now. Makes no call and writes no table."""
    tables = DryTables(spark, config.tables)
    ledger = DryLedger(tables, config)
    job = Job(spark, config, tables, ledger, read_taxonomy(config), "dry-run", lambda text: None, silent(tables.files))
    log = StepLog(tables, "dry-run")
    made_by: dict[str, str] = {}
    plans = []
    for step in steps:
        plan = _plan(job, step, log, made_by)
        if plan.state != "unchanged":
            made_by |= dict.fromkeys(step.writes, step.name)
        plans.append(plan)
    return plans


def _plan(job: Job, step: Step, log: StepLog, made_by: dict[str, str]) -> StepPlan:
    missing = [name for name in step.reads if name in made_by and job.tables.version(name) < 0]
    if missing:
        return StepPlan(step.name, "unknown", note=f"not known before {made_by[missing[0]]} has run")
    before = log.last_success(step, fingerprint_of(job, step, log))
    if before is not None:
        entry = {"step": step.name, "attempt": 1, "status": "unchanged", "versions_out": before.versions_out}
        log.add(entry, before.outcome, 0.0)
        return StepPlan(step.name, "unchanged")
    return _asks(job, step) if step.tasks_under(job.config) else StepPlan(step.name, "runs")


def _asks(job: Job, step: Step) -> StepPlan:
    ledger = job.ledger
    assert isinstance(ledger, DryLedger)
    ledger.counted, ledger.left = [], len(step.tasks_under(job.config))
    try:
        step.run(job)
    except AllCountedError:
        pass
    except UserError as err:
        return StepPlan(step.name, "unknown", note=str(err))
    return StepPlan(step.name, "runs", asks=tuple(ledger.counted))


def cost(asks: Requests, config: Config) -> float | None:
    """Returns the money for the requests that are not answered yet, at their worst; None where the model has no price."""
    price = config.llm.prices.get(asks.model)
    if price is None:
        return None
    prices = {asks.model: (price.prompt, price.completion)}
    return cost_of(prices, asks.model, asks.prompt_tokens, asks.completion_tokens)
