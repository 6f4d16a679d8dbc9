"""The driver's side of the ledger: asks what was never asked, in waves, within the budget, and commits the workers' segments to `llm_calls`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.batches import batch_folder, forget_batches, leaving_batches, refuse_twice
from etl.budget import Round, Spending, check_prices, within_budget
from etl.config import LlmConfig
from etl.errors import UserError
from etl.interrupts import finishing_first
from etl.places import shared_places
from etl.progress import Watch, silent
from etl.tables import Tables
from udfs.engines.protocol import EngineSpec
from udfs.engines.purse import UNLIMITED, Amount
from udfs.segments import read_segments, unpack_segments
from udfs.storage import delete, list_files
from udfs.waves import FATAL, RECEIPT_DDL, SPENT, WaveSettings, answer_partition

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

REQUEST_COLUMNS = ("request_id", "task", "prompt_id", "model", "params", "sample", "messages", "prefix")
# The tables with a row for each request; an answer that can not be used is there with the reason `llm_unusable`.
MADE_OF_ANSWERS = ("annotations", "probe_results", "drafts", "refinements", "cluster_rounds")
# All requests of one prefix are in one bucket, and a wave is a range of buckets.
BUCKETS = 4096
FINISHING = (
    "Ctrl-C: the wave under way is waited for and kept, nothing is asked after it (Ctrl-C again: its answers are lost)"
)
STOPPING = "Ctrl-C: nothing more is asked; the answers under way are waited for and kept (Ctrl-C again: not even that)"


def engine_spec(llm: LlmConfig, base_urls: list[str], files: str = "") -> EngineSpec:
    """Builds the engine's spec from the config; `base_urls` are the endpoints really used, `files` is the warehouse's folder for files, which batches need."""
    served = "openai-batch" if llm.batch else "openai"
    return EngineSpec(
        kind="transformers" if llm.endpoint == "transformers" else served,
        base_urls=tuple(base_urls),
        api_key_env=llm.api_key_env,
        max_in_flight=llm.max_in_flight,
        rpm=llm.rpm,
        tpm=llm.tpm,
        request_timeout_s=llm.request_timeout_s,
        deadline_s=llm.deadline_s,
        max_attempts=llm.max_attempts,
        bad_answers=llm.bad_answers,
        device=llm.device,
        batch_size=llm.batch_size,
        batch_folder=batch_folder(files) if files else "",
        batch_requests=llm.batch_requests,
        batch_poll_s=llm.batch_poll_s,
    )


def share_of(spec: EngineSpec, workers: int) -> EngineSpec:
    """Gives each of so many workers the same fixed share of the bounds, for where they can not tell each other what they need."""
    parts = {name: getattr(spec, name) // workers for name in ("max_in_flight", "rpm", "tpm")}
    return replace(spec, **parts)


def on_task_device(spec: EngineSpec) -> EngineSpec:
    """Gives an engine in a worker the GPU that Spark has given to its task, where Spark schedules GPUs."""
    from pyspark import TaskContext

    task = TaskContext.get()
    gpu = task.resources().get("gpu") if task is not None else None
    return spec if gpu is None or spec.device != "auto" else replace(spec, device=f"cuda:{gpu.addresses[0]}")


def latest_calls(tables: Tables, requests: DataFrame) -> DataFrame:
    """Returns `llm_calls_latest` of these requests: of each its last attempt. The rest of the ledger is read by its ids alone."""
    calls = tables.read("llm_calls").join(requests.select("request_id").distinct(), "request_id", "left_semi")
    last = Window.partitionBy("request_id").orderBy(F.col("attempt").desc())
    return calls.withColumn("_rank", F.row_number().over(last)).where("_rank = 1").drop("_rank")


class Ledger:
    """Asks requests once. One object a run; `base_urls` is called when the first request is really needed, `watch` shows how far it is.

    With `retry_failed`, requests that have failed for good are asked once more, as a new attempt.
    """

    # Whether `etl.asking.ask` may go on with answers that nobody gave: a dry run alone.
    assumes = False

    def __init__(
        self,
        tables: Tables,
        llm: LlmConfig,
        run_id: str,
        base_urls: Callable[[], list[str]],
        watch: Watch | None = None,
        retry_failed: bool = False,
    ) -> None:
        self._tables = tables
        self._llm = llm
        self._run_id = run_id
        self._base_urls = base_urls
        self._watch = watch or silent(tables.files)
        self.retry_failed = retry_failed
        self._waves = 0
        self.spending = Spending(llm.budget)
        check_prices(llm)

    def recover(self) -> int:
        """Commits the segments that a killed run left behind; returns the rows it saved."""
        for address in list_files(f"{self._tables.files}/places"):
            delete(address)
        # Whole: an executor that outlived its driver may have flushed what another run has asked since.
        saved = self._commit(f"{self._tables.files}/wal", self._tables.read("llm_calls"))
        forget_batches(self._tables)
        return saved

    def ask(self, requests: DataFrame) -> int:
        """Asks every request that the ledger has no answer for and returns how many were asked.

        `requests` has the columns REQUEST_COLUMNS; equal ids are asked once. Raises BudgetStop when the budget is used up before the end,
        and UserError with the server's words when the endpoint refuses everything. What was paid is kept in both cases.
        """
        todo = self._tables.scratch("todo", self._unanswered(requests))
        total = todo.count()
        if total == 0:
            return 0
        if not self._llm.batch:
            refuse_twice(self._tables, todo)
        asked = 0
        with self._watch.over("asking", total) as progress:
            for wave in _waves(todo, total, self._llm.wave_requests):
                asked += self._ask_wave(wave, progress, total - asked)
        return asked

    def _unanswered(self, requests: DataFrame) -> DataFrame:
        once = requests.select(*REQUEST_COLUMNS).dropDuplicates(["request_id"])
        bucket = F.pmod(F.xxhash64("prefix"), F.lit(BUCKETS))
        return self._open(once).withColumn("bucket", bucket).sortWithinPartitions("bucket", "prefix", "request_id")

    def _open(self, requests: DataFrame) -> DataFrame:
        calls = self._tables.read("llm_calls")
        if not self.retry_failed:
            known = calls.select("request_id")
            return requests.join(known, "request_id", "left_anti").withColumn("attempt", F.lit(0))
        last = calls.groupBy("request_id").agg(
            F.max("attempt").alias("attempt"), F.max_by(F.struct("status", "run_id"), "attempt").alias("last")
        )
        # What has failed again in this run has had its chance.
        again = (F.col("last.status") == "failed") & (F.col("last.run_id") != self._run_id)
        joined = requests.join(last, "request_id", "left").where(F.col("last").isNull() | again)
        return joined.withColumn("attempt", F.coalesce(F.col("attempt") + 1, F.lit(0))).drop("last")

    def _ask_wave(self, wave: DataFrame, progress: str, total: int) -> int:
        """Asks a wave; in several rounds where the budget of some workers ran out and others have left something of theirs."""
        workers = self._workers()
        if self.spending.left == UNLIMITED:
            return self._run_wave(Round(wave, workers, UNLIMITED), progress)
        asked = 0
        while not (rest := self._rest_of(wave)).isEmpty():
            now = within_budget(rest, self.spending, self._llm, workers)
            got = self._run_wave(now, progress) if now else 0
            if not got:
                raise self.spending.stop(total - asked)
            asked += got
        return asked

    def _rest_of(self, wave: DataFrame) -> DataFrame:
        mine = self._tables.read("llm_calls").where(F.col("run_id") == self._run_id).select("request_id", "attempt")
        return wave.join(mine, ["request_id", "attempt"], "left_anti")

    def _workers(self) -> int:
        """The partitions of a wave: more than there are places would only wait. Batches need no place."""
        llm = self._llm
        return (
            llm.workers
            if llm.batch
            else min(bound for bound in (llm.workers, llm.max_in_flight, llm.rpm, llm.tpm) if bound)
        )

    def _run_wave(self, now: Round, progress: str) -> int:
        self._waves += 1
        name, stop = f"{self._run_id}-{self._waves}", threading.Event()
        wave = self._settings(name, progress, now)
        spec = engine_spec(self._llm, self._base_urls(), self._tables.files)
        if self._llm.batch:
            with leaving_batches(self._watch.stopping):
                rows = self._record(wave, self._receipts(now, wave, spec))
                forget_batches(self._tables)
            return rows
        if not self._llm.write_ahead:
            with finishing_first(stop, lambda: self._watch.stopping(FINISHING)):
                return self._record(wave, self._receipts(now, wave, share_of(spec, now.workers)))
        with finishing_first(stop, lambda: self._watch.stopping(STOPPING)):
            with shared_places(wave.places, self._llm.max_in_flight, stop):
                receipts = self._receipts(now, wave, spec)
            return self._record(wave, receipts)

    def _receipts(self, now: Round, wave: WaveSettings, spec: EngineSpec) -> DataFrame:
        answered = _placed(now).mapInArrow(
            lambda batches: answer_partition(batches, on_task_device(spec), wave), RECEIPT_DDL
        )
        # Written out before anything looks at it: a `first()` on the plan itself would ask only some partitions, or ask some twice.
        return self._tables.scratch("receipts", answered)

    def _record(self, wave: WaveSettings, receipts: DataFrame) -> int:
        # What others have asked is not in this wave: of the ledger, only the files of this run are read.
        mine = self._tables.read("llm_calls").where(F.col("run_id") == self._run_id)
        if wave.folder:
            rows = self._commit(wave.folder, mine)
        else:
            packed = receipts.where("data IS NOT NULL").select("data")
            calls = packed.mapInArrow(unpack_segments, self._tables.read("llm_calls").schema)
            rows = self._append(calls, mine, f"{self._run_id}-{self._waves}")
        self._settle(receipts)
        return rows

    def _settings(self, name: str, progress: str, now: Round) -> WaveSettings:
        llm, files = self._llm, self._tables.files
        return WaveSettings(
            f"{files}/wal/{name}" if llm.write_ahead else "",
            progress,
            self._run_id,
            llm.flush_rows,
            llm.flush_seconds,
            places=f"{files}/places/{name}" if llm.write_ahead and not llm.batch else "",
            json_schema=llm.json_schema,
            prices={model: (price.prompt, price.completion) for model, price in llm.prices.items()},
            budget=now.budget,
        )

    def _settle(self, receipts: DataFrame) -> None:
        """Counts what the workers have spent; raises UserError where one of them was refused everything."""
        last = receipts.where(F.col("status").isin(SPENT, FATAL)).agg(
            *[F.coalesce(F.sum(part), F.lit(0.0)).alias(part) for part in ("requests", "tokens", "cost")],
            F.min(F.when(F.col("status") == FATAL, F.col("error"))).alias("fatal"),
        )
        said = last.first()
        assert said is not None
        self.spending.add(Amount(said["requests"], said["tokens"], said["cost"]))
        if said["fatal"] is not None:
            raise UserError(f"the LLM endpoint refuses every request: {said['fatal']}")

    def _commit(self, folder: str, known: DataFrame) -> int:
        """Commits the segments of a folder, without the calls that are among the known ones."""
        names = sorted(list_files(folder, ".parquet"))
        if not names:
            return 0
        spark = self._tables.spark
        listed = spark.createDataFrame([(name,) for name in names], "segment string")
        calls = listed.mapInArrow(read_segments, self._tables.read("llm_calls").schema)
        rows = self._append(calls, known, "\n".join(names))
        for name in names:
            delete(name)
        return rows

    def _append(self, calls: DataFrame, known: DataFrame, source: str) -> int:
        key = ["request_id", "attempt"]
        fresh = calls.dropDuplicates(key).join(known.select(*key), key, "left_anti")
        return self._tables.append("llm_calls", fresh, txn=hashlib.sha256(source.encode()).hexdigest())


def forget_failures(tables: Tables) -> int:
    """Takes the rows out that were made of unusable answers; returns how many. Those of recorded answers are read again, at no cost."""
    return sum(tables.delete_where(name, "reason = 'llm_unusable'") for name in MADE_OF_ANSWERS)


def _placed(now: Round) -> DataFrame:
    """Lays the requests of one prefix next to each other, in a fixed number of partitions that know their numbers."""
    placed = now.requests.repartition(now.workers, "prefix").withColumn("partition", F.spark_partition_id())
    return placed.sortWithinPartitions("prefix", "request_id")


def _waves(todo: DataFrame, total: int, size: int) -> Iterator[DataFrame]:
    """Cuts the requests into waves of about `size`, so that the segments on storage and what a commit holds stay bounded."""
    count = min(BUCKETS, -(-total // size))
    edges = [BUCKETS * n // count for n in range(count + 1)]
    for low, high in pairwise(edges):
        yield todo if count == 1 else todo.where(f"bucket >= {low} AND bucket < {high}")
