"""What Spark has given to a task: the GPU of a cluster that schedules GPUs, which needs none to be there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etl.task_device import task_device, tasks_have_gpu
from tests.cluster import SPARK_HOME, environment

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
AMOUNT = "spark.task.resource.gpu.amount"
# A cluster of one executor in processes of its own: in local mode, Spark schedules no GPUs.
SCRIPT = """
import sys
from pyspark.sql import SparkSession
from etl.task_device import task_device, tasks_have_gpu

builder = SparkSession.builder.master("local-cluster[1,2,1024]").config("spark.ui.enabled", "false")
for role in ("worker", "executor"):
    builder = builder.config(f"spark.{role}.resource.gpu.amount", "1")
    builder = builder.config(f"spark.{role}.resource.gpu.discoveryScript", sys.argv[1])
spark = builder.config("spark.executor.memory", "1g").config("spark.task.resource.gpu.amount", "0.5").getOrCreate()

def tell(batches):
    import pyarrow as pa
    for _ in batches:
        yield pa.RecordBatch.from_pydict({name: [task_device(name)] for name in ("auto", "cpu")})

(row,) = spark.range(1).mapInArrow(tell, "auto string, cpu string").collect()
print("TOLD", row["auto"], row["cpu"], tasks_have_gpu(spark, "auto"), tasks_have_gpu(spark, "cpu"))
spark.stop()
"""


def test_a_named_device_stays_and_the_driver_knows_what_tasks_are_given(spark: SparkSession) -> None:
    assert [task_device(name) for name in ("auto", "cpu", "cuda:1")] == ["auto", "cpu", "cuda:1"]
    assert [tasks_have_gpu(spark, name) for name in ("auto", "cpu", "cuda:1")] == [False, False, True]
    spark.conf.set(AMOUNT, "0.25")
    try:
        assert [tasks_have_gpu(spark, name) for name in ("auto", "cpu", "cuda:1")] == [True, False, True]
    finally:
        spark.conf.unset(AMOUNT)


@pytest.mark.long
def test_a_task_is_given_the_gpu_that_spark_has_for_it(tmp_path: Path) -> None:
    discovery, script = tmp_path / "gpus.sh", tmp_path / "tell.py"
    discovery.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["3"]}\'\n')
    discovery.chmod(0o755)
    script.write_text(SCRIPT)
    env = environment(SPARK_HOME=str(SPARK_HOME), PYTHONPATH=str(ROOT))
    command = [sys.executable, str(script), str(discovery)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert "TOLD cuda:3 cpu True False" in done.stdout, done.stderr[-3000:]
