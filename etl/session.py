"""The one place that makes or takes a SparkSession."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from etl.errors import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# On a laptop a shuffle of small tables costs more in tasks than in bytes.
LOCAL_SETTINGS = {
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2000",
    "spark.sql.debug.maxToStringFields": "1000",
}
JAVA_VERSIONS = (17, 21)
DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def get_spark(master: str = "local[*]") -> SparkSession:
    """Returns the running session (cluster, notebook, spark-submit, Connect), else starts a local one with Delta.

    A session that is already there is used as it is: nothing global is changed on a cluster.
    Raises UserError when pyspark or Delta is missing or Java can not be started.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as err:
        raise UserError(
            "pyspark is not installed: pip install 'boostqa[local]' (on a cluster it is there already)"
        ) from err
    running = SparkSession.getActiveSession()
    if running is not None or _submitted():
        return running or SparkSession.builder.getOrCreate()
    return _start_local(master)


def _submitted() -> bool:
    return (
        "SPARK_REMOTE" in os.environ
        or "PYSPARK_GATEWAY_PORT" in os.environ
        or "DATABRICKS_RUNTIME_VERSION" in os.environ
    )


def delta_package(spark_version: str) -> str:
    """Names the Maven package of the installed delta-spark for a Spark version, as Delta names its builds."""
    try:
        delta = importlib.metadata.version("delta-spark")
    except importlib.metadata.PackageNotFoundError as err:
        raise UserError("delta-spark is not installed: pip install 'boostqa[local]'") from err
    major_minor = ".".join(spark_version.split(".")[:2])
    infix = f"_{major_minor}" if tuple(int(p) for p in delta.split(".")[:2]) >= (4, 1) else ""
    return f"io.delta:delta-spark{infix}_2.13:{delta}"


def _start_local(master: str) -> SparkSession:
    import pyspark
    from pyspark.sql import SparkSession

    problem = java_problem()
    if problem:
        raise UserError(problem)
    # Workers take the system's python3 otherwise, which has none of our packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("boostqa")
    settings = {**LOCAL_SETTINGS, **DELTA_SETTINGS, "spark.jars.packages": delta_package(pyspark.__version__)}
    settings["spark.driver.memory"] = os.environ.get("BOOSTQA_DRIVER_MEMORY", "3g")
    with as_file(files("etl") / "log4j2.properties") as log4j:
        settings["spark.driver.extraJavaOptions"] = f"-Dlog4j2.configurationFile={Path(log4j).resolve().as_uri()}"
        for key, value in settings.items():
            builder = builder.config(key, value)
        with quiet_stderr("Spark could not be started"), own_interrupt():
            return builder.getOrCreate()


@contextmanager
def own_interrupt() -> Iterator[None]:
    """Keeps what Ctrl-C does as it is: Spark's own handler calls the JVM in the middle of another call, and fails with tracebacks."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def java_problem() -> str | None:
    """Says what is wrong with the Java that Spark would start, or None."""
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else "java"
    help_line = "Spark needs Java 17 or 21: install one (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME to one"
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return f"there is no Java at {java}. {help_line}"
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) not in JAVA_VERSIONS:
        return f"{java} is Java {found[1] if found else 'of an unknown version'}. {help_line}"
    return None


@contextmanager
def quiet_stderr(failure: str) -> Iterator[None]:
    """Keeps what a child process prints to stderr; shows its last lines in a UserError only if the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception as err:
            kept.seek(0)
            lines = [line for line in kept.read().decode(errors="replace").splitlines() if line.strip()]
            raise UserError(f"{failure}: {lines[-1] if lines else err}") from err
        finally:
            os.dup2(saved, 2)
            os.close(saved)
