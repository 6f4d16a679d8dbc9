"""The driver's side of the ledger: asks what was never asked, in waves, within the budget, and commits the workers' segments to `llm_calls`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.config import BudgetConfig, LlmConfig
from etl.errors import BudgetStop, UserError
from etl.progress import Watch, silent
from etl.tables import Tables
from udfs.engines.protocol import EngineSpec
from udfs.segments import RECEIPT_DDL, WaveSettings, answer_partition, read_segments, share
from udfs.storage import delete, list_files

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

REQUEST_COLUMNS = ("request_id", "task", "prompt_id", "model", "params", "sample", "messages", "prefix")


@dataclass(frozen=True)
class Spent:
    """What the ledger holds of one run."""

    requests: int
    tokens: int
    cost: float


def engine_spec(llm: LlmConfig, base_urls: list[str]) -> EngineSpec:
    """Builds the engine's spec from the config; `base_urls` are the endpoints really used."""
    return EngineSpec(
        kind="openai",
        base_urls=tuple(base_urls),
        api_key_env=llm.api_key_env,
        max_in_flight=llm.max_in_flight,
        rpm=llm.rpm,
        tpm=llm.tpm,
        request_timeout_s=llm.request_timeout_s,
        deadline_s=llm.deadline_s,
        max_attempts=llm.max_attempts,
    )


def check_prices(llm: LlmConfig) -> None:
    """Raises UserError when `max_cost` is set and a model has no price: its calls would look free."""
    unpriced = sorted(set(llm.models.model_dump().values()) - set(llm.prices))
    if llm.budget.max_cost is not None and unpriced:
        raise UserError(f"llm.budget.max_cost is set, but llm.prices has no price for {', '.join(unpriced)}")


def wave_workers(llm: LlmConfig) -> int:
    """Returns the partitions of a wave: never more than there are places, so that the workers' shares stay within the global bounds."""
    return min(bound for bound in (llm.workers, llm.max_in_flight, llm.rpm, llm.tpm) if bound)


def latest_calls(tables: Tables, requests: DataFrame) -> DataFrame:
    """Returns `llm_calls_latest` of these requests: of each its last attempt. The rest of the ledger is read by its ids alone."""
    calls = tables.read("llm_calls").join(requests.select("request_id").distinct(), "request_id", "left_semi")
    last = Window.partitionBy("request_id").orderBy(F.col("attempt").desc())
    return calls.withColumn("_rank", F.row_number().over(last)).where("_rank = 1").drop("_rank")


class Ledger:
    """Asks requests once. One object a run; `base_urls` is called when the first request is really needed, `watch` shows how far a wave is."""

    def __init__(
        self,
        tables: Tables,
        llm: LlmConfig,
        run_id: str,
        base_urls: Callable[[], list[str]],
        watch: Watch | None = None,
    ) -> None:
        self._tables = tables
        self._llm = llm
        self._run_id = run_id
        self._base_urls = base_urls
        self._watch = watch or silent(tables.files)
        self._waves = 0
        check_prices(llm)

    def recover(self) -> int:
        """Commits the segments that a killed run left behind; returns the rows it saved."""
        return self._commit(f"{self._tables.files}/wal")

    def ask(self, requests: DataFrame) -> int:
        """Asks every request that the ledger has no answer for and returns how many were asked.

        `requests` has the columns REQUEST_COLUMNS; equal ids are asked once. Raises BudgetStop when the budget is used up before the end,
        and UserError with the server's words when the endpoint refuses everything. What was paid is kept in both cases.
        """
        asked = 0
        while True:
            todo = self._tables.scratch("todo", self._unanswered(requests))
            total = todo.count()
            if total == 0:
                return asked
            wave = self._within_budget(todo, total)
            asked += self._run_wave(wave, total)

    def _unanswered(self, requests: DataFrame) -> DataFrame:
        known = self._tables.read("llm_calls").select("request_id")
        once = requests.select(*REQUEST_COLUMNS).dropDuplicates(["request_id"])
        return once.join(known, "request_id", "left_anti").withColumn("worst_tokens", _worst_tokens())

    def spent(self) -> Spent:
        """Sums this run's calls: HTTP requests sent, tokens, money.

        What a failed call really cost is not known (a timeout may have been answered): each of its tries counts in full.
        """
        worst = F.col("attempts") * F.coalesce(_worst_tokens(), F.lit(0))
        answered = F.col("prompt_tokens") + F.col("completion_tokens")
        failed = F.col("status") != "ok"
        calls = self._tables.read("llm_calls").where(F.col("run_id") == self._run_id)
        row = calls.agg(
            F.coalesce(F.sum("attempts"), F.lit(0)).alias("requests"),
            F.coalesce(F.sum(F.when(failed, F.greatest(worst, answered)).otherwise(answered)), F.lit(0)).alias(
                "tokens"
            ),
            F.coalesce(F.sum(F.when(failed, worst * _price(self._llm)).otherwise(F.col("cost"))), F.lit(0.0)).alias(
                "cost"
            ),
        ).first()
        return Spent(row["requests"], row["tokens"], row["cost"]) if row else Spent(0, 0, 0.0)

    def _within_budget(self, todo: DataFrame, total: int) -> DataFrame:
        limits = _limits(self._llm.budget)
        if not limits:
            return todo
        unbounded = todo.where("worst_tokens IS NULL").select("task").first()
        if unbounded is not None:
            raise UserError(
                f"a budget is set, but {unbounded['task']}.params has no max_tokens: without it an answer has no worst case"
            )
        spent = self.spent()
        reserve = _reserve(todo, self._llm)
        condition = " AND ".join(f"{column} <= {limit - getattr(spent, name)}" for name, column, limit in limits)
        wave = self._tables.scratch(
            "wave_in_budget", reserve.where(condition).drop("sum_requests", "sum_tokens", "sum_cost")
        )
        if wave.isEmpty():
            raise BudgetStop(
                f"the budget is used up: {spent.requests} requests, {spent.tokens} tokens, {spent.cost:.4f} money spent in this run, "
                f"{total} requests left. Raise llm.budget and run again: what is paid is kept"
            )
        return wave

    def _run_wave(self, wave: DataFrame, total: int) -> int:
        self._waves += 1
        workers = wave_workers(self._llm)
        folder = f"{self._tables.files}/wal/{self._run_id}-{self._waves}"
        spec = share(engine_spec(self._llm, self._base_urls()), workers)
        prices = {model: (price.prompt, price.completion) for model, price in self._llm.prices.items()}
        placed = (
            wave.repartition(workers, "prefix")
            .withColumn("partition", F.spark_partition_id())
            .withColumn("attempt", F.lit(0))
            .sortWithinPartitions("prefix", "request_id")
        )
        with self._watch.over("asking", total) as progress:
            settings = WaveSettings(
                folder, progress, self._run_id, self._llm.flush_rows, self._llm.flush_seconds, prices
            )
            answered = placed.mapInArrow(lambda batches: answer_partition(batches, spec, settings), RECEIPT_DDL)
            # Written out before anything looks at it: a `first()` on the plan itself would ask only some partitions, or ask some twice.
            receipts = self._tables.scratch("receipts", answered)
        fatal = receipts.where("status = 'fatal'").select("error").first()
        rows = self._commit(folder)
        if fatal is not None:
            raise UserError(f"the LLM endpoint refuses every request: {fatal['error']}")
        return rows

    def _commit(self, folder: str) -> int:
        names = sorted(list_files(folder, ".parquet"))
        if not names:
            return 0
        spark = self._tables.spark
        listed = spark.createDataFrame([(name,) for name in names], "segment string")
        calls = listed.mapInArrow(read_segments, self._tables.read("llm_calls").schema)
        known = self._tables.read("llm_calls").select("request_id", "attempt")
        fresh = calls.dropDuplicates(["request_id", "attempt"]).join(known, ["request_id", "attempt"], "left_anti")
        txn = hashlib.sha256("\n".join(names).encode()).hexdigest()
        rows = self._tables.append("llm_calls", fresh, txn=txn)
        for name in names:
            delete(name)
        return rows


def _limits(budget: BudgetConfig) -> list[tuple[str, str, float]]:
    all_limits = [
        ("requests", "sum_requests", budget.max_requests),
        ("tokens", "sum_tokens", budget.max_tokens),
        ("cost", "sum_cost", budget.max_cost),
    ]
    return [(name, column, limit) for name, column, limit in all_limits if limit is not None]


def _worst_tokens() -> Column:
    """Bytes of the prompt as tokens, and the longest answer that the parameters allow; null when they allow any."""
    bounds = [
        F.get_json_object("params", f"$.{name}").cast("bigint") for name in ("max_tokens", "max_completion_tokens")
    ]
    return F.octet_length("messages") + F.coalesce(*bounds)


def _price(llm: LlmConfig) -> Column:
    """Money for one token of the row's model, at the dearer of its two prices."""
    price = F.lit(0.0)
    for model, prices in llm.prices.items():
        price = F.when(F.col("model") == model, F.lit(max(prices.prompt, prices.completion) / 1e6)).otherwise(price)
    return price


def _reserve(todo: DataFrame, llm: LlmConfig) -> DataFrame:
    so_far = Window.orderBy("prefix", "request_id").rowsBetween(Window.unboundedPreceding, 0)
    tokens = F.col("worst_tokens") * llm.max_attempts
    return todo.withColumns(
        {
            "sum_requests": F.sum(F.lit(llm.max_attempts)).over(so_far),
            "sum_tokens": F.sum(tokens).over(so_far),
            "sum_cost": F.sum(tokens * _price(llm)).over(so_far),
        }
    )
