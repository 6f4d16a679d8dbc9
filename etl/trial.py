"""A step tried on a few rows: its first requests are asked for real and stay in the ledger, its tables take no rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from etl.config import Config, LlmConfig
from etl.dry_run import AllCountedError, DryTables
from etl.endpoint import Endpoint
from etl.ledger import Ledger
from etl.lock import WarehouseLock
from etl.pipeline import new_run_id
from etl.progress import silent
from etl.recorded_calls import latest_calls
from etl.step import Job, Step
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession


class TrialLedger(Ledger):
    """A ledger that asks `rows` requests of each task and remembers their calls; `left` is how often the step will still ask."""

    def __init__(self, tables: Tables, llm: LlmConfig, run_id: str, base_urls: Callable[[], list[str]]) -> None:
        super().__init__(tables, llm, run_id, base_urls)
        self.rows = self.left = self.asked = 0
        self.calls: list[Row] = []

    def ask(self, requests: DataFrame) -> int:
        """Asks the first requests by id, so that trying again asks nothing new. Raises AllCountedError after the step's last task."""
        once = requests.dropDuplicates(["request_id"])
        chosen = self._tables.scratch("trial", once.orderBy("request_id").limit(self.rows))
        self.asked += super().ask(chosen)
        self.calls += latest_calls(self._tables, chosen).orderBy("request_id").collect()
        self.left -= 1
        if self.left == 0:
            raise AllCountedError
        return 0


def try_step(spark: SparkSession, config: Config, step: Step, rows: int) -> tuple[list[Row], int]:
    """Asks `rows` requests of each task of a step. Returns their calls (rows of `llm_calls`) and how many were asked now and not before.

    Raises BudgetStop and UserError as a run does.
    """
    run_id = new_run_id()
    tables = Tables(spark, config.tables)
    with WarehouseLock(tables.files, run_id) as lock, Endpoint(config.llm) as endpoint:
        ledger = TrialLedger(tables, config.llm, run_id, endpoint.base_urls)
        ledger.before_wave = lock.check
        ledger.recover()
        ledger.rows, ledger.left, ledger.spending.step = rows, len(step.tasks_under(config)), step.name
        dry = DryTables(spark, config.tables)
        job = Job(spark, config, dry, ledger, read_taxonomy(config), run_id, lambda text: None, silent(tables.files))
        with suppress(AllCountedError):
            step.run(job)
        return ledger.calls, ledger.asked
