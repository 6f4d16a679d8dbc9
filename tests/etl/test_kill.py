"""Executors, Python workers and drivers killed while they ask: a kill costs at most what was on its way, and the ledger is that of a quiet run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.tables import Tables
from tests.cluster import standalone_cluster
from tests.etl.asking_job import LOST
from tests.etl.processes import command_of, in_session, kill_session
from tests.etl.test_ledger import ledger, requests
from tests.etl.tiny import ROOT, make_config
from udfs.engines.teacher_faults import Faults
from udfs.engines.teacher_process import Teacher, start_teacher
from udfs.places import REPORT
from udfs.segments import segments_in

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes to kill in /proc")
EXECUTOR, WORKER, DRIVER = "CoarseGrainedExecutorBackend", "pyspark.daemon", "driver"
COUNT = 320
PATIENCE_S = 240.0
# What two runs may tell of one call.
DIFFERS = ("run_id", "created_at", "latency_s", "attempts")


@dataclass
class Job:
    """The asking job, started again when its driver was killed; `flushed` is what had reached the storage at some kill."""

    warehouse: Path
    teacher: Teacher
    draw: random.Random
    flushed: dict[str, set[float]] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.etl.asking_job", str(self.warehouse), self.teacher.base_url, str(COUNT)]
        with (self.warehouse.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def kill(self, what: str) -> None:
        """Kills one process of that kind at a random moment of the asking."""
        self._wait_for_requests(self.draw.randint(10, 40))
        assert self.process is not None
        for table in segments_in(f"{self.warehouse}/_boostqa/wal"):
            for call in table.to_pylist():
                self.flushed.setdefault(call["request_id"], set()).add(call["created_at"].timestamp())
        if what == DRIVER:
            kill_session(self.process.pid)
            self.process.wait()
            self.start()
            return
        victims = self._until(lambda: [p for p in in_session(self.process.pid) if what in command_of(p)])
        # Of Python's processes, the youngest are those that ask; the oldest forks them.
        with suppress(ProcessLookupError):
            os.kill(victims[-1] if what == WORKER else self.draw.choice(victims), signal.SIGKILL)

    def finish(self) -> None:
        assert self.process is not None
        assert self.process.wait(PATIENCE_S) == 0, self.log()[-3000:]

    def log(self) -> str:
        return (self.warehouse.parent / "log").read_text("utf-8", "replace")

    def _wait_for_requests(self, more: int) -> None:
        target = self.teacher.stats()["requests"] + more
        self._until(lambda: self.teacher.stats()["requests"] >= target)

    def _until(self, found: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (there := found()):
            assert self.process is not None
            assert self.process.poll() is None, self.log()[-3000:]
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.05)
        return there


def killed_run(spark: SparkSession, folder: Path, kills: list[str], seed: int) -> None:
    """Runs the job with these kills and checks what they cost and what they left."""
    with start_teacher(Faults(latency_s=0.1)) as teacher:
        job = Job(folder / "warehouse", teacher, random.Random(seed))
        job.warehouse.mkdir(parents=True)
        job.start()
        for what in kills:
            job.kill(what)
        job.finish()
        seen = teacher.stats()
        teacher.set_faults(latency_s=0.0)
        undisturbed = quiet_run(spark, folder / "quiet", teacher)
    assert seen["unique"] == COUNT
    assert seen["requests"] <= COUNT + LOST * len(kills)
    tables = Tables(spark, make_config(job.warehouse).tables)
    rows = [row.asDict() for row in tables.read("llm_calls").collect()]
    assert len(rows) == COUNT
    assert {row["request_id"]: said(row) for row in rows} == undisturbed
    kept = {row["request_id"]: row["created_at"].timestamp() for row in rows}
    assert len(job.flushed) > 0
    for request_id, flushed in job.flushed.items():
        assert kept[request_id] in flushed, "an answer that was flushed was asked again"
    assert not list(job.warehouse.glob("_boostqa/wal/**/*.parquet"))


def quiet_run(spark: SparkSession, folder: Path, teacher: Teacher) -> dict[str, tuple[Any, ...]]:
    """What the same requests are answered where nothing is killed."""
    tables = Tables(spark, make_config(folder).tables)
    assert ledger(tables, teacher).ask(requests(tables, "kill", COUNT)) == COUNT
    return {row["request_id"]: said(row.asDict()) for row in tables.read("llm_calls").collect()}


def said(call: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in sorted(call.items()) if name not in DIFFERS)


def test_a_kill_costs_at_most_what_was_on_its_way(spark: SparkSession, tmp_path: Path) -> None:
    killed_run(spark, tmp_path, [WORKER, EXECUTOR, WORKER, DRIVER, EXECUTOR, WORKER], seed=1)


@pytest.mark.night
@pytest.mark.parametrize("seed", range(5))
def test_many_kills(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    """Thirty kills more, for the night."""
    draw = random.Random(seed)
    killed_run(spark, tmp_path, [draw.choice([WORKER, EXECUTOR, DRIVER]) for _ in range(6)], seed)


SPECULATION = {
    "speculation": "true",
    "speculation.interval": "200ms",
    "speculation.multiplier": "1.01",
    "speculation.quantile": "0.1",
    "speculation.minTaskRuntime": "1s",
    "executorEnv.PYTHONPATH": str(ROOT),
}


@pytest.mark.long
def test_a_task_that_spark_starts_twice_asks_nothing_twice(tmp_path: Path) -> None:
    places, tasks = tmp_path / "warehouse/_boostqa/places", set()
    # Spark runs the second copy of a task on another host.
    hosts = ("127.0.0.1", "127.0.0.2")
    with start_teacher(Faults(latency_s=0.5)) as teacher, standalone_cluster(tmp_path, 1, hosts) as master:
        job = ["-m", "tests.etl.asking_job", str(tmp_path / "warehouse"), teacher.base_url, "120", master]
        command = [sys.executable, *job, *(f"spark.{name}={value}" for name, value in SPECULATION.items())]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None:
            tasks |= {path.name for path in places.glob(f"*/*{REPORT}")}
            time.sleep(0.05)
        seen = teacher.stats()
    assert process.returncode == 0, (tmp_path / "log").read_text("utf-8")[-3000:]
    partitions = [name.partition("-")[0] for name in tasks]
    assert len(partitions) > len(set(partitions)), "Spark has started no task twice"
    assert seen["unique"] == 120
    assert seen["requests"] <= 120 + LOST
