"""A ledger of many rows without a teacher: its table, requests that are half known, and segments of a wave. All made by hashes, the same each time."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
from common import ROOT

from etl.config import Config, LlmConfig, load_config
from etl.errors import InvariantError
from etl.ledger import Ledger
from etl.tables import Tables
from udfs.segments import CALL_SCHEMA, write_segment
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# The run that has paid for everything in the table.
RUN = "long-run"
# A call was answered every so many microseconds, the last one just now: the table is a run of days.
APART_US = 10_000
# Hashes of 16 hex digits in a message and in an answer; snappy, Delta's codec, can not make them smaller.
MESSAGE_HASHES, ANSWER_HASHES = 4, 8
WAVE_ANSWER_CHARACTERS = 1500


def config_of(warehouse: Path, **llm: object) -> Config:
    """The local profile with a warehouse of its own; `wave_requests=2000` changes settings of `llm`."""
    sets = [f"tables.warehouse={warehouse}", *(f"llm.{name}={value}" for name, value in llm.items())]
    return load_config(str(ROOT / "conf/local.yaml"), sets)


def request_id() -> Column:
    """32 hex digits, as `stable_id` makes them."""
    from pyspark.sql import functions as F

    return F.md5(F.col("id").cast("string"))


def _hashes(name: str, count: int) -> Column:
    from pyspark.sql import functions as F

    return F.concat(*[F.hex(F.xxhash64("id", F.lit(f"{name} {n}"))) for n in range(count)])


def _asked() -> dict[str, Column]:
    from pyspark.sql import functions as F

    message = F.concat(F.lit('[{"role": "user", "content": "'), _hashes("message", MESSAGE_HASHES), F.lit('"}]'))
    constants = {"task": "probe", "prompt_id": "probe@1", "model": "stand-in", "params": '{"max_tokens": 50}'}
    same = {name: F.lit(value) for name, value in constants.items()}
    return {"request_id": request_id(), **same, "sample": F.lit(0), "messages": message}


def _answered(rows: int) -> dict[str, Column]:
    from pyspark.sql import functions as F

    now = int(time.time() * 1e6)
    spread = F.pmod(F.xxhash64("id"), F.lit(1_000_000))
    constants = {"served_model": "stand-in", "reasoning": "", "finish_reason": "stop", "cost": 0.0, "attempts": 1}
    constants |= {"attempt": 0, "status": "ok", "error": "", "run_id": RUN}
    return {
        **{name: F.lit(value) for name, value in constants.items()},
        "response": _hashes("answer", ANSWER_HASHES),
        "prompt_tokens": spread % 500,
        "completion_tokens": spread % 700,
        "latency_s": spread / 1e5,
        "created_at": F.timestamp_micros(F.lit(now) - (F.lit(rows) - F.col("id")) * APART_US),
    }


def calls(numbers: DataFrame, rows: int) -> DataFrame:
    """Answered calls with these numbers (column `id`), for a table of so many rows."""
    columns = _asked() | _answered(rows)
    return numbers.select(*[column.alias(name) for name, column in columns.items()])


def requests(numbers: DataFrame) -> DataFrame:
    """Requests with these numbers; those below the table's rows are in the ledger. Computed, not read, each time that they are used."""
    columns = {**_asked(), "prefix": request_id()}
    return numbers.select(*[column.alias(name) for name, column in columns.items()])


def build(tables: Tables, rows: int, files: int) -> float:
    """Appends so many calls to an empty `llm_calls`, in so many files, in one commit; returns the seconds."""
    started = time.monotonic()
    written = tables.append("llm_calls", calls(tables.spark.range(0, rows, 1, files), rows))
    if written != rows:
        raise InvariantError(f"{written} of {rows} rows were written")
    return time.monotonic() - started


def column_bytes(tables: Tables) -> Counter[str]:
    """Bytes of each column in the table's files, as they are stored, by the footers."""
    sizes: Counter[str] = Counter()
    for path in files_of(tables):
        footer = pq.read_metadata(path)
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                sizes[column.path_in_schema] += column.total_compressed_size
    return sizes


def files_of(tables: Tables) -> list[Path]:
    """The table's files now."""
    return [Path(unquote(urlsplit(name).path)) for name in tables.read("llm_calls").inputFiles()]


def put_wave(tables: Tables, llm: LlmConfig, name: str, run_id: str) -> str:
    """Writes the segments of a wave of new answers, as workers do; returns their folder."""
    folder = f"{tables.files}/wal/{name}"
    for first in range(0, llm.wave_requests, llm.flush_rows):
        numbers = range(first, min(first + llm.flush_rows, llm.wave_requests))
        partition = first // llm.flush_rows % llm.workers
        write_segment(f"{folder}/{partition}", [_call(f"{name}-{n}", run_id) for n in numbers])
    return folder


def _call(name: str, run_id: str) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(CALL_SCHEMA.names)
    key = stable_id(name)
    text = "".join(stable_id(key, str(n)) for n in range(WAVE_ANSWER_CHARACTERS // 32))
    told = {"task": "probe", "prompt_id": "probe@1", "model": "stand-in", "params": "{}", "sample": 0, "status": "ok"}
    counts = {"prompt_tokens": 400, "completion_tokens": 400, "cost": 0.0, "latency_s": 1.0, "attempts": 1}
    asked = {"request_id": key, "attempt": 0, "messages": text, "response": text}
    return nothing | told | counts | asked | {"run_id": run_id, "created_at": datetime.now(timezone.utc)}


def ledger_of(tables: Tables, config: Config, run_id: str) -> Ledger:
    """A ledger that only looks and commits: it has no endpoint."""
    return Ledger(tables, config.llm, run_id, list)


def check_space(folder: Path, rows: int, bytes_a_row: int = 600) -> None:
    """Raises SystemExit when the disk has no room for the table and what queries on it write meanwhile."""
    free, wanted = shutil.disk_usage(folder).free, rows * bytes_a_row
    if free < wanted:
        raise SystemExit(
            f"{folder} has {free / 1e9:.0f} GB left, {wanted / 1e9:.0f} are needed: set TMPDIR, or --rows to less"
        )
