"""The pipeline: the steps in order, each skipped when nothing it hangs on has changed, timed, checked and recorded."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from etl.config import Config
from etl.endpoint import Endpoint
from etl.errors import UserError
from etl.ledger import Ledger
from etl.lock import WarehouseLock
from etl.screen import Screen
from etl.step import Job, Outcome, Step
from etl.steps import (
    annotate,
    curate,
    dedup,
    embed,
    export,
    ingest,
    measure,
    plan,
    probe,
    refine,
    select,
    synthesize,
    verify,
)
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy
from etl.tracking import Tracker

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# embed, annotate and dedup stand twice: first for the seeds, then for the questions that were made of them.
ORDER: tuple[Step, ...] = (
    ingest.STEP,
    curate.STEP,
    embed.STEP,
    dedup.SEEDS_STEP,
    annotate.STEP,
    probe.STEP,
    plan.STEP,
    synthesize.STEP,
    refine.STEP,
    embed.STEP,
    annotate.STEP,
    verify.STEP,
    dedup.STEP,
    measure.STEP,
    select.STEP,
    export.STEP,
)
NAMES = tuple(dict.fromkeys(step.name for step in ORDER))


@dataclass(frozen=True)
class Ran:
    """One step of a finished run."""

    step: str
    status: str
    outcome: Outcome
    seconds: float


def chosen_steps(steps: str | None = None, first: str | None = None, last: str | None = None) -> list[Step]:
    """Returns the steps to run: all, the named ones (comma-separated), or those from `first` to `last`, in order.

    Raises UserError for an unknown step, or when `first` comes after `last`.
    """
    named = [name.strip() for name in steps.split(",")] if steps else [name for name in (first, last) if name]
    unknown = [name for name in named if name not in NAMES]
    if unknown:
        raise UserError(f"there is no step {unknown[0]!r}: steps are {', '.join(NAMES)}")
    if steps:
        return [step for step in ORDER if step.name in named]
    order = [step.name for step in ORDER]
    begin = order.index(first) if first else 0
    end = len(order) - order[::-1].index(last) if last else len(order)
    if begin >= end:
        raise UserError(f"--from {first} comes after --to {last}")
    return list(ORDER[begin:end])


def run_pipeline(spark: SparkSession, config: Config, steps: list[Step], screen: Screen) -> list[Ran]:
    """Runs the steps in order and records each in `steps`, with a child run in MLflow.

    A killed run is simply run again: recorded answers are committed first, finished steps are skipped.
    """
    run_id = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
    tables = Tables(spark, config.tables)
    tracker = Tracker(config)
    with WarehouseLock(tables.files, run_id), Endpoint(config.llm) as endpoint, tracker.run(run_id):
        ledger = Ledger(tables, config.llm, run_id, endpoint.base_urls)
        saved = ledger.recover()
        if saved:
            screen.say(f"{saved} answers of an interrupted run recovered")
        job = Job(spark, config, tables, ledger, read_taxonomy(config), run_id, screen.say)
        return _run_all(job, steps, tracker, screen)


def _run_all(job: Job, steps: list[Step], tracker: Tracker, screen: Screen) -> list[Ran]:
    done: list[Ran] = []
    attempts: Counter[str] = Counter()
    for number, step in enumerate(steps, 1):
        attempts[step.name] += 1
        screen.begin(number, len(steps), step.name)
        ran = _run_step(job, step, attempts[step.name], tracker)
        screen.end(ran.step, ran.status, ran.outcome, ran.seconds)
        done.append(ran)
    return done


def _run_step(job: Job, step: Step, attempt: int, tracker: Tracker) -> Ran:
    started = time.monotonic()
    versions_in = {name: job.tables.version(name) for name in step.reads}
    fingerprint = _fingerprint(job.config, step, versions_in)
    before = _last_success(job, step, fingerprint)
    entry: dict[str, Any] = {
        "step": step.name,
        "attempt": attempt,
        "fingerprint": fingerprint,
        "versions_in": versions_in,
    }
    try:
        outcome = before if before is not None else step.run(job)
        outcome.check(step.name)
    except BaseException as err:
        _record(
            job, entry | {"status": "failed", "error": f"{type(err).__name__}: {err}"[:4000]}, Outcome(0, 0), started
        )
        raise
    status = "unchanged" if before is not None else "done"
    seconds = time.monotonic() - started
    mlflow_id = tracker.step(step.name, attempt, outcome, seconds)
    entry |= {
        "status": status,
        "mlflow_run_id": mlflow_id,
        "versions_out": {name: job.tables.version(name) for name in step.writes},
    }
    _record(job, entry, outcome, started)
    return Ran(step.name, status, outcome, seconds)


def _fingerprint(config: Config, step: Step, versions: dict[str, int]) -> str:
    text = config.fingerprint(*step.sections, "run") + repr(sorted(versions.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _last_success(job: Job, step: Step, fingerprint: str) -> Outcome | None:
    # ingest looks at files, which have no version.
    if not step.reads:
        return None
    from pyspark.sql import functions as F

    steps = job.tables.read("steps").where((F.col("step") == step.name) & F.col("status").isin("done", "unchanged"))
    last = steps.where(F.col("fingerprint") == fingerprint).orderBy(F.col("created_at").desc()).first()
    # An output below its recorded version was dropped or restored: run the step again.
    if last is None or any(job.tables.version(name) < version for name, version in last["versions_out"].items()):
        return None
    return Outcome(last["rows_in"], last["rows_out"], dict(last["dropped"]), dict(last["figures"]), dict(last["ids"]))


def _record(job: Job, entry: dict[str, Any], outcome: Outcome, started: float) -> None:
    row = {
        "run_id": job.run_id,
        "rows_in": outcome.rows_in,
        "rows_out": outcome.rows_out,
        "dropped": outcome.dropped,
        "figures": {key: float(value) for key, value in outcome.figures.items()},
        "ids": outcome.ids,
        "seconds": time.monotonic() - started,
        "versions_out": {},
        "mlflow_run_id": None,
        "error": None,
        "created_at": datetime.now(timezone.utc),
        **entry,
    }
    from etl.schemas import TABLES

    columns = TABLES["steps"].columns
    ddl = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
    job.tables.append("steps", job.spark.createDataFrame([tuple(row[name] for name in columns)], ddl))
