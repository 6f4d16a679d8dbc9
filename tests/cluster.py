"""A standalone cluster of Spark on this machine: a master and its workers, each a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

SPARK_HOME = Path(pyspark.__file__).parent
LOCAL = "127.0.0.1"


def environment(**more: str) -> dict[str, str]:
    """The environment without anything that leads to the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("SPARK")}
    return {**kept, "SPARK_LOCAL_IP": LOCAL, "PYSPARK_PYTHON": sys.executable, **more}


@contextmanager
def daemon(log: Path, *arguments: str) -> Iterator[None]:
    """Runs one of Spark's own daemons in a process group of its own and ends it with all that it started."""
    with log.open("wb") as out:
        command = [str(SPARK_HOME / "bin" / "spark-class"), *arguments]
        env = environment(SPARK_HOME=str(SPARK_HOME))
        process = subprocess.Popen(command, env=env, cwd=log.parent, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(pattern: str, log: Path) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text("utf-8", "replace"))
        if found:
            return found.group(0)
        time.sleep(0.1)
    raise AssertionError(f"{pattern} never stood in {log}:\n{log.read_text('utf-8', 'replace')[-2000:]}")


@contextmanager
def standalone_cluster(folder: Path, cores: int = 2, hosts: tuple[str, ...] = (LOCAL,)) -> Iterator[str]:
    """A master and a worker for each host (addresses of the loopback), on free ports; each has so many cores and 2 GB. Gives the master's address."""
    master_log = folder / "master.log"
    with ExitStack() as running:
        anywhere = ("--port", "0", "--webui-port", "0", "--host")
        running.enter_context(daemon(master_log, "org.apache.spark.deploy.master.Master", *anywhere, LOCAL))
        address = wait_for(r"spark://127\.0\.0\.1:\d+", master_log)
        for number, host in enumerate(hosts):
            log = folder / f"worker-{number}.log"
            bounds = ("--cores", str(cores), "--memory", "2g", "--work-dir", str(folder / f"work-{number}"))
            worker = ("org.apache.spark.deploy.worker.Worker", *anywhere, host, *bounds, address)
            running.enter_context(daemon(log, *worker))
            wait_for("Successfully registered", log)
        yield address
