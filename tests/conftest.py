"""What all tests share: one Spark session, one whole run over the samples, one stand-in teacher. All made when first asked for."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.config import Config
    from etl.pipeline import Finished
    from etl.tables import Tables
    from tests.etl.small import Small
    from udfs.engines.teacher_process import Teacher

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no failure.
settings.register_profile("boostqa", deadline=None)
settings.load_profile("boostqa")

# Before the first session, and for the processes that tests start.
os.environ["SPARK_CONF_DIR"] = str(ROOT / "tests" / "spark")
# What tests wait for, the longest first: a process that is left with a long one at the end lets the other idle.
COSTLY = ("sample_run: ", "small: ", "spark: ", "scratch_tables: ")
LONG_RUNS = COSTLY[:2]


def _costly_part(file: str) -> str | None:
    text = (ROOT / file).read_text("utf-8")
    return next((name for name in COSTLY if name in text), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest first."""
    order = {path: _costly_part(path) for path in {item.nodeid.partition("::")[0] for item in items}}
    rank = [*COSTLY, None]
    items.sort(key=lambda item: rank.index(order[item.nodeid.partition("::")[0]]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n 2`, gives a file, and all files that use one long run, to one process, so that the run is made once.

    Not by xdist's own groups: they do not work with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByLongRun(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            part = _costly_part(file)
            return part if part in LONG_RUNS else file

    # In the order of `pytest_collection_modifyitems`, not by the number of tests.
    config.option.loadscopereorder = False
    return ByLongRun(config, log)


@pytest.fixture(scope="session", autouse=True)
def _at_the_root() -> Iterator[None]:
    """The samples' paths are relative to the repository."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from etl.session import get_spark

    # One at a time: on a new machine the first downloads the jars of Delta.
    with (tmp_path_factory.getbasetemp().parent / "spark.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        session = get_spark("local[2]")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def teacher_process() -> Iterator[Teacher]:
    from udfs.engines.teacher_process import start_teacher

    with start_teacher() as running:
        yield running


@pytest.fixture
def teacher(teacher_process: Teacher) -> Teacher:
    """The session's stand-in teacher without any faults left over from the test before."""
    from udfs.engines.teacher_faults import Faults

    teacher_process.set_faults(**asdict(Faults()))
    return teacher_process


@pytest.fixture
def scratch_tables(spark: SparkSession, tmp_path: Path) -> Callable[[str], Tables]:
    """Makes the tables of a new warehouse: `scratch_tables("name")`."""
    from etl.tables import Tables
    from tests.etl.tiny import make_config

    def make(name: str = "warehouse") -> Tables:
        return Tables(spark, make_config(tmp_path / name).tables)

    return make


@dataclass
class SampleRun:
    """The samples run from end to end: `finished.steps` has a row per step, `lines` is what the screen showed."""

    config: Config
    tables: Tables
    warehouse: Path
    finished: Finished
    lines: list[str]
    plans: list[str]
    _read: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.finished.run_id

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, read once. Not for changing."""
        if table not in self._read:
            self._read[table] = [row.asDict(recursive=True) for row in self.tables.read(table).collect()]
        return self._read[table]

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The rows of `steps` of this run, in order."""
        mine = [row for row in self.rows("steps") if row["run_id"] == self.run_id]
        return sorted(mine, key=lambda row: row["created_at"])


@pytest.fixture(scope="session")
def sample_run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SampleRun:
    """Runs the whole pipeline over the samples, once for all tests. Only for reading."""
    from etl.config import load_config
    from etl.tables import Tables
    from tests.etl.tiny import run_steps

    warehouse = tmp_path_factory.mktemp("samples") / "warehouse"
    config = load_config("conf/local.yaml", [f"tables.warehouse={warehouse}"])
    finished, lines = run_steps(spark, config)
    return SampleRun(config, Tables(spark, config.tables), warehouse, finished, lines, _executed_plans(spark))


@pytest.fixture(scope="session")
def small(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Runs the pipeline over the small corpus as far as `refine`, once for all tests. Only for reading and copying."""
    from tests.etl.small import Small, small_config, small_corpus
    from tests.etl.tiny import run_steps
    from udfs.engines.teacher_process import start_teacher

    folder = tmp_path_factory.mktemp("small")
    corpus, warehouse = small_corpus(folder / "corpus"), folder / "warehouse"
    # A teacher of its own: that of the tests may have been told to fail.
    with start_teacher() as teacher:
        config = small_config(corpus, warehouse, teacher.base_url)
        run_steps(spark, config, last="plan")
        shutil.copytree(warehouse, folder / "planned")
        run_steps(spark, config, last="refine")
    return Small(corpus, folder / "planned", warehouse, config)


def _executed_plans(spark: SparkSession) -> list[str]:
    """The plans of the last thousand queries, as Spark itself remembers them."""
    executions = spark._jsparkSession.sharedState().statusStore().executionsList()
    return [executions.apply(i).physicalPlanDescription() for i in range(executions.size())]
