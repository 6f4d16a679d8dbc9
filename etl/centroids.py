"""The sets of centroids: fitted once on a sample, stored, taken again for as long as they fit the rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import functions as F

from etl.config import Config
from etl.embedder import embed_settings
from etl.step import Job
from etl.tables import Tables
from udfs.cell_fit import fit_cells, mean_cosine
from udfs.cells import Cells
from udfs.embedding_model import model_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A set that was fitted for a part of the rows has cells too large for them: from so many times the rows on, it is fitted anew.
GROWTH = 2
SETTINGS = ("dedup.cluster_size", "dedup.sample_rows", "dedup.threshold", "run.seed")


@dataclass(frozen=True)
class CentroidSet:
    """A stored set: its id, its cells, the rows it was fitted for, and the mean cosine of rows to their nearest centroid, then and now."""

    id: str
    cells: Cells
    rows: int
    cosine_then: float
    cosine_now: float

    @property
    def drift(self) -> float:
        """How much further the rows are from their centroids now than they were when these were fitted."""
        return self.cosine_then - self.cosine_now


def centroids_for(job: Job, scope: str, sample: NDArray[np.float16], n: int, new_id: str) -> CentroidSet:
    """Returns the last stored set of this scope, model and settings; fits and stores one as `new_id` where there is none, where rows have drifted away
    from it by more than `dedup.max_drift`, or where they are more than GROWTH times as many. One that is stored as `new_id` (the run was killed after
    it had fitted it) is taken whatever has come since."""
    found = _last(job, scope, new_id)
    if found is not None:
        cells = _load(job.tables, found["centroid_set_id"])
        old = CentroidSet(
            found["centroid_set_id"], cells, found["rows"], found["mean_cosine"], mean_cosine(cells, sample)
        )
        if old.id == new_id or (old.drift <= job.config.dedup.max_drift and n <= GROWTH * old.rows):
            return old
        job.say(f"new centroids: drift {old.drift:.3f}, {n / old.rows:.1f} times the rows")
    config = job.config.dedup
    cells = fit_cells(sample, n, config.cluster_size, config.threshold, job.config.run.seed)
    cosine = mean_cosine(cells, sample)
    _store(job, cells, {"centroid_set_id": new_id, "scope": scope, "rows": n, "mean_cosine": cosine})
    return CentroidSet(new_id, cells, n, cosine, cosine)


def _settings(config: Config) -> str:
    return config.fingerprint(*SETTINGS)


def _last(job: Job, scope: str, first_choice: str) -> Any:
    """The head of the first choice, or else of the last set that was stored for these rows, model and settings."""
    same = (F.col("scope") == scope) & (F.col("model") == model_id(embed_settings(job.config.embed)))
    sets = job.tables.read("centroids").where(same & (F.col("settings") == _settings(job.config)))
    heads = sets.select("centroid_set_id", "rows", "mean_cosine", "created_at").distinct()
    mine = F.col("centroid_set_id") == first_choice
    return heads.orderBy(mine.desc(), F.col("created_at").desc(), "centroid_set_id").first()


def _store(job: Job, cells: Cells, said: dict[str, Any]) -> None:
    k = len(cells)
    vectors = np.concatenate([cells.fine, cells.coarse]).astype("<f4")
    rows = pa.table(
        {
            "cluster": pa.array(range(len(vectors)), pa.int32()),
            "parent": pa.array([k + int(p) for p in cells.parent] + [None] * len(cells.coarse), pa.int32()),
            "vector": pa.array([row.tobytes() for row in vectors], pa.binary()),
        }
    )
    now = datetime.now(timezone.utc)
    said |= {"model": model_id(embed_settings(job.config.embed)), "settings": _settings(job.config), "created_at": now}
    frame: DataFrame = job.spark.createDataFrame(rows).withColumns({name: F.lit(v) for name, v in said.items()})
    job.tables.append("centroids", frame)


def _load(tables: Tables, centroid_set_id: str) -> Cells:
    mine = tables.read("centroids").where(F.col("centroid_set_id") == centroid_set_id)
    rows = mine.select("cluster", "parent", "vector").orderBy("cluster").toArrow()
    halves = np.array([np.frombuffer(one.as_buffer(), "<f4") for one in rows.column("vector")]).astype(np.float16)
    parent = rows.column("parent").drop_null().to_numpy().astype(np.int32)
    k = len(parent)
    return Cells(halves[k:], halves[:k], parent - np.int32(k))
