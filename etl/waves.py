"""The driver's side of a wave: its requests are laid out, asked by the workers within the shared bounds, and come back as receipts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.batches import leaving_batches
from etl.budget import Round
from etl.config import LlmConfig
from etl.engines import on_task_device, share_of
from etl.interrupts import finishing_first
from etl.places import shared_places
from etl.progress import Watch
from etl.tables import Tables
from udfs.engines.protocol import EngineSpec
from udfs.waves import RECEIPT_DDL, WaveSettings, answer_partition

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STOPPING = "Ctrl-C: nothing more is asked; the answers under way are waited for and kept (Ctrl-C again: not even that)"
FINISHING = (
    "Ctrl-C: the wave under way is waited for and kept, nothing is asked after it (Ctrl-C again: its answers are lost)"
)


class Waves:
    """Asks waves by the settings of the config. One object a run; `watch` is told when one ends early."""

    def __init__(self, tables: Tables, llm: LlmConfig, run_id: str, watch: Watch) -> None:
        self._tables = tables
        self._llm = llm
        self._run_id = run_id
        self._watch = watch

    @property
    def workers(self) -> int:
        """The partitions of a wave: more than there are places would only wait. Batches need no place."""
        llm = self._llm
        if llm.batch:
            return llm.workers
        return min(bound for bound in (llm.workers, llm.max_in_flight, llm.rpm, llm.tpm) if bound)

    def settings(self, name: str, progress: str, now: Round) -> WaveSettings:
        """Says where the parts of a wave of that name go, and what each worker may spend."""
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

    @contextmanager
    def asked(self, now: Round, wave: WaveSettings, spec: EngineSpec) -> Iterator[DataFrame]:
        """Asks a wave and gives its receipts (RECEIPT_DDL) to the block that records them.

        At the first Ctrl-C nothing more is asked, the answers under way are waited for, and KeyboardInterrupt is raised after the block.
        """
        stop = threading.Event()
        if self._llm.batch:
            with leaving_batches(self._watch.stopping):
                yield self._receipts(now, wave, spec)
        elif not wave.places:
            with finishing_first(stop, lambda: self._watch.stopping(FINISHING)):
                yield self._receipts(now, wave, share_of(spec, now.workers))
        else:
            with finishing_first(stop, lambda: self._watch.stopping(STOPPING)):
                with shared_places(wave.places, self._llm.max_in_flight, stop):
                    receipts = self._receipts(now, wave, spec)
                yield receipts

    def _receipts(self, now: Round, wave: WaveSettings, spec: EngineSpec) -> DataFrame:
        answered = _placed(now).mapInArrow(
            lambda batches: answer_partition(batches, on_task_device(spec), wave), RECEIPT_DDL
        )
        # Written out before anything looks at it: a `first()` on the plan itself would ask only some partitions, or ask some twice.
        return self._tables.scratch("receipts", answered)


def _placed(now: Round) -> DataFrame:
    """Lays the requests of one prefix next to each other, in a fixed number of partitions that know their numbers."""
    placed = now.requests.repartition(now.workers, "prefix").withColumn("partition", F.spark_partition_id())
    return placed.sortWithinPartitions("prefix", "request_id")
