"""What Spark has given to the task that runs here: its GPU, where Spark schedules GPUs, and its cores. For code in a worker, but for `tasks_have_gpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def task_device(named: str) -> str:
    """Returns the task's GPU (`cuda:0`) for `auto` where it has one; any other name as it is."""
    from pyspark import TaskContext

    task = TaskContext.get()
    gpu = task.resources().get("gpu") if task is not None and named == "auto" else None
    return named if gpu is None else f"cuda:{gpu.addresses[0]}"


def task_cores() -> int:
    """Returns the task's share of the machine's cores, `spark.task.cpus`; 1 outside a task."""
    from pyspark import TaskContext

    task = TaskContext.get()
    return task.cpus() if task is not None else 1


def tasks_have_gpu(spark: SparkSession, named: str) -> bool:
    """Tells, on the driver, whether `task_device` will name a GPU: one that is named, or for `auto` what Spark is set to give to each task."""
    share = float(spark.conf.get("spark.task.resource.gpu.amount", "0") or 0)
    return named.startswith("cuda") or (named == "auto" and share > 0)
