"""MLflow: one run per pipeline run, a child per step, logged from the driver only. Paid work never hangs on it."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from etl.config import Config
from etl.errors import BudgetStop
from etl.step import Outcome

TRACKING_URI = "MLFLOW_TRACKING_URI"
PACKAGE = "mlflow"
_NO_METRIC = re.compile(r"[^\w\-. :/]")


def import_early(config: Config) -> None:
    """Begins to import MLflow, which takes seconds, on a thread: Spark takes as long to start, and most of that is waiting."""
    if not config.mlflow.enabled:
        return
    warnings.filterwarnings("ignore", module=PACKAGE)

    def load() -> None:
        # What is wrong is told where it is needed.
        with suppress(ImportError):
            import_module(PACKAGE)

    threading.Thread(target=load, daemon=True).start()


class Tracker:
    """Logs to MLflow when `mlflow.enabled`; does nothing otherwise. `run_id` is the MLflow id of the pipeline run, or None.

    `say` is told what the store does not take.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._mlflow: Any = None
        self._started = time.time()
        self._deaf = False
        self.run_id: str | None = None

    def _uri(self) -> str:
        given = self._config.mlflow.tracking_uri or os.environ.get(TRACKING_URI)
        if given:
            return given
        local = self._local_folder() or Path()
        local.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{local.absolute()}/mlflow.db"

    def _local_folder(self) -> Path | None:
        warehouse = (self._config.tables.warehouse or "").removeprefix("file://").removeprefix("file:")
        return Path(warehouse) if warehouse and "://" not in warehouse else None

    @contextmanager
    def run(self, run_id: str) -> Iterator[None]:
        """Opens the pipeline's MLflow run and logs the configuration's main settings."""
        if not self._config.mlflow.enabled:
            yield
            return
        import logging

        warnings.filterwarnings("ignore", module=PACKAGE)
        import mlflow

        # After the import, which sets its own levels.
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)

        self._mlflow = mlflow
        given = os.environ.get(TRACKING_URI)
        mlflow.set_tracking_uri(self._uri())
        # MLflow writes the address into the environment, where the next run of this process would take it for the user's choice.
        if given is None:
            os.environ.pop(TRACKING_URI, None)
        self._experiment()
        self.run_id = mlflow.start_run(run_name=f"{self._config.run.name}-{run_id}").info.run_id
        status = "FAILED"
        try:
            mlflow.set_tags({"boostqa.run_id": run_id})
            mlflow.log_params(parameters(self._config))
            yield
            status = "FINISHED"
        except BudgetStop:
            with self._told("why the run has stopped"):
                mlflow.set_tags({"boostqa.stopped_by": "budget"})
            raise
        finally:
            with self._told("the end of the run"):
                mlflow.end_run(status)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._mlflow.exceptions.MlflowException, OSError) as err:
            self._say(f"MLflow did not take {what}: {str(err).splitlines()[0]}")

    def _experiment(self) -> None:
        name = self._config.mlflow.experiment
        if self._mlflow.get_experiment_by_name(name) is None:
            folder = self._local_folder()
            where = f"{folder.absolute()}/mlflow-artifacts" if folder else None
            self._mlflow.create_experiment(name, artifact_location=where if self._uri().startswith("sqlite") else None)
        self._mlflow.set_experiment(name)

    def step(self, name: str, attempt: int, outcome: Outcome, seconds: float) -> str | None:
        """Logs one step as a child run; returns its id, or None where the store takes nothing: that is said, and stops no run."""
        if self._mlflow is None:
            return None
        with self._told(f"the figures of {name}"):
            self._deaf = False
            return self._logged(name, attempt, outcome, seconds)
        return None

    def _logged(self, name: str, attempt: int, outcome: Outcome, seconds: float) -> str:
        with self._mlflow.start_run(run_name=f"{name}-{attempt}", nested=True) as child:
            figures = {"rows_in": outcome.rows_in, "rows_out": outcome.rows_out, "seconds": seconds, **outcome.figures}
            figures |= {f"dropped_{reason}": count for reason, count in outcome.dropped.items()}
            self._mlflow.log_metrics({_NO_METRIC.sub("_", key): float(value) for key, value in figures.items()})
            self._mlflow.set_tags({f"boostqa.{key}": value for key, value in outcome.ids.items()})
            return str(child.info.run_id)

    def live(self, what: str, figures: Mapping[str, float]) -> None:
        """Logs figures of work that goes on, or sums of the run so far, as metrics `what/name` of the pipeline run over its seconds. From any thread."""
        if self._mlflow is None or self._deaf or not figures:
            return
        # A store that does not answer holds up each call: it is asked again with the next step.
        self._deaf = True
        now = time.time()
        metrics = [
            self._mlflow.entities.Metric(
                _NO_METRIC.sub("_", f"{what}/{name}"), value, int(now * 1000), int(now - self._started)
            )
            for name, value in figures.items()
        ]
        with self._told(f"the figures of {what}"):
            # Not by the run that is active: that is known to one thread alone.
            self._mlflow.MlflowClient().log_batch(self.run_id, metrics=metrics)
            self._deaf = False

    def artifact(self, path: str) -> None:
        """Logs a file with the pipeline's run; what is wrong with the store is said, and stops no run."""
        if self._mlflow is not None:
            with self._told(path):
                self._mlflow.log_artifact(path)


def parameters(config: Config) -> dict[str, str]:
    """Returns the settings that a run is compared by, flat and short; no address of an endpoint, and never a secret."""
    picked = {
        "seed": config.run.seed,
        "sources": ",".join(s.name for s in config.sources),
        "embed.model": config.embed.model,
        "dedup.threshold": config.dedup.threshold,
        "plan.total_tokens": config.plan.total_tokens,
        **{f"llm.{role}": model for role, model in config.llm.models.model_dump().items()},
    }
    return {key: str(value)[:500] for key, value in picked.items()}
