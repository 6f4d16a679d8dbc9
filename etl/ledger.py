"""The driver's side of the ledger: asks what was never asked, in waves, within the budget, and commits the workers' segments to `llm_calls`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.batches import forget_batches, refuse_twice
from etl.budget import Round, Spending, check_prices, within_budget
from etl.config import LlmConfig
from etl.engines import engine_spec
from etl.errors import UserError
from etl.progress import Watch, silent
from etl.recorded_calls import since
from etl.tables import Tables
from etl.waves import Waves
from udfs.engines.purse import UNLIMITED, Amount
from udfs.segments import read_keys, read_segments, unpack_segments
from udfs.storage import delete, delete_empty_folders, list_files
from udfs.waves import FATAL, SPENT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

REQUEST_COLUMNS = ("request_id", "task", "prompt_id", "model", "params", "sample", "messages", "prefix")
# The tables with a row for each request; an answer that can not be used is there with the reason `llm_unusable`.
MADE_OF_ANSWERS = ("annotations", "probe_results", "drafts", "refinements", "cluster_rounds")
KEY = ["request_id", "attempt"]
# Segments that one task reads for a commit, and puts into one file of the ledger.
SEGMENTS_A_TASK = 128
# All requests of one prefix are in one bucket, and a wave is a range of buckets.
BUCKETS = 4096


class Ledger:
    """Asks requests once. One object a run; `base_urls` is called when the first request is really needed, `watch` shows how far it is.

    With `retry_failed`, requests that have failed for good are asked once more, as a new attempt. `before_wave` is called before each wave, and may raise: when
    the warehouse is another run's now, that one asks the rest.
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
        self.before_wave: Callable[[], None] = lambda: None
        self._number = 0
        self._waves = Waves(tables, llm, run_id, self._watch)
        self.spending = Spending(llm.budget)
        check_prices(llm)

    def recover(self) -> int:
        """Commits the segments that a killed run left behind; returns the rows it saved."""
        for address in list_files(f"{self._tables.files}/places"):
            delete(address)
        # Whole: an executor that outlived its driver may have flushed what another run has asked since.
        saved = self._commit(f"{self._tables.files}/wal", self._tables.read("llm_calls"))
        for folder in ("wal", "places"):
            # Each wave has left some; what looks for segments walks through all of them.
            delete_empty_folders(f"{self._tables.files}/{folder}")
        forget_batches(self._tables)
        return saved

    def ask(self, requests: DataFrame) -> int:
        """Asks every request that the ledger has no answer for and returns how many were asked.

        `requests` has the columns REQUEST_COLUMNS; equal ids are asked once. Raises BudgetStop when the budget is used up before the end,
        and UserError with the server's words when the endpoint refuses everything. What was paid is kept in both cases.
        """
        todo = self._tables.scratch("todo", self.unanswered(requests))
        total = todo.count()
        if total == 0:
            return 0
        if not self._llm.batch:
            refuse_twice(self._tables, todo)
        elif self._llm.endpoint == "urls":
            refuse_twice(self._tables, todo, read_at=self._llm.base_urls[0])
        asked = 0
        with self._watch.over("asking", total) as progress:
            for wave in _cut(todo, total, self._llm.wave_requests):
                asked += self._ask_wave(wave, progress, total - asked)
        return asked

    def unanswered(self, requests: DataFrame) -> DataFrame:
        """Returns the requests that are to be asked, each once, with their attempt, and a bucket by which waves are cut. Of the ledger it reads the ids."""
        # First what is known goes, so that only the rest is sorted to find equal ones.
        once = self._open(requests.select(*REQUEST_COLUMNS)).dropDuplicates(["request_id"])
        bucket = F.pmod(F.xxhash64("prefix"), F.lit(BUCKETS))
        return once.withColumn("bucket", bucket).sortWithinPartitions("bucket", "prefix", "request_id")

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
        workers = self._waves.workers
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
        mine = self._tables.read("llm_calls").where(F.col("run_id") == self._run_id).select(*KEY)
        # A wave is small and goes to where the run's calls are; these may be many, and need not be sorted.
        asked = mine.join(F.broadcast(wave.select(*KEY)), KEY, "left_semi")
        return wave.join(asked, KEY, "left_anti")

    def _run_wave(self, now: Round, progress: str) -> int:
        self.before_wave()
        self._number += 1
        name, began = f"{self._run_id}-{self._number}", time.time()
        wave = self._waves.settings(name, progress, now)
        spec = engine_spec(self._llm, self._base_urls(), self._tables.files)
        with self._waves.asked(now, wave, spec) as receipts:
            # Without segments the answers are in the receipts.
            rows = self.commit_wave(wave.folder, began) if wave.folder else self._commit_answers(receipts, name)
            self._settle(receipts)
        if self._llm.batch:
            forget_batches(self._tables)
        return rows

    def _commit_answers(self, receipts: DataFrame, name: str) -> int:
        packed = receipts.where("data IS NOT NULL").select("data")
        calls = packed.mapInArrow(unpack_segments, self._tables.read("llm_calls").schema)
        mine = self._tables.read("llm_calls").where(F.col("run_id") == self._run_id)
        return self._append(_without(calls, mine), name)

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

    def commit_wave(self, folder: str, began: float) -> int:
        """Commits the segments of a wave of this run that began then (seconds since 1970); returns its rows.

        What others have asked is not in this wave, nor is what this run asked before: of the ledger, only the files of this run since then are read, so that
        the last wave of a long run costs what the first did.
        """
        mine = (F.col("run_id") == self._run_id) & since(began)
        return self._commit(folder, self._tables.read("llm_calls").where(mine))

    def _commit(self, folder: str, known: DataFrame) -> int:
        """Commits the segments of a folder, without the calls that are among the known ones."""
        names = sorted(list_files(folder, ".parquet"))
        if not names:
            return 0
        spread = -(-len(names) // SEGMENTS_A_TASK)
        listed = self._tables.spark.createDataFrame([(name,) for name in names], "segment string").repartition(spread)
        calls = listed.mapInArrow(read_segments, self._tables.read("llm_calls").schema)
        keys = listed.mapInArrow(read_keys, "request_id string, attempt int")
        rows = self._append(calls if _all_new(keys, known) else _without(calls, known), "\n".join(names))
        for name in names:
            delete(name)
        return rows

    def _append(self, calls: DataFrame, source: str) -> int:
        return self._tables.append("llm_calls", calls, txn=hashlib.sha256(source.encode()).hexdigest())


def _all_new(keys: DataFrame, known: DataFrame) -> bool:
    """Tells whether no key stands twice or is known already: then, as nearly always, whole answers need not be sorted to find that out."""
    both = keys.withColumn("new", F.lit(1)).unionByName(known.select(*KEY).withColumn("new", F.lit(0)))
    counted = both.groupBy(*KEY).agg(F.sum("new").alias("new"), F.min("new").alias("least"))
    return counted.where("new > 1 OR (new = 1 AND least = 0)").isEmpty()


def _without(calls: DataFrame, known: DataFrame) -> DataFrame:
    return calls.dropDuplicates(KEY).join(known.select(*KEY), KEY, "left_anti")


def forget_failures(tables: Tables, names: Iterable[str] = MADE_OF_ANSWERS) -> int:
    """Takes the rows out of these tables that were made of unusable answers; returns how many. Those of recorded answers are read again, at no cost."""
    made = [name for name in MADE_OF_ANSWERS if name in set(names)]
    return sum(tables.delete_where(name, "reason = 'llm_unusable'") for name in made)


def _cut(todo: DataFrame, total: int, size: int) -> Iterator[DataFrame]:
    """Cuts the requests into waves of about `size`, so that the segments on storage and what a commit holds stay bounded."""
    count = min(BUCKETS, -(-total // size))
    edges = [BUCKETS * n // count for n in range(count + 1)]
    for low, high in pairwise(edges):
        yield todo if count == 1 else todo.where(f"bucket >= {low} AND bucket < {high}")
