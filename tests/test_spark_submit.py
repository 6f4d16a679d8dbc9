"""`spark-submit` of the built zip to a cluster of its own, from a folder without the checkout: the same tables as by the console command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pyspark
import pytest
import yaml

from etl.schemas import TABLES
from etl.session import DELTA_SETTINGS, delta_package
from tests.cluster import SPARK_HOME, environment, standalone_cluster
from tests.etl.small import shuffled, small_config
from tests.etl.tiny import run_steps
from udfs.engines.teacher_process import start_teacher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.etl.small import Small

# A cluster of its own, whose processes are all new: some four minutes on two cores. `make test-long`, and `make check` with everything else.
pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[1]
LITTER = shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc")
# Small tables: a task per default partition would take longer than the work. The rest is what docs/deploy.md shows.
SETTINGS = {
    **DELTA_SETTINGS,
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.executor.memory": "1g",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
}
STAND_IN = {"endpoint": "stand-in", "base_urls": [], "workers": 3}
# Their keys hold an address or a run, which differ from folder to folder and from run to run.
OWN_KEYS = {"files", "quarantine", "steps"}


def make_folder(folder: Path, small: Small) -> Path:
    """The small corpus in another order, and a profile with the settings of its run; all paths are relative."""
    shuffled(small.corpus, folder / "corpus")
    config = small_config("corpus", "warehouse", "http://127.0.0.1:1/v1", mlflow={"enabled": True}, llm=STAND_IN)
    profile = config.model_dump(mode="json", by_alias=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile, allow_unicode=True), "utf-8")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that `make wheel` builds, and etl/__main__.py beside it, as one takes them to a cluster."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("etl", "udfs", "conf"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=LITTER)
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *build, "--wheel-dir", str(out), "."], cwd=source, check=True, timeout=120)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (out / "__main__.py").write_bytes(packed.read("etl/__main__.py"))
    return wheel.rename(wheel.with_suffix(".zip"))


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with standalone_cluster(tmp_path_factory.mktemp("cluster")) as address:
        yield address


def submit(master: str, archive: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = [part for name, value in SETTINGS.items() for part in ("--conf", f"{name}={value}")]
    where = ["--master", master, "--packages", delta_package(pyspark.__version__), "--py-files", str(archive)]
    command = [str(SPARK_HOME / "bin" / "spark-submit"), *where, *settings, str(archive.with_name("__main__.py"))]
    env = environment(SPARK_HOME=str(SPARK_HOME))
    return subprocess.run([*command, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def submitted(
    master: str, archive: Path, small: Small, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = make_folder(tmp_path_factory.mktemp("cluster-run") / "folder", small)
    done = submit(master, archive, folder, "run", "--conf", "profile.yaml")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / "warehouse", done


@pytest.fixture(scope="module")
def finished(spark: SparkSession, small: Small) -> Path:
    """The warehouse of the same run on the session of the tests, to its end."""
    with start_teacher() as teacher:
        run_steps(spark, small_config(small.corpus, small.warehouse, teacher.base_url))
    return small.warehouse


def rows_of(table: Path) -> list[dict[str, Any]]:
    """Reads a Delta table's last version without Spark: the files that its log added and has not removed."""
    live: set[str] = set()
    for commit in sorted((table / "_delta_log").glob("*.json")):
        for action in map(json.loads, commit.read_text("utf-8").splitlines()):
            live |= {action["add"]["path"]} if "add" in action else set()
            live -= {action["remove"]["path"]} if "remove" in action else set()
    return [row for path in sorted(live) for row in pq.ParquetFile(table / unquote(path)).read().to_pylist()]


def tables_of(warehouse: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: rows_of(warehouse / name) for name in TABLES if (warehouse / name / "_delta_log").is_dir()}


def keys_of(name: str, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[column] for column in TABLES[name].key) for row in rows)


def test_a_cluster_makes_the_same_rows_of_shuffled_files_in_another_place(
    submitted: tuple[Path, Any], finished: Path
) -> None:
    there, here = tables_of(submitted[0]), tables_of(finished)
    # The one here was made in three runs.
    counts = [{name: len(rows) for name, rows in made.items() if name != "steps"} for made in (there, here)]
    assert counts[0] == counts[1]
    assert len(here["documents"]) == 14
    assert len(here["quarantine"]) == 1
    assert len(here["llm_calls"]) > 20
    for name in set(here) - OWN_KEYS:
        assert keys_of(name, there[name]) == keys_of(name, here[name]), name


def test_a_cluster_exports_the_same_files(submitted: tuple[Path, Any], finished: Path) -> None:
    (there,), (here,) = submitted[0].glob("export/*/manifest.json"), finished.glob("export/*/manifest.json")
    sums = [{f["sha256"] for f in json.loads(path.read_text("utf-8"))["files"]} for path in (there, here)]
    assert sums[0] == sums[1]
    assert all((there.parent / Path(f["path"]).name).is_file() for f in json.loads(there.read_text("utf-8"))["files"])


def test_a_cluster_leaves_nothing_behind_but_the_warehouse(submitted: tuple[Path, Any]) -> None:
    """A path that is relative on a worker would make files in the worker's own folder instead."""
    warehouse, _ = submitted
    beside = {path.name for path in warehouse.parent.iterdir()}
    assert beside <= {"corpus", "profile.yaml", "warehouse", "spark-warehouse"}
    assert not list(warehouse.glob("_boostqa/wal/**/*.parquet")), "segments are committed and deleted"
    assert not (warehouse / "_boostqa" / "lock.json").exists()


def test_progress_is_plain_lines_without_the_noise_of_spark(submitted: tuple[Path, Any]) -> None:
    _, done = submitted
    # spark-submit itself puts a Python driver's stderr on its stdout.
    assert re.search(r"^\[ 1/\d+\] ingest .*14 out", done.stdout, re.MULTILINE)
    assert " INFO " not in done.stdout.partition("[ 1/")[2]
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_setting_is_one_line_and_exit_code_2(master: str, archive: Path, small: Small, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", small)
    done = submit(master, archive, folder, "run", "--conf", "profile.yaml", "--set", "dedup.treshold=0.8")
    assert done.returncode == 2
    assert "boostqa: dedup.treshold: is not a setting" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (folder / "warehouse").exists()
