"""The pipeline: the steps in order, each skipped when nothing it hangs on has changed, timed, checked and recorded."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from etl.config import Config
from etl.endpoint import Endpoint
from etl.errors import BudgetStop, UserError
from etl.ledger import Ledger, forget_failures
from etl.lock import WarehouseLock
from etl.progress import Watch
from etl.screen import Screen
from etl.step import Job, Outcome, Step
from etl.step_log import StepLog
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
from udfs.engines.purse import Amount
from udfs.storage import write_over
from udfs.tasks import TASKS
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.report.figures import Figures

# embed, annotate and dedup stand twice: first for the seeds, then for the questions that were made of them.
ORDER: tuple[Step, ...] = (
    ingest.STEP,
    curate.STEP,
    embed.SEEDS_STEP,
    dedup.SEEDS_STEP,
    annotate.SEEDS_STEP,
    probe.STEP,
    plan.STEP,
    synthesize.STEP,
    refine.STEP,
    embed.QUESTIONS_STEP,
    annotate.QUESTIONS_STEP,
    verify.STEP,
    dedup.QUESTIONS_STEP,
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


@dataclass(frozen=True)
class Finished:
    """A finished run: its steps, its rows written by table, and the figures of the report, which is written when export was among the steps."""

    run_id: str
    steps: list[Ran]
    seconds: float
    written: dict[str, int]
    report: str = ""
    figures: Figures | None = None


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


def new_run_id() -> str:
    """Makes a run's id: its time, so that ids sort as runs do, and a few random letters."""
    return datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]


def run_pipeline(
    spark: SparkSession, config: Config, steps: list[Step], screen: Screen, retry_failed: bool = False
) -> Finished:
    """Runs the steps in order and records each in `steps`, with a child run in MLflow.

    A killed run is simply run again: recorded answers are committed first, finished steps are skipped. With `retry_failed`, calls that have failed for
    good are asked once more, and what was made of the failures is made anew.
    """
    started = time.monotonic()
    run_id = new_run_id()
    tables = Tables(spark, config.tables)
    tracker = Tracker(config, screen.say)
    with WarehouseLock(tables.files, run_id) as lock, Endpoint(config.llm) as endpoint, tracker.run(run_id):
        watch = Watch(tables.files, screen.progress, screen.say, tracker.live)
        ledger = Ledger(tables, config.llm, run_id, endpoint.base_urls, watch, retry_failed)
        ledger.before_wave = lock.check
        saved = ledger.recover()
        if saved:
            screen.say(f"{saved} answers of an interrupted run recovered")
        if retry_failed:
            taken = _take_out_failures(tables, [step for step in steps if step.tasks_under(config)], run_id)
            screen.say(f"{taken} rows of failed calls taken out, to be made again")
        job = Job(spark, config, tables, ledger, read_taxonomy(config), run_id, screen.say, watch)
        ran = _run_all(job, steps, tracker, screen, lock)
        made = _report(job, tracker, screen) if any(step.name == "export" for step in steps) else ("", None)
        return Finished(run_id, ran, time.monotonic() - started, dict(tables.written), *made)


def _take_out_failures(tables: Tables, steps: list[Step], run_id: str) -> int:
    """Takes the rows out that these steps have made of failed calls, and no others: nobody else would make them again."""
    # First, so that a run which is stopped before it has made them again leaves that to the next.
    StepLog(tables, run_id).outdate(step.name for step in steps)
    return forget_failures(tables, {name for step in steps for name in step.writes})


def _report(job: Job, tracker: Tracker, screen: Screen) -> tuple[str, Figures]:
    from etl.report.gather import gather
    from etl.report.page import render

    screen.start("report")
    path = f"{job.tables.root}/report.html"
    figures = gather(job.tables, job.config)
    write_over(path, render(figures).encode())
    if "://" not in path:
        tracker.artifact(path)
    return path, figures


def _run_all(job: Job, steps: list[Step], tracker: Tracker, screen: Screen, lock: WarehouseLock) -> list[Ran]:
    done: list[Ran] = []
    attempts: Counter[str] = Counter()
    log = StepLog(job.tables, job.run_id)
    for number, step in enumerate(steps, 1):
        lock.check()
        attempts[step.name] += 1
        screen.begin(number, len(steps), step.name)
        ran = _run_step(job, step, attempts[step.name], log, tracker)
        screen.end(ran.step, ran.status, ran.outcome, ran.seconds)
        done.append(ran)
    log.flush()
    return done


def _run_step(job: Job, step: Step, attempt: int, log: StepLog, tracker: Tracker) -> Ran:
    started = time.monotonic()
    versions_in = {name: job.tables.version(name) for name in step.reads}
    fingerprint = fingerprint_of(job, step, log)
    entry: dict[str, Any] = {
        "step": step.name,
        "attempt": attempt,
        "fingerprint": fingerprint,
        "versions_in": versions_in,
    }
    spending = job.ledger.spending
    spending.step, paid = step.name, spending.total
    # What a step has made of failed calls was taken out of its own table, on which it does not hang.
    again = job.ledger.retry_failed and bool(step.tasks_under(job.config))
    before = None if again else log.last_success(step, fingerprint)
    if before is None:
        # A step that runs finds its ids (plan_id, dedup_id) in the table: those of the unchanged steps before it must be there.
        log.flush()
    try:
        outcome = before.outcome if before else step.run(replace(job, fingerprint=fingerprint))
        outcome.check(step.name)
    except BaseException as err:
        # Ctrl-C reaches this process alone: without this, the tasks go on, and what they ask is paid.
        if isinstance(err, KeyboardInterrupt):
            job.spark.interruptAll()
        status = "stopped_by_budget" if isinstance(err, BudgetStop) else "failed"
        failed = {"status": status, "error": f"{type(err).__name__}: {err}"[:4000]}
        log.add(entry | failed, Outcome(0, 0), time.monotonic() - started)
        raise
    seconds = time.monotonic() - started
    entry["status"] = "unchanged" if before else "done"
    tracked = replace(outcome, figures=outcome.figures | llm_figures(spending.total - paid))
    entry["mlflow_run_id"] = tracker.step(step.name, attempt, tracked, seconds)
    tracker.live("run", llm_figures(spending.total))
    entry["versions_out"] = before.versions_out if before else {name: job.tables.version(name) for name in step.writes}
    log.add(entry, outcome, seconds)
    return Ran(step.name, entry["status"], outcome, seconds)


def llm_figures(paid: Amount) -> dict[str, float]:
    """Names what was paid as metrics."""
    return {"llm_requests": paid.requests, "llm_tokens": paid.tokens, "llm_cost": paid.cost}


def fingerprint_of(job: Job, step: Step, log: StepLog) -> str:
    """Hashes all that a step hangs on: its settings, its prompts, the versions of the tables it reads, and the ids by which it picks rows of them."""
    made = {name: log.made_version(name) for name in step.reads}
    picked = {name: log.current_id(name) for name in step.ids}
    parts = [job.config.fingerprint(*step.settings), repr(sorted(made.items())), repr(sorted(picked.items()))]
    parts += [TASKS[task].prompts_id for task in step.tasks_under(job.config)]
    return stable_id(*parts, step.hangs_on(job))
