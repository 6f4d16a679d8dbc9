"""How many segments wait for their commit while many requests are asked for real, in small waves."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger_table import config_of, files_of, requests

from etl.ledger import Ledger
from etl.tables import Tables
from udfs.engines.teacher_process import start_teacher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REQUESTS, WAVE = 20_000, 2_000


class LiveSegments(threading.Thread):
    """Looks at a folder again and again; `peak` is the most segments that were there at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Looks twenty times a second, until `over`: a wave's segments stay while they are committed, which takes longer."""
        while not self.over.wait(0.05):
            self.peak = max(self.peak, sum(1 for _ in self._folder.rglob("*.parquet")))


def ask_in_waves(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """Asks a stand-in teacher, and counts. The bound: full segments of the largest wave, and of each worker a last one and those that the time has made."""
    with start_teacher() as teacher:
        config = config_of(folder, endpoint="urls", base_urls=f"[{teacher.base_url!r}]", wave_requests=WAVE)
        tables, llm = Tables(spark, config.tables), config.llm
        asking = Ledger(tables, llm, "waves", lambda: list(llm.base_urls))
        live = LiveSegments(Path(f"{tables.files}/wal"))
        live.start()
        started = time.monotonic()
        asked = asking.ask(requests(spark.range(0, REQUESTS, 1, 2)))
        seconds = time.monotonic() - started
        live.over.set()
        live.join()
    largest, slowest, waves = largest_and_slowest(tables, seconds)
    bound = largest // llm.flush_rows + llm.workers * (1 + int(slowest / llm.flush_seconds))
    counts = {"requests": asked, "waves": waves, "largest_wave": largest, "slowest_wave_s": round(slowest, 1)}
    counts["files"] = len(files_of(tables))
    return {
        "what": "segments",
        **counts,
        "seconds": round(seconds, 1),
        "peak": live.peak,
        "bound": bound,
        "bound_without_waves": asked // llm.flush_rows + llm.workers * (1 + int(seconds / llm.flush_seconds)),
    }


def largest_and_slowest(tables: Tables, seconds: float) -> tuple[int, float, int]:
    """The rows of the largest wave, the seconds of the slowest and the number of waves, by the commits in the table's history."""
    history = tables.spark.sql(f"DESCRIBE HISTORY {tables.address('llm_calls')}").collect()
    rows = {c["timestamp"]: n for c in history if (n := int(c["operationMetrics"].get("numOutputRows", 0)))}
    ends = sorted(rows)
    apart = [(end - before).total_seconds() for before, end in pairwise(ends)]
    # The first began with the ask itself.
    return max(rows.values()), max([seconds - sum(apart), *apart]), len(rows)
