"""Small configurations, small tables and steps run alone, for the tests of `etl`."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from etl.annotators import annotators
from etl.config import Config, load_config
from etl.ledger import Ledger
from etl.pipeline import Finished, chosen_steps, run_pipeline
from etl.progress import silent
from etl.schemas import TABLES
from etl.screen import Screen
from etl.step import Job, Step
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy
from udfs.embedding import to_binary
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
MODEL = "bundled:all-MiniLM-L6-v2"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there: real data is not part of the project")


# An endpoint that nobody serves.
NOWHERE = {"endpoint": "urls", "base_urls": ["http://127.0.0.1:9/v1"]}


def take_interrupts() -> None:
    """For a child process: tests that are run in the background hand on that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def make_config(warehouse: Path | str, **sections: Any) -> Config:
    """The local profile without sources, benchmarks and MLflow; `dedup={"threshold": 0.8}` changes settings of a section."""
    sets: dict[str, Any] = {"sources": [], "mlflow": {"enabled": False}, "tables": {"warehouse": str(warehouse)}}
    sets["curate"] = {"decontaminate": {"against": []}}
    both = [*sets.items(), *sections.items()]
    return load_config(str(ROOT / "conf/local.yaml"), [f"{name}={json.dumps(value)}" for name, value in both])


def source(name: str, path: Path | str, **more: Any) -> dict[str, Any]:
    """One entry of `sources`."""
    return {"name": name, "path": str(path), "license": "CC0-1.0", **more}


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def run_steps(
    spark: SparkSession,
    config: Config,
    steps: str | None = None,
    last: str | None = None,
    retry_failed: bool = False,
) -> tuple[Finished, list[str]]:
    """Runs the pipeline, or the named steps, or those up to `last`; returns the run and the lines on the screen."""
    shown = StringIO()
    screen = Screen(Console(file=shown, width=200))
    finished = run_pipeline(spark, config, chosen_steps(steps, None, last), screen, retry_failed)
    return finished, shown.getvalue().splitlines()


def outcome_of(finished: Finished, step: str, attempt: int = 1) -> Any:
    """The `Ran` of a step."""
    return [ran for ran in finished.steps if ran.step == step][attempt - 1]


def job_for(spark: SparkSession, config: Config, base_urls: list[str] | None = None) -> Job:
    """A job as the pipeline makes it, for running one step by hand."""
    tables = Tables(spark, config.tables)

    def urls() -> list[str]:
        assert base_urls is not None, "this step asks no model"
        return base_urls

    ledger = Ledger(tables, config.llm, "test-run", urls)
    return Job(
        spark,
        config,
        tables,
        ledger,
        read_taxonomy(config),
        "test-run",
        lambda text: None,
        silent(tables.files),
        "fingerprint",
    )


def the_step(name: str, attempt: int = 1) -> Step:
    """A step of the pipeline by name; embed, annotate and dedup have a second one for the questions."""
    return chosen_steps(name)[attempt - 1]


def put(tables: Tables, name: str, rows: list[dict[str, Any]]) -> None:
    """Appends rows to a table; the columns that they leave out are NULL."""
    given = sorted({column for row in rows for column in row})
    ddl = ", ".join(f"`{column}` {TABLES[name].columns[column][0]}" for column in given)
    values = [tuple(row.get(column) for column in given) for row in rows]
    tables.append(name, tables.spark.createDataFrame(values, ddl))


def remember(tables: Tables, **ids: str) -> None:
    """Records a finished step that gave these ids (plan_id, dedup_id, mix_id), for the steps that look for them."""
    now = datetime.now(timezone.utc)
    row = {"run_id": "test-run", "step": "before", "attempt": 1, "status": "done", "ids": ids, "created_at": now}
    put(tables, "steps", [{**row, "rows_in": 0, "rows_out": 0, "versions_out": {}}])


def get(tables: Tables, name: str, *columns: str) -> list[Any]:
    """The values of one column of a table, or tuples of several, sorted."""
    return values(tables.read(name), *columns)


def values(rows: DataFrame, *columns: str) -> list[Any]:
    """The values of one column, or tuples of several, sorted."""
    return sorted(row[0] if len(columns) == 1 else tuple(row) for row in rows.select(*columns).collect())


def delta_versions(tables: Tables) -> dict[str, int]:
    """The version of every table now, by the names of the commits in its log."""
    commits = Path(tables.root).glob("*/_delta_log/*.json")
    versions: dict[str, int] = {}
    for commit in commits:
        table = commit.parents[1].name
        versions[table] = max(versions.get(table, 0), int(commit.stem))
    return versions


def document(name: str, text: str, **more: Any) -> dict[str, Any]:
    """A row of `documents`."""
    same = {
        "doc_id": name,
        "kind": "passage",
        "text": text,
        "text_hash": text_hash(text),
        "parent_id": name,
        "offset": 0,
    }
    told = {"source": "tiny", "uri": "file:/tiny", "license": "CC0-1.0", "lang": "en", "n_tokens": len(text.split())}
    return {**same, **told, **more}


def pair(name: str, question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A row of `documents` that is a question with its answer."""
    return document(name, f"{question}\n\n{answer}", kind="qa", question=question, answer=answer, **more)


def kept(name: str, quality: float = 0.9, **more: Any) -> dict[str, Any]:
    """A row of `curation` for a seed."""
    return {"doc_id": name, "kept": True, "quality": quality, **more}


@cache
def local_annotators() -> tuple[str, ...]:
    """The annotators of the local profile: zero-shot, and the LLM for what it can not read."""
    config = make_config("warehouse")
    return annotators(config, read_taxonomy(config))


def label(name: str, text: str, discipline: str, difficulty: int, **more: Any) -> dict[str, Any]:
    """A row of `annotations`, by the zero-shot annotator of the local profile."""
    key = {"item_id": name, "text_hash": text_hash(text), "annotator": local_annotators()[0]}
    return {
        **key,
        "item_kind": "doc",
        "discipline": discipline,
        "difficulty": difficulty,
        "discipline_score": 0.5,
        **more,
    }


def embedding(name: str, text: str, vector: np.ndarray, role: str = "text", **more: Any) -> dict[str, Any]:
    """A row of `embeddings`."""
    key = {"item_id": name, "role": role, "text_hash": text_hash(text), "model": MODEL}
    binary = to_binary(np.asarray(vector, np.float32)[None, :])[0]
    return {**key, "vector": bytearray(binary), "dim": len(vector), "unknown_share": 0.0, "cut": False, **more}
